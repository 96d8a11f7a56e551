// SPDX-License-Identifier: GPL-2.0

//! Checkpoints: the maps as they are **durable**, written beside the old ones and then named by a
//! superblock.
//!
//! Order: map blocks to the slots that are not in use, the slot table to the area that is not in
//! use, a flush, the superblock with FUA. Until that is durable the old superblock names a complete
//! older state, and the journal behind it is intact. No journal block may be in flight meanwhile.
//! [`Checkpoint`] is that order; whoever makes one does what [`Checkpoint::next`] says, and nothing
//! else, and tells [`Checkpoint::done`] how it went.
//!
//! A failed write is tried again with the same bytes. A failed flush may have dropped any block that was
//! written, and the next one would succeed all the same: the checkpoint starts over, and writes all of
//! them anew to the same places. So it does if a request to the source may have dropped them
//! ([`cache`](crate::engine::sync::cache)).
//!
//! Clears that are not durable yet are put back into what is written.

use crate::engine::base::run::Run;
use crate::engine::base::storage::Storage;
use crate::engine::format::layout::{BLANK_BLOCKS, JOURNAL_BLOCKS, SUPERBLOCKS};
use crate::engine::format::mapblock::{self, extents_of, WORDS_PER_BLOCK};
use crate::engine::format::samples::Samples;
use crate::engine::format::table::{self, ENTRIES_PER_BLOCK};
use crate::engine::format::{Block, BLOCK};
use crate::engine::machine::Engine;
use crate::engine::maps::{Mode, Role, State};
use crate::engine::record::attempts::Attempts;
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::shared::Shared;
use crate::engine::sync::cache::{Confirmation, Doubt};

/// What a checkpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To empty the journal while the device is in use.
    Running,
    /// The device is suspended: everything is durable, the journal stays empty.
    Suspended,
    /// The target takes the metadata up: a new activation.
    Activated,
    /// Suspended, and a restore begins: the superblock alone says it.
    Begun,
    /// Suspended, and source and clone are declared identical.
    Identical,
}

impl Purpose {
    /// Whether nothing is in flight, and nothing will be before the next activation.
    fn is_suspended(self) -> bool {
        !matches!(self, Self::Running | Self::Activated)
    }

    /// Whether it changes what the bits mean: if it fails, nobody knows what the device says.
    fn changes_mode(self) -> bool {
        matches!(self, Self::Begun | Self::Identical)
    }
}

/// What is to be done next for a checkpoint, and must have succeeded before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write the block that was filled to this place, in blocks.
    Write(u64),
    /// Write it with FUA.
    WriteFua(u64),
    /// Flush the metadata device. A request of its own, because device-mapper, if the metadata is on
    /// such a device, forgets the error of a flush that comes with data.
    Flush,
    /// Wait until a flush or FUA write of the source has ended, take that in, and ask again. Only
    /// while the device is in use.
    Wait,
    /// Nothing: the checkpoint is durable.
    Done,
}

/// What follows when a step was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next step.
    Next,
    /// The next step, at this time: this one has failed. If it was a write, the next is the same write,
    /// and `block` must still have what it was filled with.
    Again(u64),
    /// None: the checkpoint has failed for good.
    Failed,
}

/// How far a checkpoint has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The end of the journal is zeroed, from this block on: metadata is being formatted.
    Zeros(u64),
    /// A journal block that a crash has torn is zeroed: from then on a bad block is damage.
    Torn(u64),
    /// Map blocks, from this entry of the slot table on.
    Map(u64),
    /// The slot table, from this block on.
    Table(u64),
    Flush,
    /// The flush has succeeded.
    Flushed(Option<Doubt>),
    Superblock,
    /// The superblock is written.
    Named(Option<Doubt>),
    Done,
}

/// A checkpoint under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    purpose: Purpose,
    /// Where it starts over.
    start: Stage,
    stage: Stage,
    /// The step under way, and whether it is to be done once more.
    step: Step,
    repeat: bool,
    writes: Attempts,
    flushes: Attempts,
    /// Losses of the cache when the last part began that must not be lost.
    losses: u64,
}

