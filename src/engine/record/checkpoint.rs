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

use crate::engine::base::storage::Storage;
use crate::engine::format::layout::{BLANK_BLOCKS, JOURNAL_BLOCKS, SUPERBLOCKS};
use crate::engine::format::{Block, BLOCK};
use crate::engine::machine::Engine;
use crate::engine::record::attempts::Attempts;
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
    pub(in crate::engine) fn is_suspended(self) -> bool {
        !matches!(self, Self::Running | Self::Activated)
    }

    /// Whether it changes what the bits mean: if it fails, nobody knows what the device says.
    pub(in crate::engine) fn changes_mode(self) -> bool {
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
