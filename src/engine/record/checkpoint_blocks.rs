// SPDX-License-Identifier: GPL-2.0

//! The blocks of a checkpoint: what each has in it, and what follows when they count.

use crate::engine::base::run::Run;
use crate::engine::base::storage::Storage;
use crate::engine::format::mapblock::{self, extents_of, WORDS_PER_BLOCK};
use crate::engine::format::samples::Samples;
use crate::engine::format::table::{self, ENTRIES_PER_BLOCK};
use crate::engine::format::Block;
use crate::engine::machine::Engine;
use crate::engine::maps::{Mode, Role, State};
use crate::engine::record::checkpoint::Purpose;
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::shared::Shared;

impl<S: Storage> Engine<S> {
    /// Fills `block` with the next map block at or behind table entry `from` that has changed, or that
    /// no superblock names yet. Returns its entry and its place in blocks.
    pub(in crate::engine) fn checkpoint_map(
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

    pub(in crate::engine) fn fill_map_block(
        &self,
        shared: &Shared<S>,
        entry: u64,
        block: &mut Block,
    ) {
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
    pub(in crate::engine) fn checkpoint_table(
        &mut self,
        index: u64,
        block: &mut Block,
    ) -> Option<u64> {
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
    pub(in crate::engine) fn next_superblock(&mut self, purpose: Purpose) {
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
    pub(in crate::engine) fn note_lost(&mut self, purpose: Purpose) {
        let superblock = &mut self.superblock;
        superblock.lost = purpose == Purpose::Activated
            && !self.taken_up
            && (superblock.lost || self.cache_losses > 0);
    }

    /// Fills `block` with it, and returns its place. It is to be written behind a flush and with FUA.
    pub(in crate::engine) fn fill_superblock(&self, block: &mut Block) -> u64 {
        self.superblock.encode(block);
        self.layout.superblock(self.superblock.generation)
    }

    /// A superblock names every map block that was written.
    pub(in crate::engine) fn checkpoint_done(&mut self) {
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
    pub(in crate::engine) fn checkpoint_failed(&mut self, shared: &Shared<S>, purpose: Purpose) {
        let mode = if purpose.changes_mode() {
            MetadataMode::Fail
        } else {
            MetadataMode::ReadOnly
        };
        self.metadata_lost(shared, mode);
    }
}