impl Checkpoint {
    /// A new one.
    pub fn new(purpose: Purpose) -> Self {
        let start = if purpose == Purpose::Begun {
            Stage::Flush
        } else {
            Stage::Map(0)
        };
        Self::starting(purpose, start)
    }

    /// The one that makes blank metadata. What lies behind the first [`BLANK_BLOCKS`] need not be blank.
    pub fn formatting() -> Self {
        Self::starting(Purpose::Suspended, Stage::Zeros(BLANK_BLOCKS))
    }

    /// The one that takes up what was loaded. `torn`: see [`Engine::replay`].
    pub fn activation(torn: Option<u64>) -> Self {
        let start = torn.map_or(Stage::Map(0), Stage::Torn);
        Self::starting(Purpose::Activated, start)
    }

    fn starting(purpose: Purpose, start: Stage) -> Self {
        Self {
            purpose,
            start,
            stage: start,
            step: Step::Done,
            repeat: false,
            writes: Attempts::default(),
            flushes: Attempts::default(),
            losses: 0,
        }
    }

    /// The next step; fills `block` if that is a write, but not if it is one that has failed.
    pub fn next<S: Storage>(
        &mut self,
        engine: &mut Engine<S>,
        shared: &Shared<S>,
        block: &mut Block,
    ) -> Step {
        if !core::mem::take(&mut self.repeat) {
            self.step = self.next_new(engine, shared, block);
        } else if matches!(self.step, Step::WriteFua(_)) {
            // What came before it is durable, and it is written anew.
            self.losses = engine.cache_losses;
            if let Stage::Named(_) = self.stage {
                engine.note_lost(self.purpose);
                engine.fill_superblock(block);
            }
        }
        self.step
    }

    /// Takes the result of the step under way, at `now` in nanoseconds.
    pub fn done<S: Storage>(
        &mut self,
        engine: &mut Engine<S>,
        shared: &Shared<S>,
        ok: bool,
        now: u64,
    ) -> Progress {
        let is_flush = self.step == Step::Flush;
        let attempts = if is_flush {
            &mut self.flushes
        } else {
            &mut self.writes
        };
        if ok {
            attempts.succeeded();
            if !self.flushes.are_failing() {
                engine.metadata_works();
            }
            return Progress::Next;
        }
        let Some(at) = engine.metadata_failed(attempts, now) else {
            engine.checkpoint_failed(shared, self.purpose);
            return Progress::Failed;
        };
        if is_flush {
            // What it should have covered may be lost.
            self.stage = self.start;
        } else {
            self.repeat = true;
        }
        Progress::Again(at)
    }

    /// The device cannot be read, which has to be done before anything is written to it.
    pub fn unread<S: Storage>(
        &mut self,
        engine: &mut Engine<S>,
        shared: &Shared<S>,
        now: u64,
    ) -> Progress {
        match engine.metadata_failed(&mut self.writes, now) {
            Some(at) => Progress::Again(at),
            None => {
                engine.checkpoint_failed(shared, self.purpose);
                Progress::Failed
            }
        }
    }

    /// It cannot be made.
    pub fn give_up<S: Storage>(&self, engine: &mut Engine<S>, shared: &Shared<S>) {
        engine.checkpoint_failed(shared, self.purpose);
    }

