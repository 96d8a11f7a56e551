// SPDX-License-Identifier: GPL-2.0

//! Behind a hibernation: the memory is as old as the image, and the disks may not be.
//!
//! The kernel that loads the image may have to take the volume up, to read the image from it, or because
//! its first programs take up all volumes. Then there are activations behind the one in memory, which have
//! replayed the journal and moved map blocks to their other slots. If they have recorded nothing of their
//! own, the maps on the device say what they said, and the engine goes on from that superblock and that
//! table. If they have, the host has written behind the back of the memory: nobody can go on from there.
//!
//! Either way a new activation begins (a checkpoint for
//! [`Purpose::Activated`](crate::engine::record::checkpoint::Purpose)), so that no journal block of theirs can count.
//!
//! If metadata and source may have a volatile cache in common, a flush of theirs that has failed may have
//! dropped data of the source that the memory takes for written. They say so in their superblock. A kernel
//! that has given the metadata device up cannot say it, nor can other users of the same disk.

use crate::engine::base::storage::Storage;
use crate::engine::format::journal::Reader;
use crate::engine::format::superblock::Superblock;
use crate::engine::format::Block;
use crate::engine::machine::Engine;
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::shared::Shared;

/// What is found on the metadata device, compared with what was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The same.
    AsLeft,
    /// It was taken up since: [`Engine::follow`].
    TakenUp,
    /// Anything else: [`Engine::overtaken`].
    Changed,
}

impl<S: Storage> Engine<S> {
    /// Compares the newest superblock on the device with what was written last.
    pub fn find(&self, newest: &Superblock) -> Found {
        let last = &self.superblock;
        let taken_up = newest.activation.checked_sub(last.activation);
        if newest.uuid != last.uuid
            || taken_up.is_none()
            // Each activation writes one superblock, and everything else one that is not counted here.
            || taken_up != newest.generation.checked_sub(last.generation)
        {
            return Found::Changed;
        }
        if taken_up == Some(0) {
            return Found::AsLeft;
        }
        let same_journal =
            newest.tail == self.journal.sequence && newest.chain == self.journal.chain;
        let same_state = newest.mode == last.mode
            && newest.roles_swapped == last.roles_swapped
            && newest.begun_with == last.begun_with
            // Its places are taken anew with each activation.
            && newest.clone.equals_but_places(&last.clone);
        if same_journal && same_state {
            Found::TakenUp
        } else {
            Found::Changed
        }
    }

    /// Goes on from a superblock that was [`Found::TakenUp`], before the end of any request is taken in that
    /// was in flight: what it has written may be gone. `first` is the journal block at its tail.
    /// False, and nothing has changed, if something was recorded behind it. The table follows:
    /// [`Engine::load_table`] for each block, and [`Engine::check_table`].
    pub fn follow(&mut self, newest: &Superblock, first: &Block) -> bool {
        let recorded = Reader::new(first).is_some_and(|reader| {
            let place = reader.place;
            place.uuid == newest.uuid
                && place.activation == newest.activation
                && place.sequence == newest.tail
        });
        if recorded {
            return false;
        }
        let last = &mut self.superblock;
        last.generation = newest.generation;
        last.activation = newest.activation;
        last.table_area = newest.table_area;
        last.table_crc = newest.table_crc;
        self.lost_asleep |= newest.lost;
        true
    }

    /// What is on the device is not what is in memory, which is no longer true.
    pub fn overtaken(&mut self, shared: &Shared<S>) {
        self.metadata_lost(shared, MetadataMode::Fail);
    }
}

#[cfg(test)]
#[path = "../tests/awake.rs"]
mod tests;
