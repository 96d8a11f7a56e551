// SPDX-License-Identifier: GPL-2.0

//! Loading: from the metadata device to the maps in memory, and recovery after a crash.
//!
//! Steps, in this order: [`Engine::adopt`] the superblock, [`Engine::load_table`] for each block of
//! the slot table, [`Engine::load_map`] for each map block that is in a slot, [`Engine::replay`]
//! the journal, then a checkpoint for [`Purpose::Activated`](crate::engine::record::checkpoint::Purpose). Nothing is
//! written before that, so what is refused stays as it was.

use crate::engine::base::atomics::AtomicU64;
use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::base::storage::Storage;
use crate::engine::format::event::Event;
use crate::engine::format::items::Places;
use crate::engine::format::items::Unstable;
use crate::engine::format::journal::{Place, Reader};
use crate::engine::format::layout::{Layout, JOURNAL_BLOCKS};
use crate::engine::format::mapblock::{self, extents_of, WORDS_PER_BLOCK};
use crate::engine::format::samples::Samples;
use crate::engine::format::superblock::Superblock;
use crate::engine::format::table::{self, Entry, ENTRIES_PER_BLOCK};
use crate::engine::format::{bytes, Block, Refusal};
use crate::engine::machine::Engine;
use crate::engine::maps::bitmap::WORD_BITS;
use crate::engine::maps::{Maps, Mode, Role, State};
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::shared::Shared;

type MapsOf<S> = Maps<<S as Storage>::Array<AtomicU64>>;

/// What new metadata is made with.
#[derive(Clone, Copy, Debug)]
pub struct NewMetadata {
    /// Its identity, random.
    pub uuid: [u8; 16],
    /// Source and clone are the same now.
    pub identical: bool,
    /// The largest logical block size of source and clone, in bytes.
    pub block_size: u32,
    /// The clone's size in sectors.
    pub clone_sectors: u64,
}

#[cfg(not(MODULE))]
impl NewMetadata {
    /// For tests that do not look at what the devices are.
    pub fn plain(uuid: [u8; 16], identical: bool) -> Self {
        Self {
            uuid,
            identical,
            block_size: 512,
            clone_sectors: u64::MAX,
        }
    }
}

/// Checks that metadata belongs to this table line. `sectors` is the size of the metadata device,
/// `block_size` the largest logical block size of source and clone, in bytes.
pub fn check_identity(
    superblock: &Superblock,
    geometry: &Geometry,
    sectors: u64,
    block_size: u32,
) -> Result<(), Refusal> {
    if superblock.length != geometry.length() {
        return Err(Refusal::OtherLength);
    }
    if superblock.extent_sectors != geometry.extent_sectors() {
        return Err(Refusal::OtherExtentSize);
    }
    if sectors < Layout::new(geometry.extents()).sectors() {
        return Err(Refusal::Truncated);
    }
    if block_size > superblock.block_size {
        return Err(Refusal::LargerBlocks {
            given: block_size,
            recorded: superblock.block_size,
        });
    }
    Ok(())
}

impl<S: Storage> Engine<S> {
    /// Prepares blank metadata, in memory: samples of the clone are to be taken, [`Engine::clone_is`],
    /// then a checkpoint for `Suspended` and one for `Activated` write it.
    pub fn format(&mut self, shared: &Shared<S>, new: &NewMetadata) {
        self.superblock.uuid = new.uuid;
        self.superblock.generation = 0;
        self.superblock.activation = 0;
        self.superblock.block_size = new.block_size;
        self.superblock.clone_sectors = new.clone_sectors;
        self.superblock.clone = Samples::default();
        self.superblock.source = Samples::default();
        self.superblock.unstable = Unstable::default();
        self.metadata_mode = MetadataMode::ReadWrite;
        // No block of an older history on the same device can carry this on.
        self.journal.chain = bytes::get_u32(&new.uuid, 0);
        shared
            .remembered
            .replace(&Places::default(), Unstable::default());
        shared.maps.set_state(State {
            mode: Mode::Tracking,
            ..State::UNLOADED
        });
        let content = if new.identical {
            Entry::ZEROS
        } else {
            Entry::ONES
        };
        self.fill_map(shared, Role::Cdm, content);
        self.fill_map(shared, Role::Prm, Entry::ZEROS);
    }

    /// The metadata that the table line found. It is not loaded yet.
    pub fn identified(&mut self, found: &Superblock) {
        self.superblock.uuid = found.uuid;
        self.superblock.block_size = found.block_size;
    }

    /// Takes a superblock that was chosen and checked.
    pub fn adopt(&mut self, shared: &Shared<S>, superblock: Superblock) {
        self.journal.sequence = superblock.tail;
        self.journal.chain = superblock.chain;
        shared.maps.set_state(State {
            mode: superblock.mode,
            roles_swapped: superblock.roles_swapped,
            failed: false,
        });
        let places = superblock.source.places();
        shared.remembered.replace(&places, superblock.unstable);
        self.maybe_clean = superblock.clean;
        self.superblock = superblock;
        self.metadata_mode = MetadataMode::ReadWrite;
    }

