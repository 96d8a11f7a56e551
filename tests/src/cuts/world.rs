// SPDX-License-Identifier: GPL-2.0

//! The disks of one volume and the witness, in one order; and the instants that are chosen from it
//! for power cuts.
//!
//! One lock: receiving a request and completing it are points of the order. At any of them a power
//! cut may come.

use super::disk::{Disk, State, Ticket};
use super::image::{Image, SECTOR};
use super::nbd::{Completion, Export, Kind, Request};
use super::record::{Place, Record};
use crate::random::Random;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A disk of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The source.
    Source,
    /// The clone.
    Clone,
    /// The metadata device.
    Metadata,
}

impl Role {
    /// All.
    pub const ALL: [Self; 3] = [Self::Source, Self::Clone, Self::Metadata];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Clone => "clone",
            Self::Metadata => "metadata",
        }
    }
}

/// An instant at which the power may be cut.
#[derive(Clone)]
pub struct Instant {
    /// Where it is in the life of a restore.
    pub place: Place,
    /// Its number in the order.
    pub at: u64,
    /// How many records the witness had received.
    pub heard: usize,
    /// The disk of the source.
    pub source: State,
    /// The disk of the clone.
    pub clone: State,
    /// The disk of the metadata device.
    pub metadata: State,
}

impl Instant {
    /// Whether a cut would lose anything.
    pub fn has_unflushed(&self) -> bool {
        let disks = [&self.source, &self.clone, &self.metadata];
        disks.iter().any(|disk| !disk.unflushed.is_empty())
    }
}

/// Chooses instants: from each stay at a place the same number, each instant of it as likely as
/// any other.
struct Sampler {
    chance: Random,
    each: usize,
    place: Option<Place>,
    /// Instants of this stay so far.
    seen: u64,
    /// Those that are chosen so far.
    held: Vec<Instant>,
    /// Those of earlier stays.
    chosen: Vec<Instant>,
}

impl Sampler {
    fn new(seed: u64, each: usize) -> Self {
        Self {
            chance: Random::new(seed),
            each,
            place: None,
            seen: 0,
            held: Vec::new(),
            chosen: Vec::new(),
        }
    }

    fn enter(&mut self, place: Option<Place>) {
        self.chosen.append(&mut self.held);
        (self.place, self.seen) = (place, 0);
    }

    fn offer(&mut self, instant: impl FnOnce(Place) -> Instant) {
        let Some(place) = self.place else {
            return;
        };
        self.seen += 1;
        if self.held.len() < self.each {
            self.held.push(instant(place));
        } else {
            let index = self.chance.below(self.seen) as usize;
            if let Some(old) = self.held.get_mut(index) {
                *old = instant(place);
            }
        }
    }
}

/// The disks and what was heard.
pub struct World {
    disks: [Disk; 3],
    /// The clone was not written to before somebody said so.
    pristine: bool,
    at: u64,
    witness: Vec<Record>,
    sampler: Sampler,
}

impl World {
    /// Disks with this content; blocks of so many sectors are written whole.
    pub fn new(source: Image, clone: Image, metadata: Image, block: u64) -> Self {
        Self {
            disks: [source, clone, metadata].map(|image| Disk::new(image, block)),
            pristine: true,
            at: 0,
            witness: Vec::new(),
            sampler: Sampler::new(0, 0),
        }
    }

    /// From now on, choose so many instants from each stay at a place.
    pub fn choose(&mut self, seed: u64, each: usize) {
        self.sampler = Sampler::new(seed, each);
    }

    /// A disk.
    pub fn disk(&mut self, role: Role) -> &mut Disk {
        &mut self.disks[role as usize]
    }

    /// Whether the clone was written to other than by the user who made it anew.
    pub fn clone_was_changed(&mut self) -> bool {
        !self.pristine || self.disk(Role::Clone).changes > 0
    }

    /// The chosen instants, in order, and all that was heard. Nothing is chosen any more.
    pub fn take(&mut self) -> (Vec<Instant>, Vec<Record>) {
        self.sampler.enter(None);
        let mut instants = std::mem::take(&mut self.sampler.chosen);
        instants.sort_by_key(|instant| instant.at);
        (instants, std::mem::take(&mut self.witness))
    }

