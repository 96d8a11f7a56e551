// SPDX-License-Identifier: GPL-2.0

//! When the engine notes what has happened, for `dmsetup wait` and for the log.

use crate::engine::base::storage::Storage;
use crate::engine::machine::Engine;
use crate::engine::maps::{Mode, Role};
use crate::engine::shared::Shared;
use crate::engine::words::notices::{Errors, Notice, Notices, Restored, Tally};

impl<S: Storage> Engine<S> {
    /// Takes what has happened since the last call.
    pub fn take_notices(&mut self) -> Notices {
        core::mem::take(&mut self.notices)
    }

    /// Failed requests since the table was loaded, the host's own included.
    pub fn all_errors(&self, shared: &Shared<S>) -> Errors {
        let [source, clone] = shared.host_errors();
        Errors {
            clone: self.errors.clone.saturating_add(clone),
            source: self.errors.source.saturating_add(source),
            metadata: self.errors.metadata,
        }
    }

    /// Notes whether the copy has stalled or recovered since it was looked at.
    pub(in crate::engine) fn note_stall(&mut self, shared: &Shared<S>, was_stalled: bool) {
        let is_stalled = self.is_stalled();
        if is_stalled == was_stalled {
            return;
        }
        let left = self.left(shared);
        self.notices.push(if is_stalled {
            Notice::Stalled {
                failing: self.failing,
                left,
                errors: self.all_errors(shared),
            }
        } else {
            Notice::Recovered { left }
        });
    }

    /// Notes the end of a restore.
    pub(in crate::engine) fn note_finished(&mut self) {
        let Tally {
            copied,
            overwritten,
        } = self.tally;
        self.notices.push(Notice::Finished(Restored {
            extents: self.superblock.begun_with,
            copied,
            overwritten,
        }));
    }

    /// Notes that the metadata mode has changed.
    pub(in crate::engine) fn note_metadata_mode(&mut self) {
        self.notices.push(Notice::MetadataMode(self.metadata_mode));
    }

    /// Extents that are left to restore.
    pub fn left(&self, shared: &Shared<S>) -> u64 {
        if shared.maps.state().mode == Mode::Restoring {
            shared.maps.count(Role::Cdm)
        } else {
            0
        }
    }
}

#[cfg(test)]
#[path = "tests/notes.rs"]
mod tests;