    /// The clone has this size now. Returns the one that was recorded, if it is another: a clone that
    /// has grown is the same clone.
    pub fn clone_has(&mut self, sectors: u64) -> Option<u64> {
        let recorded = core::mem::replace(&mut self.superblock.clone_sectors, sectors);
        (recorded != sectors).then_some(recorded)
    }

    /// Forgets what was loaded, because some of it was refused.
    pub fn unload(&mut self, shared: &Shared<S>) {
        shared.maps.set_state(State::UNLOADED);
        self.taken_up = false;
    }

    /// Place in blocks of block `index` of the slot table in use; `None` behind the last.
    pub fn table_place(&self, index: u64) -> Option<u64> {
        (index < self.layout.table_blocks())
            .then(|| self.layout.table(self.superblock.table_area, index))
    }

    /// Takes block `index` of the slot table. `crc` is 0 at first and what the last call returned
    /// from then on. A map block that has changed in memory still has.
    pub fn load_table(&mut self, index: u64, block: &Block, crc: u32) -> Result<u32, Refusal> {
        let own = table::check(block, index).ok_or(Refusal::TableDamaged)?;
        let first = index.saturating_mul(ENTRIES_PER_BLOCK) as usize;
        let entries = self
            .table
            .iter_mut()
            .skip(first)
            .take(ENTRIES_PER_BLOCK as usize);
        for (i, entry) in entries.enumerate() {
            let dirty = entry.dirty;
            *entry = table::decode(block, i).ok_or(Refusal::TableInvalid)?;
            entry.dirty |= dirty;
        }
        Ok(table::chain(crc, own))
    }

    /// Checks the slot table as a whole.
    pub fn check_table(&self, crc: u32) -> Result<(), Refusal> {
        if crc == self.superblock.table_crc {
            Ok(())
        } else {
            Err(Refusal::TableMismatch)
        }
    }

    /// Place in blocks of the map block with table entry `entry`: `None` if it is in no slot, and
    /// then its bits are loaded by the call itself.
    pub fn map_place(&self, shared: &Shared<S>, entry: u64) -> Option<u64> {
        let found = self.table.get(entry as usize)?;
        match found.slot() {
            Some(slot) => Some(self.layout.map(entry, slot)),
            None => {
                self.load_uniform(shared, entry, found.place == table::Place::Ones);
                None
            }
        }
    }

    /// Sets or clears every bit of the map block with table entry `entry`.
    pub(in crate::engine) fn load_uniform(&self, shared: &Shared<S>, entry: u64, ones: bool) {
        let (map, index) = self.map_of(entry);
        let own = extents_of(index, self.geometry.extents());
        let bitmap = shared.maps.numbered(map);
        if ones {
            bitmap.set(own);
        } else {
            bitmap.clear(own);
        }
    }

    /// Takes the map block with table entry `entry`.
    pub fn load_map(&self, shared: &Shared<S>, entry: u64, block: &Block) -> Result<(), Refusal> {
        let crc = mapblock::check(block, entry).ok_or(Refusal::MapDamaged)?;
        if self.table.get(entry as usize).map(|entry| entry.crc) != Some(crc) {
            return Err(Refusal::MapMismatch);
        }
        let (map, index) = self.map_of(entry);
        let bits = extents_of(index, self.geometry.extents()).len();
        let first = index.saturating_mul(WORDS_PER_BLOCK);
        for i in 0..WORDS_PER_BLOCK {
            let word = mapblock::word(block, i);
            if word & !valid_bits(bits, i) != 0 {
                return Err(Refusal::MapInvalid);
            }
            shared
                .maps
                .numbered(map)
                .store_word(first.saturating_add(i), word);
        }
        Ok(())
    }

