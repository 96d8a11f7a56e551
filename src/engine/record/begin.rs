// SPDX-License-Identifier: GPL-2.0

//! How a restore begins, and how source and clone are declared identical. The device is suspended,
//! so one checkpoint says it all. How a restore ends is in [`journal`](crate::engine::record::journal).

use crate::engine::base::storage::Storage;
use crate::engine::format::items::Places;
use crate::engine::format::items::Unstable;
use crate::engine::format::samples::Samples;
use crate::engine::format::table::Entry;
use crate::engine::machine::Engine;
use crate::engine::maps::{Mode, Role, State};
use crate::engine::record::checkpoint::{Checkpoint, Purpose};
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::shared::Shared;
use crate::engine::words::notices::Tally;

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

    /// Begins a restore, with the checkpoint that is returned: one superblock, constant time. With an
    /// empty delta map it begins and finishes at once; both maps are empty, so the roles do not matter.
    pub fn begin_restore(&mut self, shared: &Shared<S>) -> Checkpoint {
        let delta = shared.maps.count(Role::Cdm);
        self.superblock.begun_with = delta;
        self.superblock.mode = if delta == 0 {
            Mode::Tracking
        } else {
            Mode::Restoring
        };
        Checkpoint::new(Purpose::Begun)
    }

    /// That is durable.
    pub(in crate::engine) fn restore_begun(&mut self, shared: &Shared<S>) {
        let state = shared.maps.state();
        shared.maps.set_state(State {
            mode: self.superblock.mode,
            ..state
        });
        self.jobs.reset();
        self.tally = Tally::default();
        if self.superblock.mode == Mode::Tracking {
            self.note_finished();
        }
    }

    /// The delta map becomes empty, because the caller has just made the clone, with the checkpoint
    /// that is returned. Both must be durable, and compared: see [`identical`](crate::engine::identity::identical). `clone`:
    /// samples as [`Engine::clone_wanted`] wants them. Samples of the source are to be taken anew.
    pub fn assume_identical(&mut self, shared: &Shared<S>, clone: Samples) -> Checkpoint {
        self.clone_is(clone);
        // What the copy was made of counts as stable from now on.
        let none = Unstable::default();
        shared.remembered.replace(&Places::default(), none);
        self.fill_map(shared, Role::Cdm, Entry::ZEROS);
        Checkpoint::new(Purpose::Identical)
    }

    /// Gives every block of the map in `role` the same content.
    pub(in crate::engine) fn fill_map(&mut self, shared: &Shared<S>, role: Role, content: Entry) {
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

#[cfg(test)]
#[path = "../tests/begin.rs"]
mod tests;
