// SPDX-License-Identifier: GPL-2.0

//! A restore for unit tests, whose I/O always succeeds.

use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::base::storage::Heap;
use crate::engine::format::event::Event;
use crate::engine::format::journal::Reader;
use crate::engine::format::{Block, BLOCK};
use crate::engine::machine::Engine;
use crate::engine::maps::{Mode, Role};
use crate::engine::record::checkpoint::Step;
use crate::engine::record::clears::{Cause, Clear};
use crate::engine::record::commit::Commit;
use crate::engine::record::commit::Written;
use crate::engine::record::load::NewMetadata;
use crate::engine::request::admit::Admission;
use crate::engine::request::in_flight::InFlight;
use crate::engine::request::plan::{Op, Request};
use crate::engine::shared::Shared;
use crate::engine::words::settings::{Features, Settings};

/// Sectors in an extent.
pub const EXTENT: u64 = 8;
/// Extents of the device.
pub const EXTENTS: u64 = 700;

/// An engine in a restore.
pub struct Device {
    pub engine: Engine<Heap>,
    pub shared: Shared<Heap>,
    block: Block,
}

impl Device {
    /// A restore has just begun that has these extents to restore.
    pub fn restoring(delta: impl Iterator<Item = u64>) -> Self {
        let geometry = Geometry::new(EXTENTS * EXTENT, EXTENT).unwrap();
        let shared = Shared::new(geometry).unwrap();
        let mut engine = Engine::new(geometry, Features::default(), Settings::default()).unwrap();
        engine.format(&shared, &NewMetadata::plain([1; 16], true));
        delta.for_each(|extent| shared.maps.set(Role::Cdm, Run::one(extent)));
        let mut device = Self {
            engine,
            shared,
            block: [0; BLOCK],
        };
        device.begin();
        device
    }

    /// A restore begins.
    pub fn begin(&mut self) {
        let Self {
            engine,
            shared,
            block,
        } = self;
        let mut begun = engine.begin_restore(shared);
        while begun.next(engine, shared, block) != Step::Done {}
    }

    /// The copy of an extent is done.
    pub fn copied(&mut self, extent: u64) {
        assert!(self.engine.clears.reserve(1));
        let (run, cause) = (Run::one(extent), Cause::Copied);
        self.engine.cleared(&self.shared, Clear { run, cause });
    }

    /// The host overwrites this extent: its write is sent to the source.
    pub fn overwrite(&mut self, extent: u64) -> InFlight {
        let Self { engine, shared, .. } = self;
        let mut sent = InFlight::default();
        sent.begin(shared, Op::Write, false);
        sent.defer(Request {
            op: Op::Write,
            sectors: Run::new(extent * EXTENT, EXTENT),
            whole: false,
        });
        let ticket = sent.ticket_mut().unwrap();
        assert_eq!(engine.admit(shared, ticket, 0), Admission::Go);
        sent.to_source(shared);
        sent
    }

    /// A source flush has succeeded.
    pub fn flush(&mut self) {
        let point = self.shared.sync.sync_point();
        self.engine.flush_succeeded(&self.shared, point);
    }

    /// Fills the next journal block.
    pub fn next_commit(&mut self) -> Commit {
        self.engine.next_commit(&self.shared, &mut self.block)
    }

    /// The next journal block is written.
    pub fn commit(&mut self) {
        assert!(matches!(self.next_commit(), Commit::Write(_)));
        let written = self.engine.commit_written(&self.shared, true, 0);
        assert_eq!(written, Written::Done);
    }

    /// What the last journal block says.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        let reader = Reader::new(&self.block).expect("it is one");
        reader.events().map(|event| event.expect("a good one"))
    }

    /// The mode that requests see.
    pub fn mode(&self) -> Mode {
        self.shared.maps.state().mode
    }
}
