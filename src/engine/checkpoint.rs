// SPDX-License-Identifier: GPL-2.0

//! Checkpoints: the maps as they are **durable**, written beside the old ones and then named by a
//! superblock.
//!
//! Order: map blocks to the slots that are not in use, the slot table to the area that is not in
//! use, a flush, the superblock with FUA. Until that is durable the old superblock names a complete
//! older state, and the journal behind it is intact. No journal block may be in flight meanwhile.
//! [`Checkpoint`] is that order; whoever makes one does what [`Checkpoint::next`] says, and nothing
//! else. If a request to the source may have dropped what was written ([`cache`](super::cache)), it is
//! written again, to the same places.
//!
//! Clears that are not durable yet are put back into what is written.

use super::cache::{Belief, Doubt};
use super::format::mapblock::{self, extents_of, WORDS_PER_BLOCK};
use super::format::table::{self, ENTRIES_PER_BLOCK};
use super::format::{Block, BLOCK};
use super::machine::{Engine, MetadataMode, Shared};
use super::maps::Role;
use super::run::Run;
use super::storage::Storage;

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
    /// Write it with FUA. It may be written again if that fails.
    WriteFua(u64),
    /// Flush the metadata device. A request of its own, because device-mapper, if the metadata is on
    /// such a device, forgets the error of a flush that comes with data; and not to be tried again,
    /// because it may have dropped the blocks.
    Flush,
    /// Wait until a flush or FUA write of the source has ended, take that in, and ask again. Only
    /// while the device is in use.
    Wait,
    /// Nothing: the checkpoint is durable.
    Done,
}

/// How far a checkpoint has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
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

/// A checkpoint under way. If a step fails: [`Engine::checkpoint_failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    purpose: Purpose,
    stage: Stage,
    /// Losses of the cache when the last part began that must not be lost.
    losses: u64,
}

impl Checkpoint {
    /// A new one.
    pub fn new(purpose: Purpose) -> Self {
        let stage = if purpose == Purpose::Begun {
            Stage::Flush
        } else {
            Stage::Map(0)
        };
        Self {
            purpose,
            stage,
            losses: 0,
        }
    }

    /// The one that takes up what was loaded. `torn`: see [`Engine::replay`].
    pub fn activation(torn: Option<u64>) -> Self {
        Self {
            purpose: Purpose::Activated,
            stage: torn.map_or(Stage::Map(0), Stage::Torn),
            losses: 0,
        }
    }

    /// The next step; fills `block` if that is a write.
    pub fn next<S: Storage>(
        &mut self,
        engine: &mut Engine<S>,
        shared: &Shared<S>,
        block: &mut Block,
    ) -> Step {
        if let Stage::Torn(place) = self.stage {
            self.stage = Stage::Map(0);
            *block = [0; BLOCK];
            return Step::WriteFua(place);
        }
        if let Some(step) = self.write_maps(engine, shared, block) {
            return step;
        }
        if self.stage == Stage::Flush {
            if self.purpose == Purpose::Begun {
                self.losses = engine.cache_losses;
            }
            self.stage = Stage::Flushed(None);
            return Step::Flush;
        }
        if let Stage::Flushed(doubt) = self.stage {
            let doubt = doubt.unwrap_or_else(|| engine.doubt(shared, self.losses));
            match engine.believes(shared, doubt) {
                Belief::Yes => self.stage = Stage::Superblock,
                Belief::NotYet => {
                    self.stage = Stage::Flushed(Some(doubt));
                    return Step::Wait;
                }
                Belief::No => {
                    self.stage = Self::new(self.purpose).stage;
                    return self.next(engine, shared, block);
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
            if from == 0 {
                self.losses = engine.cache_losses;
            }
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
            self.stage = match engine.believes(shared, doubt) {
                Belief::Yes => Stage::Done,
                Belief::NotYet => {
                    self.stage = Stage::Named(Some(doubt));
                    return Step::Wait;
                }
                Belief::No => Stage::Superblock,
            };
        }
        if self.stage == Stage::Superblock {
            self.losses = engine.cache_losses;
            self.stage = Stage::Named(None);
            return Step::WriteFua(engine.fill_superblock(block));
        }
        engine.checkpoint_done();
        match self.purpose {
            Purpose::Begun => engine.restore_begun(shared),
            Purpose::Activated => engine.taken_up = true,
            Purpose::Running | Purpose::Suspended | Purpose::Identical => {}
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
    pub(super) fn map_of(&self, entry: u64) -> (usize, u64) {
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
        if purpose == Purpose::Activated {
            superblock.activation = superblock.activation.saturating_add(1);
        }
        superblock.tail = self.journal.sequence;
        superblock.chain = self.journal.chain;
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

    /// A step of the checkpoint has failed for good. What the device says is one of two complete
    /// states, but nothing more may be written to it.
    pub fn checkpoint_failed(&mut self, shared: &Shared<S>, checkpoint: &Checkpoint) {
        let mode = if checkpoint.purpose.changes_mode() {
            MetadataMode::Fail
        } else {
            MetadataMode::ReadOnly
        };
        self.metadata_lost(shared, mode);
    }
}