    fn next_new<S: Storage>(
        &mut self,
        engine: &mut Engine<S>,
        shared: &Shared<S>,
        block: &mut Block,
    ) -> Step {
        if self.stage == self.start {
            if self.purpose == Purpose::Activated {
                engine.take_loss_asleep(shared);
            }
            self.losses = engine.cache_losses;
        }
        if let Stage::Zeros(place) = self.stage {
            if place < SUPERBLOCKS.saturating_add(JOURNAL_BLOCKS) {
                self.stage = Stage::Zeros(place.saturating_add(1));
                *block = [0; BLOCK];
                return Step::Write(place);
            }
            self.stage = Stage::Map(0);
        }
        if let Stage::Torn(place) = self.stage {
            self.stage = Stage::Map(0);
            *block = [0; BLOCK];
            return Step::WriteFua(place);
        }
        if let Some(step) = self.write_maps(engine, shared, block) {
            return step;
        }
        if self.stage == Stage::Flush {
            self.stage = Stage::Flushed(None);
            return Step::Flush;
        }
        if let Stage::Flushed(doubt) = self.stage {
            let doubt = doubt.unwrap_or_else(|| engine.doubt(shared, self.losses));
            match engine.confirms(shared, doubt) {
                Confirmation::Yes => self.stage = Stage::Superblock,
                Confirmation::NotYet => {
                    self.stage = Stage::Flushed(Some(doubt));
                    return Step::Wait;
                }
                Confirmation::No => {
                    self.stage = self.start;
                    return self.next_new(engine, shared, block);
                }
            }
        }
        self.name(engine, shared, block)
    }

    /// Writes the map blocks and the slot table; `None` behind them.
    fn write_maps<S: Storage>(
        &mut self,
        engine: &mut Engine<S>,
        shared: &Shared<S>,
        block: &mut Block,
    ) -> Option<Step> {
        if let Stage::Map(from) = self.stage {
            if let Some((entry, place)) = engine.checkpoint_map(shared, from, block) {
                self.stage = Stage::Map(entry.saturating_add(1));
                return Some(Step::Write(place));
            }
            self.stage = Stage::Table(0);
        }
        if let Stage::Table(index) = self.stage {
            if let Some(place) = engine.checkpoint_table(index, block) {
                self.stage = Stage::Table(index.saturating_add(1));
                return Some(Step::Write(place));
            }
            self.stage = Stage::Flush;
        }
        None
    }

    /// Writes the superblock, which names all that.
    fn name<S: Storage>(
        &mut self,
        engine: &mut Engine<S>,
        shared: &Shared<S>,
        block: &mut Block,
    ) -> Step {
        if self.stage == Stage::Superblock {
            engine.next_superblock(self.purpose);
        }
        if let Stage::Named(doubt) = self.stage {
            let doubt = doubt.unwrap_or_else(|| engine.doubt(shared, self.losses));
            self.stage = match engine.confirms(shared, doubt) {
                Confirmation::Yes => Stage::Done,
                Confirmation::NotYet => {
                    self.stage = Stage::Named(Some(doubt));
                    return Step::Wait;
                }
                Confirmation::No => Stage::Superblock,
            };
        }
        if self.stage == Stage::Superblock {
            self.losses = engine.cache_losses;
            engine.note_lost(self.purpose);
            self.stage = Stage::Named(None);
            return Step::WriteFua(engine.fill_superblock(block));
        }
        engine.checkpoint_done();
        match self.purpose {
            Purpose::Begun => engine.restore_begun(shared),
            Purpose::Activated => engine.taken_up = true,
            Purpose::Running | Purpose::Suspended | Purpose::Identical => {}
        }
        if !self.purpose.is_suspended() {
            engine.maybe_clean = false;
        }
        Step::Done
    }
}

impl<S: Storage> Engine<S> {
    /// Fills `block` with the next map block at or behind table entry `from` that has changed, or that
    /// no superblock names yet. Returns its entry and its place in blocks.
    fn checkpoint_map(
        &mut self,
        shared: &Shared<S>,
        from: u64,
        block: &mut Block,
    ) -> Option<(u64, u64)> {
        let changed = self
            .table
            .iter()
            .skip(from as usize)
            .position(|entry| entry.dirty || entry.fresh)?;
        let number = from.saturating_add(changed as u64);
        self.fill_map_block(shared, number, block);
        let crc = mapblock::finish(block);
        let entry = self.table.get_mut(number as usize)?;
        let place = self.layout.map(number, entry.free_slot());
        *entry = entry.moved(crc);
        self.table_changed = true;
        Some((number, place))
    }

