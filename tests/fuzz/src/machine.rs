// SPDX-License-Identifier: GPL-2.0

//! The target around an engine, as small as can be: it does what the engine says, at the places
//! that it says, and asserts that these are on the devices. Nothing is said about data here; that
//! is the simulation's.

use crate::image::{unloaded, Image, Loaded};
use arbitrary::Arbitrary;
use dm_restore_engine::base::geometry::Geometry;
use dm_restore_engine::base::run::Run;
use dm_restore_engine::base::storage::Heap;
use dm_restore_engine::copy::choose::{Background, CopyOutcome};
use dm_restore_engine::copy::job::Copy;
use dm_restore_engine::copy::job::CopyResult;
use dm_restore_engine::copy::job::BACKGROUND_JOBS;
use dm_restore_engine::copy::job::URGENT_JOBS;
use dm_restore_engine::format::samples::Samples;
use dm_restore_engine::format::{Block, BLOCK};
use dm_restore_engine::machine::Engine;
use dm_restore_engine::maps::{Mode, Role};
use dm_restore_engine::record::checkpoint::{self, Checkpoint, Purpose};
use dm_restore_engine::record::commit::Commit;
use dm_restore_engine::record::commit::Written;
use dm_restore_engine::record::load::NewMetadata;
use dm_restore_engine::record::metadata_mode::MetadataMode;
use dm_restore_engine::request::admit::Admission;
use dm_restore_engine::request::in_flight::{Ended, InFlight, Taken};
use dm_restore_engine::request::plan::{plan, Op, Request, Route};
use dm_restore_engine::shared::Shared;
use dm_restore_engine::sync::flushes::{FlushNeed, Settled};
use dm_restore_engine::words::settings::Settings;
use std::rc::Rc;

/// More rounds than this mean that somebody waits for ever.
const PATIENCE: u64 = 10_000;
/// Flushes before the checkpoint of a clean shutdown, as in the target.
const ROUNDS: u32 = 3;

/// Something that happens to the target.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Step {
    /// A request of the host's.
    Request(Kind, u32, u16, bool),
    /// A flush of the host's.
    Flush,
    /// The worker looks at what waits.
    Admit,
    /// The worker fills the next journal block.
    Commit,
    /// A checkpoint in the middle of everything.
    Checkpoint,
    /// The worker asks whether to flush.
    OwnFlush,
    /// The worker asks for copies.
    Copy,
    /// One of the operations in flight ends.
    End(u8, bool),
    /// Everything in flight ends well, and the worker does all it can.
    Round,
    /// Time goes by, in microseconds.
    Time(u32),
    /// `pause_copy` or `resume_copy`.
    Pause(bool),
    /// Suspend, do something, resume.
    Suspend(Meanwhile),
}

/// Kinds of requests.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Kind {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Write with FUA.
    WriteFua,
    /// Discard.
    Discard,
}

/// What is done while the device is suspended.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Meanwhile {
    /// Nothing.
    Nothing,
    /// A restore begins.
    StartRestore,
    /// The clone was made anew.
    AssumeIdentical,
    /// A new table takes over.
    Reload,
}

/// Something in flight.
enum UnderWay {
    Write(InFlight),
    Flush(InFlight),
    OwnFlush(InFlight),
    Copy(Copy),
    Commit(u64, Rc<Block>),
}

/// Engine, metadata device, and what is under way.
pub struct Machine {
    image: Image,
    engine: Engine<Heap>,
    shared: Shared<Heap>,
    settings: Settings,
    waiting: Vec<(InFlight, Run)>,
    in_flight: Vec<UnderWay>,
    syncing: Vec<InFlight>,
    now: u64,
}

impl Machine {
    /// A device that was formatted and taken up.
    pub fn format(geometry: Geometry, settings: Settings, uuid: [u8; 16], identical: bool) -> Self {
        let (mut engine, shared) = unloaded(geometry, settings);
        engine.format(&shared, &NewMetadata::plain(uuid, identical));
        engine.clone_is(Samples::plain());
        let image = Image::blank(geometry, engine.layout().blocks());
        let mut machine = Self::around(engine, shared, image, settings);
        machine.checkpoint(Checkpoint::new(Purpose::Suspended));
        machine.activate(None);
        machine
    }