    /// The next point of the order has come.
    fn step(&mut self) {
        self.at += 1;
        let Self {
            disks,
            at,
            witness,
            sampler,
            ..
        } = self;
        let state = |role: Role| disks[role as usize].state().clone();
        sampler.offer(|place| Instant {
            place,
            at: *at,
            heard: witness.len(),
            source: state(Role::Source),
            clone: state(Role::Clone),
            metadata: state(Role::Metadata),
        });
    }

    fn receive(&mut self, role: Role, request: Request) -> Ticket {
        let changes = !matches!(request.kind, Kind::Read);
        let ticket = self.disks[role as usize].receive(request, self.at);
        if changes {
            self.step();
        }
        ticket
    }

    fn complete(&mut self, role: Role, ticket: &Ticket) -> Result<Vec<u8>, u32> {
        let done = self.disks[role as usize].complete(ticket);
        if done.is_err() {
            self.witness.push(Record::Dropped);
        }
        if !ticket.is_read() {
            self.step();
        }
        done
    }

    fn hear(&mut self, data: &[u8]) {
        for sector in data.chunks_exact(SECTOR) {
            let text = String::from_utf8_lossy(sector);
            let record = text.trim_end_matches('\0').parse();
            let Ok(record) = record else {
                continue;
            };
            match record {
                Record::Enter(place) => self.sampler.enter(Some(place)),
                Record::Cloning => self.pristine &= self.disk(Role::Clone).changes == 0,
                Record::Identified => self.disk(Role::Clone).changes = 0,
                _ => {}
            }
            self.witness.push(record);
        }
        self.step();
    }
}

/// A world that several threads share.
pub type Shared = Arc<Mutex<World>>;

/// Takes the lock.
pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a disk of the volume may take over a request.
const LATENCY: Duration = Duration::from_micros(800);

/// A disk of the volume, to be served.
pub struct Served {
    /// Where it is.
    pub world: Shared,
    /// Which one.
    pub role: Role,
}

impl Export for Served {
    fn bytes(&self) -> u64 {
        lock(&self.world).disk(self.role).content().len() as u64
    }

    fn receive(&self, request: Request) -> Completion {
        let (world, role) = (Arc::clone(&self.world), self.role);
        let ticket = lock(&world).receive(role, request);
        Box::new(move || lock(&world).complete(role, &ticket))
    }

    fn latency(&self) -> Duration {
        LATENCY
    }
}

/// The witness's disk. What is written to it is heard; it holds nothing.
pub struct Witness(pub Shared);

impl Witness {
    /// Its size in bytes.
    pub const BYTES: usize = 1 << 20;
}

impl Export for Witness {
    fn bytes(&self) -> u64 {
        Self::BYTES as u64
    }

    fn receive(&self, request: Request) -> Completion {
        if let Kind::Write(data) = &request.kind {
            lock(&self.0).hear(data);
        }
        let len = match request.kind {
            Kind::Read => request.len,
            _ => 0,
        };
        Box::new(move || Ok(vec![0; len]))
    }
}

/// A disk without a cache, to be filled and looked at from outside.
#[derive(Clone)]
pub struct Plain(pub Arc<Mutex<Image>>);

impl Plain {
    /// One that holds zeros.
    pub fn zeroed(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Image::zeroed(bytes))))
    }

    /// Its content.
    pub fn image(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Export for Plain {
    fn bytes(&self) -> u64 {
        self.image().len() as u64
    }

    fn receive(&self, request: Request) -> Completion {
        let disk = self.clone();
        Box::new(move || {
            let mut image = disk.image();
            match request.kind {
                Kind::Read => return Ok(image.read(request.offset, request.len)),
                Kind::Write(data) => image.write(request.offset, &data),
                Kind::Zero => image.write(request.offset, &vec![0; request.len]),
                Kind::Flush => {}
            }
            Ok(Vec::new())
        })
    }
}