    fn fill_map_block(&self, shared: &Shared<S>, entry: u64, block: &mut Block) {
        let (map, index) = self.map_of(entry);
        let bitmap = shared.maps.numbered(map);
        let first = index.saturating_mul(WORDS_PER_BLOCK);
        mapblock::start(block, entry, |i| bitmap.word(first.saturating_add(i)));
        if map != shared.maps.number(Role::Cdm) {
            return;
        }
        let own = extents_of(index, self.geometry.extents());
        for run in self.clears.undurable() {
            let part = run.intersection(own);
            mapblock::set(
                block,
                Run::new(part.start().saturating_sub(own.start()), part.len()),
            );
        }
    }

    /// The map number and block that a table entry is for.
    pub(in crate::engine) fn map_of(&self, entry: u64) -> (usize, u64) {
        match entry.checked_sub(self.layout.map_blocks()) {
            None => (0, entry),
            Some(index) => (1, index),
        }
    }

    /// Fills `block` with block `index` of the slot table and returns its place; `None` behind the
    /// last, or if the table on the device is still true. The first block must come first.
    fn checkpoint_table(&mut self, index: u64, block: &mut Block) -> Option<u64> {
        if !self.table_changed || index >= self.layout.table_blocks() {
            return None;
        }
        let first = index.saturating_mul(ENTRIES_PER_BLOCK) as usize;
        let crc = table::encode(block, index, self.table.get(first..).unwrap_or(&[]));
        let so_far = if index == 0 {
            0
        } else {
            self.superblock.table_crc
        };
        self.superblock.table_crc = table::chain(so_far, crc);
        let other_area = 1u64.saturating_sub(self.superblock.table_area);
        Some(self.layout.table(other_area, index))
    }

    /// Makes the superblock that names what was written.
    fn next_superblock(&mut self, purpose: Purpose) {
        let superblock = &mut self.superblock;
        if core::mem::take(&mut self.table_changed) {
            superblock.table_area = 1u64.saturating_sub(superblock.table_area);
        }
        superblock.generation = superblock.generation.saturating_add(1);
        superblock.clean = purpose.is_suspended();
        self.maybe_clean |= superblock.clean;
        if purpose == Purpose::Activated {
            superblock.activation = superblock.activation.saturating_add(1);
            if superblock.mode == Mode::Restoring {
                // The restore changes the source where, in the end, no bit is set.
                superblock.source = Samples::default();
            }
        }
        superblock.tail = self.journal.sequence;
        superblock.chain = self.journal.chain;
    }

    /// Whether the superblock tells of data that the source may have lost, see [`awake`](crate::engine::record::awake).
    /// Once the metadata is taken up, the host is told instead.
    fn note_lost(&mut self, purpose: Purpose) {
        let superblock = &mut self.superblock;
        superblock.lost = purpose == Purpose::Activated
            && !self.taken_up
            && (superblock.lost || self.cache_losses > 0);
    }

    /// Fills `block` with it, and returns its place. It is to be written behind a flush and with FUA.
    fn fill_superblock(&self, block: &mut Block) -> u64 {
        self.superblock.encode(block);
        self.layout.superblock(self.superblock.generation)
    }

    /// A superblock names every map block that was written.
    fn checkpoint_done(&mut self) {
        self.table.iter_mut().for_each(|entry| entry.fresh = false);
    }

    /// Whether the superblock says that no records follow it. There must be an activation before
    /// the first one.
    pub fn is_clean(&self) -> bool {
        self.superblock.clean
    }

    /// The device goes on after a suspension, whether or not an activation could be recorded. As long
    /// as the superblock may say that the shutdown was clean, the source must stay as it is: the next
    /// load would take it for another one.
    pub fn go_on(&self, shared: &Shared<S>) {
        if self.maybe_clean {
            let state = shared.maps.state();
            shared.maps.set_state(State {
                failed: true,
                ..state
            });
        }
    }

    /// A step of a checkpoint has failed for good. What the device says is one of two complete
    /// states, but nothing more may be written to it.
    fn checkpoint_failed(&mut self, shared: &Shared<S>, purpose: Purpose) {
        let mode = if purpose.changes_mode() {
            MetadataMode::Fail
        } else {
            MetadataMode::ReadOnly
        };
        self.metadata_lost(shared, mode);
    }
}