    /// Replays the journal. `block` gives journal block `i` of the ring (0 to 255).
    ///
    /// Returns the place, in blocks, of a last block that a crash has torn: it is to be zeroed
    /// before the target goes on, so that later any bad block is damage.
    pub fn replay<'a>(
        &mut self,
        shared: &Shared<S>,
        block: impl Fn(u64) -> Option<&'a Block>,
    ) -> Result<Option<u64>, Refusal> {
        shared.maps.recount();
        while let Some(reader) = self.next_to_replay(&block) {
            for event in reader.events() {
                self.apply(shared, event.ok_or(Refusal::JournalInvalid)?)?;
            }
            self.journal.chain = reader.crc;
            self.journal.sequence = self.journal.sequence.saturating_add(1);
        }
        let torn = self.check_rest(&block)?;
        self.check_maps(&shared.maps)?;
        Ok(torn)
    }

    fn next_to_replay<'a>(&self, block: &impl Fn(u64) -> Option<&'a Block>) -> Option<Reader<'a>> {
        let expected = Place {
            uuid: self.superblock.uuid,
            activation: self.superblock.activation,
            sequence: self.journal.sequence,
            chain: self.journal.chain,
        };
        let used = self.journal.sequence.saturating_sub(self.superblock.tail);
        let reader = Reader::new(block(self.journal.sequence % JOURNAL_BLOCKS)?)?;
        (used < JOURNAL_BLOCKS && reader.place == expected).then_some(reader)
    }

    /// Looks at the blocks that were not replayed: old ones are fine, the one that would have been
    /// next may be torn by a crash, everything else is damage.
    fn check_rest<'a>(
        &self,
        block: &impl Fn(u64) -> Option<&'a Block>,
    ) -> Result<Option<u64>, Refusal> {
        let clean = self.superblock.clean;
        let next = self.journal.sequence % JOURNAL_BLOCKS;
        let mut torn = None;
        for i in 0..JOURNAL_BLOCKS {
            let Some(content) = block(i) else { continue };
            match Reader::new(content) {
                Some(reader) if self.is_later(&reader.place) => return Err(Refusal::JournalHole),
                Some(_) => {}
                None if bytes::is_zero(content) => {}
                None if clean => return Err(Refusal::JournalDamagedClean),
                None if i == next => torn = Some(self.layout.journal(self.journal.sequence)),
                None => return Err(Refusal::JournalHole),
            }
        }
        if clean && self.journal.sequence != self.superblock.tail {
            return Err(Refusal::JournalNotEmpty);
        }
        Ok(torn)
    }

    /// Without a restore no host writes are marked, and a restore only ever clears delta bits.
    fn check_maps(&self, maps: &MapsOf<S>) -> Result<(), Refusal> {
        let possible = match maps.state().mode {
            Mode::Restoring => maps.count(Role::Cdm) <= self.superblock.begun_with,
            Mode::Tracking | Mode::Unloaded => maps.count(Role::Prm) == 0,
        };
        if possible {
            Ok(())
        } else {
            Err(Refusal::MapsImpossible)
        }
    }

    /// Whether a block belongs to this history but was not reached.
    fn is_later(&self, place: &Place) -> bool {
        place.uuid == self.superblock.uuid
            && place.activation == self.superblock.activation
            && place.sequence >= self.journal.sequence
    }

    fn apply(&mut self, shared: &Shared<S>, event: Event) -> Result<(), Refusal> {
        let mode = shared.maps.state().mode;
        match event {
            Event::Touched(run) => {
                let run = self.on_device(run)?;
                let role = if mode == Mode::Restoring {
                    Role::Prm
                } else {
                    Role::Cdm
                };
                self.replay_set(shared, role, run);
            }
            Event::Restored(run) | Event::Overwritten(run) => {
                let run = self.on_device(run)?;
                if mode != Mode::Restoring {
                    return Err(Refusal::JournalInvalid);
                }
                if matches!(event, Event::Overwritten(_)) {
                    self.replay_set(shared, Role::Prm, run);
                }
                shared.maps.clear(Role::Cdm, run);
                self.mark_dirty(shared, Role::Cdm, run);
            }
            Event::RestoreFinished => self.replay_finish(&shared.maps, mode)?,
        }
        Ok(())
    }

    fn replay_set(&mut self, shared: &Shared<S>, role: Role, run: Run) {
        shared.maps.set(role, run);
        self.mark_dirty(shared, role, run);
    }

    fn replay_finish(&mut self, maps: &MapsOf<S>, mode: Mode) -> Result<(), Refusal> {
        if mode != Mode::Restoring {
            return Err(Refusal::JournalInvalid);
        }
        if maps.count(Role::Cdm) != 0 {
            return Err(Refusal::JournalFinishEarly);
        }
        let state = maps.state().finished();
        maps.set_state(state);
        self.superblock.mode = state.mode;
        self.superblock.roles_swapped = state.roles_swapped;
        Ok(())
    }

    fn on_device(&self, run: Run) -> Result<Run, Refusal> {
        if self.geometry.all().covers(run) {
            Ok(run)
        } else {
            Err(Refusal::JournalInvalid)
        }
    }

    /// `assume_different`: the delta map is filled.
    pub fn assume_different(&mut self, shared: &Shared<S>) -> Result<(), Refusal> {
        if shared.maps.state().mode == Mode::Restoring {
            return Err(Refusal::DifferentWhileRestoring);
        }
        self.fill_map(shared, Role::Cdm, Entry::ONES);
        Ok(())
    }
}

/// The bits of word `i` that stand for one of a block's `bits` extents.
fn valid_bits(bits: u64, i: u64) -> u64 {
    let left = bits
        .saturating_sub(i.saturating_mul(WORD_BITS))
        .min(WORD_BITS);
    u64::MAX
        .checked_shr(WORD_BITS.saturating_sub(left) as u32)
        .unwrap_or(0)
}

#[cfg(test)]
#[path = "../tests/load.rs"]
mod tests;
