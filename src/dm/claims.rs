// SPDX-License-Identifier: GPL-2.0

//! One registry of who uses what: which mapped device, which device, and how.
//!
//! Device-mapper lets any number of its devices open the same one. A target whose state is true only
//! while nobody else uses a device claims it: for itself alone, or shared with others that use it in
//! the same way. It also claims an identity that it has found on a device, and by which it knows
//! that device under any name. (A partition and its disk need no claim: the kernel lets device-mapper
//! open only one of them.)
//!
//! A claim belongs to a table line. Claims of different mapped devices exclude each other, and so do
//! those of lines of one table. Tables of the same mapped device share what they claim, since in a
//! live reload the new one takes over from the old, which is suspended by then.
//!
//! A claim is made with the table line, and keeps no other mapped device away yet: the table may
//! never be used. It is taken when the line is resumed, and that allocates nothing: with swap on the
//! mapped device there may be no memory.
//!
//! Locks: that of the registry is a mutex, a leaf; sleeps, so not from an I/O path. Nothing is
//! allocated under it, since a resume may wait for it. That of [`naming`] is held across I/O, and
//! taken below the caller's own locks and above the registry's.

use super::{
    device::DevT,
    events::{MappedName, TableId},
};
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::{
    alloc::{AllocError, KVec},
    prelude::*,
    sync::{global_lock, GlobalGuard},
};

/// What can be claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thing {
    /// A device that nobody else may use.
    Alone(DevT),
    /// A device that others may share.
    Shared(DevT),
    /// What says on a device which one it is. Nobody else may have found the same.
    Identity([u8; 16]),
}

impl Thing {
    fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Shared(_), Self::Shared(_)) => false,
            (Self::Alone(one) | Self::Shared(one), Self::Alone(two) | Self::Shared(two)) => {
                one == two
            }
            (Self::Identity(one), Self::Identity(two)) => one == two,
            _ => false,
        }
    }
}

/// Why something was refused.
#[derive(Clone, Copy)]
pub struct Conflict {
    /// What was asked for.
    pub thing: Thing,
    /// The mapped device that has it.
    pub by: MappedName,
}

/// Why a claim was not made.
pub enum Refused {
    /// Somebody else has it.
    Taken(Conflict),
    /// There is no memory.
    NoMemory,
}

impl From<AllocError> for Refused {
    fn from(_: AllocError) -> Self {
        Self::NoMemory
    }
}

/// One thing that a line claims.
#[derive(Clone, Copy)]
struct Entry {
    /// The claim that it belongs to.
    line: u64,
    table: TableId,
    name: MappedName,
    /// Whether the line was resumed.
    taken: bool,
    thing: Thing,
}

impl Entry {
    /// Whether this keeps `new` away.
    fn excludes(&self, new: &Self) -> bool {
        let by_other = self.taken && !self.table.same_device(new.table);
        let by_neighbour = self.table == new.table && self.line != new.line;
        (by_other || by_neighbour) && self.thing.excludes(new.thing)
    }

    /// Whether this waits to take over from `old`.
    fn succeeds(&self, old: &Self) -> bool {
        let waits = !self.taken && self.table != old.table && self.table.same_device(old.table);
        waits && self.thing.excludes(old.thing)
    }
}

struct Registry {
    /// Has room for `reserved`.
    entries: KVec<Entry>,
    /// How many there may be with the claims that exist.
    reserved: usize,
    /// Number of the last claim.
    lines: u64,
}

global_lock! {
    // SAFETY: `Registration::new` calls `init` before any target, and so any user, can exist.
    unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry {
        entries: KVec::new(),
        reserved: 0,
        lines: 0,
    };
}

global_lock! {
    // SAFETY: As for the registry.
    unsafe(uninit) static NAMING: Mutex<()> = ();
}

/// Keeps everybody else waiting in [`naming`] until it is dropped.
pub struct Naming {
    _guard: GlobalGuard<NAMING>,
}

/// To be held by who gives an identity to a device that has none, from when it was seen to have none
/// until one is on it: the same device may have another name. Sleeps as long as another's I/O for
/// that takes.
pub fn naming() -> Naming {
    Naming {
        _guard: NAMING.lock(),
    }
}

/// Makes the registry usable. Further calls do nothing.
pub(super) fn init() {
    // core's atomic will do: it only guards against a second registration, long before any thread
    // of a target runs. It orders nothing, so it is relaxed.
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        // SAFETY: The swap lets exactly one call come here.
        unsafe { REGISTRY.init() };
        // SAFETY: As above.
        unsafe { NAMING.init() };
    }
}

impl Registry {
    /// Whether `new` may be had.
    fn check(&self, new: &Entry) -> Result<(), Conflict> {
        match self.entries.iter().find(|entry| entry.excludes(new)) {
            None => Ok(()),
            Some(entry) => Err(Conflict {
                thing: new.thing,
                by: entry.name,
            }),
        }
    }

    fn add(&mut self, new: Entry) -> Result<(), Conflict> {
        self.check(&new)?;
        // There is room, by the invariant of `Claim`.
        let _ = self.entries.push_within_capacity(new);
        Ok(())
    }

