// SPDX-License-Identifier: GPL-2.0

//! Checkpoints: the maps as they are **durable**, written beside the old ones and then named by a
//! superblock.
//!
//! Order: map blocks to the slots that are not in use, the slot table to the area that is not in
//! use, a flush, the superblock with FUA. Until that is durable the old superblock names a complete
//! older state, and the journal behind it is intact. No journal block may be in flight meanwhile.
//!
//! Clears that are not durable yet are put back into what is written.

use super::format::mapblock::{self, extents_of, WORDS_PER_BLOCK};
use super::format::table::{self, Entry, ENTRIES_PER_BLOCK};
use super::format::Block;
use super::machine::{Engine, MetadataMode, Shared};
use super::maps::{Mode, Role};
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
}

/// Why a restore cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotBegin {
    /// Nothing is loaded.
    Unloaded,
    /// One runs.
    Already,
    /// Nothing can be recorded.
    ReadOnly,
}

impl<S: Storage> Engine<S> {
    /// Fills `block` with the next changed map block at or behind table entry `from`. Returns its
    /// entry and its place in blocks.
    pub fn checkpoint_map(
        &mut self,
        shared: &Shared<S>,
        from: u64,
        block: &mut Block,
    ) -> Option<(u64, u64)> {
        let changed = self
            .table
            .iter()
            .skip(from as usize)
            .position(|entry| entry.dirty)?;
        let number = from.saturating_add(changed as u64);
        self.fill_map_block(shared, number, block);
        let crc = mapblock::finish(block);
        let entry = self.table.get_mut(number as usize)?;
        let place = self.layout.map(number, entry.other_slot());
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
    pub fn checkpoint_table(&mut self, index: u64, block: &mut Block) -> Option<u64> {
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

    /// Fills `block` with the superblock that names what was written, and returns its place. It is
    /// to be written behind a flush and with FUA.
    pub fn checkpoint_superblock(&mut self, purpose: Purpose, block: &mut Block) -> u64 {
        let superblock = &mut self.superblock;
        if core::mem::take(&mut self.table_changed) {
            superblock.table_area = 1u64.saturating_sub(superblock.table_area);
        }
        superblock.generation = superblock.generation.saturating_add(1);
        superblock.clean = purpose == Purpose::Suspended;
        if purpose == Purpose::Activated {
            superblock.activation = superblock.activation.saturating_add(1);
        }
        superblock.tail = self.journal.sequence;
        superblock.chain = self.journal.chain;
        superblock.encode(block);
        self.layout.superblock(superblock.generation)
    }

    /// A write of the checkpoint has failed for good. What the device says is one of two complete
    /// states, but nothing more may be written to it.
    pub fn checkpoint_failed(&mut self, shared: &Shared<S>) {
        self.metadata_lost(shared, MetadataMode::ReadOnly);
    }

    /// Whether a restore may begin.
    pub fn can_begin_restore(&self, shared: &Shared<S>) -> Result<(), CannotBegin> {
        match shared.maps.state().mode {
            Mode::Unloaded => Err(CannotBegin::Unloaded),
            Mode::Restoring => Err(CannotBegin::Already),
            Mode::Tracking if self.metadata_mode != MetadataMode::ReadWrite => {
                Err(CannotBegin::ReadOnly)
            }
            Mode::Tracking => Ok(()),
        }
    }

    /// Fills `block` with the superblock that begins a restore, and returns its place. The device
    /// is suspended, so the superblock alone says it all: constant time.
    pub fn begin_restore(&mut self, shared: &Shared<S>, block: &mut Block) -> u64 {
        let delta = shared.maps.count(Role::Cdm);
        self.superblock.begun_with = delta;
        if delta == 0 {
            // It begins and finishes at once: both maps are empty, so the roles do not matter.
            self.superblock.mode = Mode::Tracking;
        } else {
            self.superblock.mode = Mode::Restoring;
        }
        self.checkpoint_superblock(Purpose::Suspended, block)
    }

    /// Takes the result of that write.
    pub fn restore_begun(&mut self, shared: &Shared<S>, ok: bool) {
        if !ok {
            self.mode_unknown(shared);
            return;
        }
        let state = shared.maps.state();
        shared.maps.set_state(super::maps::State {
            mode: self.superblock.mode,
            ..state
        });
        self.copier.reset();
        if self.superblock.mode == Mode::Tracking {
            self.event = true;
        }
    }

    /// The delta map becomes empty, because the caller has just made the clone. A checkpoint for
    /// [`Purpose::Suspended`] must follow; if it fails, [`Engine::mode_unknown`].
    pub fn assume_identical(
        &mut self,
        shared: &Shared<S>,
        clone: super::format::fingerprint::Fingerprint,
    ) {
        self.superblock.clone = clone;
        self.fill_map(shared, Role::Cdm, Entry::ZEROS);
    }

    /// A superblock that changed the mode or the meaning of the maps may or may not have landed.
    pub fn mode_unknown(&mut self, shared: &Shared<S>) {
        self.metadata_lost(shared, MetadataMode::Fail);
    }

    /// Gives every block of the map in `role` the same content.
    pub(super) fn fill_map(&mut self, shared: &Shared<S>, role: Role, content: Entry) {
        let number = shared.maps.number(role);
        for index in 0..self.layout.map_blocks() {
            let entry = self.layout.entry(number, index);
            self.load_uniform(shared, entry, content == Entry::ONES);
            if let Some(entry) = self.table.get_mut(entry as usize) {
                *entry = content;
            }
        }
        shared.maps.recount();
        self.table_changed = true;
    }
}