    /// Goes on with what was loaded from `image`.
    pub fn take_up(loaded: Loaded, image: Image, settings: Settings) -> Self {
        let mut machine = Self::around(loaded.engine, loaded.shared, image, settings);
        machine.check();
        machine.activate(loaded.torn);
        machine
    }

    fn around(
        engine: Engine<Heap>,
        shared: Shared<Heap>,
        image: Image,
        settings: Settings,
    ) -> Self {
        Self {
            image,
            engine,
            shared,
            settings,
            waiting: Vec::new(),
            in_flight: Vec::new(),
            syncing: Vec::new(),
            now: 1_000_000_000,
        }
    }

    /// The metadata device as it is.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// One step.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Request(kind, at, len, whole) => self.request(kind, at, len, whole),
            Step::Flush => {
                let sent = InFlight::flush(&self.shared);
                self.in_flight.push(UnderWay::Flush(sent));
            }
            Step::Admit => self.admit(),
            Step::Commit => self.commit(),
            Step::Checkpoint => {
                if self.recordable() && !self.engine.is_committing() {
                    self.checkpoint(Checkpoint::new(Purpose::Running));
                }
            }
            Step::OwnFlush => self.own_flush(),
            Step::Copy => self.background(),
            Step::End(which, ok) => {
                if !self.in_flight.is_empty() {
                    let which = usize::from(which) % self.in_flight.len();
                    self.end(which, ok);
                }
            }
            Step::Round => self.round(),
            Step::Time(micros) => self.now += u64::from(micros) * 1000,
            Step::Pause(pause) => self.engine.set_paused(pause),
            Step::Suspend(meanwhile) => self.suspend_and_resume(meanwhile),
        }
    }

    fn recordable(&self) -> bool {
        self.engine.metadata_mode() == MetadataMode::ReadWrite
    }

    /// A request, cut into parts as device-mapper does.
    fn request(&mut self, kind: Kind, at: u32, len: u16, whole: bool) {
        let length = self.image.geometry.length();
        let start = u64::from(at) % length;
        let sectors = Run::new(start, u64::from(len) + 1).intersection(Run::new(0, length));
        let op = match kind {
            Kind::Read => Op::Read,
            Kind::Write | Kind::WriteFua => Op::Write,
            Kind::Discard => Op::Discard,
        };
        let fua = matches!(kind, Kind::WriteFua);
        let mut left = Request { op, sectors, whole };
        while !left.sectors.is_empty() {
            let mut sent = InFlight::default();
            sent.begin(&self.shared, op, fua);
            let plan = plan(&self.shared.maps.view(), &self.image.geometry, left, true);
            assert!((1..=left.sectors.len()).contains(&plan.sectors));
            let middle = left.sectors.start() + plan.sectors;
            let part = Run::between(left.sectors.start(), middle);
            match plan.route {
                Route::Clone => assert_eq!(op, Op::Read),
                Route::Source if op != Op::Read => {
                    sent.to_source(&self.shared);
                    self.in_flight.push(UnderWay::Write(sent));
                }
                Route::Defer => {
                    assert_ne!(op, Op::Read);
                    let sectors = part;
                    sent.defer(Request { sectors, ..left });
                    self.waiting.push((sent, sectors));
                }
                Route::Source | Route::Complete | Route::Fail => {}
            }
            left.sectors = Run::between(middle, left.sectors.end());
        }
    }

    fn admit(&mut self) {
        for (mut sent, sectors) in std::mem::take(&mut self.waiting) {
            let ticket = sent.ticket_mut().expect("it was deferred");
            match self.engine.admit(&self.shared, ticket, self.now) {
                Admission::Go => {
                    self.on_source(sectors);
                    sent.to_source(&self.shared);
                    self.in_flight.push(UnderWay::Write(sent));
                }
                Admission::Complete => {}
                Admission::Fail => sent.refused(&self.shared),
                Admission::Wait => self.waiting.push((sent, sectors)),
                Admission::Copy(copy) => {
                    self.waiting.push((sent, sectors));
                    self.copy(copy);
                }
            }
        }
    }

    fn on_source(&self, sectors: Run) {
        assert!(!sectors.is_empty());
        assert!(sectors.end() <= self.image.geometry.length(), "{sectors:?}");
    }

    fn copy(&mut self, copy: Copy) {
        self.on_source(copy.sectors);
        assert!(copy.job < BACKGROUND_JOBS + URGENT_JOBS);
        for other in &self.in_flight {
            if let UnderWay::Copy(other) = other {
                assert!(
                    !other.sectors.overlaps(copy.sectors),
                    "copied twice at once"
                );
                assert_ne!(other.job, copy.job);
            }
        }
        self.in_flight.push(UnderWay::Copy(copy));
    }

    fn commit(&mut self) {
        let mut block = [0; BLOCK];
        match self.engine.next_commit(&self.shared, &mut block) {
            Commit::Nothing => {}
            Commit::Write(place) => {
                let commit = UnderWay::Commit(place, Rc::new(block));
                self.in_flight.push(commit);
            }
            Commit::Checkpoint => self.checkpoint(Checkpoint::new(Purpose::Running)),
        }
    }

    fn own_flush(&mut self) {
        let flushing = |op: &UnderWay| matches!(op, UnderWay::OwnFlush(_));
        if self.in_flight.iter().any(flushing) {
            return;
        }
        let waited_for = self.syncing.iter().any(|sent| !sent.is_flush());
        let need = self.engine.flush_need(&self.shared, self.now, waited_for);
        if need == FlushNeed::Now {
            let sent = InFlight::own_flush(&self.shared);
            self.in_flight.push(UnderWay::OwnFlush(sent));
        }
    }

    fn background(&mut self) {
        while let Background::Copy(copy) = self.engine.next_copy(&self.shared, self.now) {
            self.copy(copy);
        }
    }

    /// Something in flight ends, and is taken in at once.
    fn end(&mut self, which: usize, ok: bool) {
        match self.in_flight.remove(which) {
            UnderWay::Write(sent) | UnderWay::Flush(sent) | UnderWay::OwnFlush(sent) => {
                self.request_ended(sent, ok);
            }
            UnderWay::Copy(copy) => self.copy_ended(copy, ok),
            UnderWay::Commit(place, block) => {
                if ok {
                    self.write(place, block.clone());
                }
                let written = self.engine.commit_written(&self.shared, ok, self.now);
                if matches!(written, Written::Again(_)) {
                    self.in_flight.push(UnderWay::Commit(place, block));
                }
            }
        }
        self.settle();
    }

    fn request_ended(&mut self, mut sent: InFlight, ok: bool) {
        if sent.ended(&self.shared, ok) == Ended::Queue {
            if let Taken::Settle = self.engine.take_ended(&self.shared, &mut sent) {
                self.syncing.push(sent);
            }
        }
    }

    fn copy_ended(&mut self, copy: Copy, ok: bool) {
        let result = CopyResult {
            read_error: !ok,
            write_error: false,
        };
        let (shared, now) = (&self.shared, self.now);
        let outcome = self.engine.copy_done(shared, copy.job, result, now);
        if let CopyOutcome::Failed(extents) = outcome {
            let tickets = self.waiting.iter_mut().filter_map(|w| w.0.ticket_mut());
            tickets.for_each(|ticket| ticket.copy_failed(extents));
        }
    }

    fn settle(&mut self) {
        let (engine, shared) = (&mut self.engine, &self.shared);
        self.syncing
            .retain(|sent| engine.settle(shared, sent) == Settled::Waiting);
    }

    /// The worker does everything once, and what is in flight ends well.
    fn round(&mut self) {
        self.now += 100_000_000;
        self.admit();
        self.commit();
        self.own_flush();
        self.background();
        for _ in 0..self.in_flight.len() {
            self.end(0, true);
        }
        self.settle();
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..PATIENCE {
            if done(self) {
                return;
            }
            self.round();
        }
        panic!("somebody waits for ever");
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty() && self.syncing.is_empty()
    }

    fn suspend_and_resume(&mut self, meanwhile: Meanwhile) {
        self.suspend();
        match meanwhile {
            Meanwhile::StartRestore if self.engine.can_begin_restore(&self.shared).is_ok() => {
                let begun = self.engine.begin_restore(&self.shared);
                self.checkpoint(begun);
            }
            Meanwhile::AssumeIdentical if self.recordable() && !self.is_restoring() => {
                let clone = Samples::plain();
                let identical = self.engine.assume_identical(&self.shared, clone);
                self.checkpoint(identical);
            }
            Meanwhile::Reload => return self.reload(),
            _ => {}
        }
        self.activate(None);
    }

    fn is_restoring(&self) -> bool {
        self.shared.maps.state().mode == Mode::Restoring
    }

    /// Everything is answered and recorded; the device is shut down cleanly.
    pub fn suspend(&mut self) {
        self.engine.quiesce(true);
        self.until(Self::is_idle);
        assert!(!self.engine.is_copying() && !self.engine.is_committing());
        if self.recordable() {
            for _ in 0..ROUNDS {
                self.commit_all();
            }
            self.checkpoint(Checkpoint::new(Purpose::Suspended));
        }
        self.check();
    }

    fn commit_all(&mut self) {
        if !self.engine.has_uncommitted(&self.shared) {
            return;
        }
        self.request_ended(InFlight::own_flush(&self.shared), true);
        let mut block = [0; BLOCK];
        for _ in 0..PATIENCE {
            match self.engine.next_commit(&self.shared, &mut block) {
                Commit::Nothing => return,
                Commit::Checkpoint => self.checkpoint(Checkpoint::new(Purpose::Running)),
                Commit::Write(place) => {
                    self.write(place, Rc::new(block));
                    let written = self.engine.commit_written(&self.shared, true, 0);
                    assert_eq!(written, Written::Done);
                }
            }
        }
        panic!("there is always something to record");
    }

    fn activate(&mut self, torn: Option<u64>) {
        if self.recordable() {
            self.checkpoint(Checkpoint::activation(torn));
        }
        self.engine.quiesce(false);
    }

    /// A new table takes over what a clean shutdown has left: the same bits and the same mode.
    fn reload(&mut self) {
        let loaded = self.image.load(self.settings, false);
        let loaded = loaded.unwrap_or_else(|refusal| panic!("of its own making: {refusal:?}"));
        if self.recordable() {
            let (a, b) = (&self.shared.maps, &loaded.shared.maps);
            assert_eq!(a.state(), b.state());
            for index in 0..self.image.geometry.extents().div_ceil(64) {
                for map in [0, 1] {
                    assert_eq!(a.numbered(map).word(index), b.numbered(map).word(index));
                }
            }
            let restored = loaded.engine.restored(&loaded.shared);
            assert_eq!(restored, self.engine.restored(&self.shared));
        }
        let image = self.image.clone();
        *self = Self::take_up(loaded, image, self.settings);
    }

    /// Shuts down, loads again, and lets a restore come to its end, unless that takes too long.
    pub fn finish(mut self, longest: u64) {
        self.suspend();
        self.reload();
        if self.is_restoring() && self.shared.maps.count(Role::Cdm) <= longest {
            self.until(|machine| !machine.is_restoring());
            self.suspend();
            self.reload();
            assert!(!self.is_restoring());
        }
    }

    fn checkpoint(&mut self, mut checkpoint: Checkpoint) {
        let mut block = [0; BLOCK];
        loop {
            match checkpoint.next(&mut self.engine, &self.shared, &mut block) {
                checkpoint::Step::Write(place) | checkpoint::Step::WriteFua(place) => {
                    self.write(place, Rc::new(block));
                }
                checkpoint::Step::Flush => {}
                checkpoint::Step::Wait => panic!("two disks do not wait for each other"),
                checkpoint::Step::Done => return,
            }
        }
    }

    fn write(&mut self, place: u64, block: Rc<Block>) {
        let blocks = self.image.blocks.len();
        assert!((place as usize) < blocks, "write of {place}");
        self.image.blocks[place as usize] = block;
    }

    /// What holds of anything that was loaded.
    fn check(&self) {
        let maps = &self.shared.maps;
        let all = self.image.geometry.all();
        let behind = Run::between(all.end(), all.end().next_multiple_of(64));
        for role in [Role::Cdm, Role::Prm] {
            let map = maps.numbered(maps.number(role));
            assert_eq!(map.count(), maps.count(role), "miscounted");
            assert_eq!(map.next_set(behind), None, "a bit behind the end");
        }
        if self.is_restoring() {
            let restored = self.engine.restored(&self.shared);
            assert!(restored + maps.count(Role::Cdm) <= all.len());
        } else {
            assert_eq!(maps.count(Role::Prm), 0, "host writes of no restore");
        }
        let mut status = String::new();
        assert!(self.engine.write_status(&self.shared, &mut status).is_ok());
    }
}