    fn of(&self, line: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.line == line)
    }

    /// Moves to a larger list.
    fn move_to(&mut self, larger: &mut KVec<Entry>) {
        for entry in &self.entries {
            // There is room: it is larger.
            let _ = larger.push_within_capacity(*entry);
        }
        mem::swap(&mut self.entries, larger);
    }
}

/// Makes room for so many more entries. Returns the number of a new claim.
fn reserve(count: usize) -> Result<u64, AllocError> {
    loop {
        let wanted = {
            let mut registry = REGISTRY.lock();
            let wanted = registry.reserved.saturating_add(count);
            if registry.entries.capacity() >= wanted {
                registry.reserved = wanted;
                registry.lines = registry.lines.wrapping_add(1);
                return Ok(registry.lines);
            }
            wanted
        };
        // What is left in it is dropped behind the lock.
        let mut larger = KVec::with_capacity(wanted.saturating_mul(2), GFP_KERNEL)?;
        let mut registry = REGISTRY.lock();
        if larger.capacity() > registry.entries.capacity() {
            registry.move_to(&mut larger);
        }
    }
}

/// What a table line claims, until this is dropped.
///
/// # Invariants
///
/// `room` is counted in the registry's `reserved`, and the claim has at most so many entries there:
/// the devices, and one identity. They are the entries with its number, `line`; no other claim has
/// it.
pub struct Claim {
    line: u64,
    table: TableId,
    name: MappedName,
    room: usize,
    taken: bool,
}

impl Claim {
    /// A claim to `devices` for a line of the table `table`. Sleeps for memory.
    pub fn new(table: TableId, name: MappedName, devices: &[Thing]) -> Result<Self, Refused> {
        let room = devices.len().saturating_add(1);
        // INVARIANT: the room was just reserved, and there is no entry yet.
        let claim = Self {
            line: reserve(room)?,
            table,
            name,
            room,
            taken: false,
        };
        for thing in devices {
            // Bound to a name, so that the lock is not held when the claim is dropped.
            let added = REGISTRY.lock().add(claim.entry(*thing));
            added.map_err(Refused::Taken)?;
        }
        Ok(claim)
    }

    fn entry(&self, thing: Thing) -> Entry {
        Entry {
            line: self.line,
            table: self.table,
            name: self.name,
            taken: self.taken,
            thing,
        }
    }

    /// Claims the identity `id` too, in the place of one that was claimed before.
    ///
    /// # Errors
    ///
    /// Who has it; the old one is kept then.
    pub fn identify(&mut self, id: [u8; 16]) -> Result<(), Conflict> {
        let new = self.entry(Thing::Identity(id));
        let mut registry = REGISTRY.lock();
        registry.check(&new)?;
        registry
            .entries
            .retain(|entry| entry.line != new.line || !matches!(entry.thing, Thing::Identity(_)));
        registry.add(new)
    }

    /// Takes all that is claimed. Call it when the table is resumed: then every other table of the
    /// mapped device is suspended, and this one takes over from them.
    ///
    /// # Errors
    ///
    /// Who has some of it; nothing is taken then.
    pub fn take(&mut self) -> Result<(), Conflict> {
        let mut registry = REGISTRY.lock();
        for entry in registry.of(self.line) {
            registry.check(entry)?;
        }
        for entry in &mut registry.entries {
            entry.taken |= entry.line == self.line;
        }
        self.taken = true;
        Ok(())
    }

    /// Whether a line of another table of the mapped device waits to be resumed, and then takes over
    /// something that this one has for itself alone.
    pub fn successor_waits(&self) -> bool {
        let registry = REGISTRY.lock();
        let mut own = registry.of(self.line);
        own.any(|old| registry.entries.iter().any(|entry| entry.succeeds(old)))
    }

    /// The mapped device with another line that was resumed and shares something with this one. Lines of
    /// tables that this one takes over from, or that take over from it, do not count.
    pub fn shared_with(&self) -> Option<MappedName> {
        let registry = REGISTRY.lock();
        let shares = |entry: &Entry, own: &Entry| {
            let shared = matches!(own.thing, Thing::Shared(_)) && entry.thing == own.thing;
            let neighbour = entry.table == own.table && entry.line != own.line;
            shared && entry.taken && (neighbour || !entry.table.same_device(own.table))
        };
        let mut found = registry
            .of(self.line)
            .filter_map(|own| registry.entries.iter().find(|entry| shares(entry, own)));
        found.next().map(|entry| entry.name)
    }

    /// Whether another line of the mapped device was resumed that has found the same identity: it goes
    /// on where this one has ended.
    pub fn was_succeeded(&self) -> bool {
        let registry = REGISTRY.lock();
        let goes_on = |entry: &Entry, old: &Entry| {
            let resumed = entry.taken && entry.line != old.line;
            let identity = matches!(old.thing, Thing::Identity(_));
            resumed && identity && entry.thing == old.thing
        };
        let mut own = registry.of(self.line);
        own.any(|old| registry.entries.iter().any(|entry| goes_on(entry, old)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut registry = REGISTRY.lock();
        registry.entries.retain(|entry| entry.line != self.line);
        registry.reserved = registry.reserved.saturating_sub(self.room);
        // Nobody drops a static when the module goes.
        if registry.reserved == 0 {
            registry.entries = KVec::new();
        }
    }
}
