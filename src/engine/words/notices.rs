// SPDX-License-Identifier: GPL-2.0

//! What has happened that `dmsetup wait` waits for, with the figures for a line in the log.
//!
//! The engine notes it, and the target takes it when it has the time: at the end of each run of the
//! worker, and behind each hook and message that may cause one.

use crate::engine::base::run::Run;
use crate::engine::base::storage::Storage;
use crate::engine::machine::{Engine, Errors, MetadataMode, Shared};
use crate::engine::maps::{Mode, Role};
use crate::engine::record::clears::Cause;

/// Most notices that wait to be taken. There can be more only if the copy stalls and recovers again
/// and again within one run of the worker; then the oldest is dropped.
pub const PLACES: usize = 8;

/// What keeps the copy from making progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failing {
    /// The clone cannot be read.
    #[default]
    Clone,
    /// The source cannot be written.
    Source,
    /// The source cannot be flushed.
    Flush,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The copy makes no progress any more.
    Stalled {
        /// Why.
        failing: Failing,
        /// Extents that are left to restore.
        left: u64,
        /// Failed requests since the table was loaded.
        errors: Errors,
    },
    /// It makes progress again.
    Recovered {
        /// Extents that are left to restore.
        left: u64,
    },
    /// The restore is over.
    Finished(Restored),
    /// The metadata mode has changed to this one.
    MetadataMode(MetadataMode),
}

/// What a restore has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Extents that there were to restore when it began.
    pub extents: u64,
    /// Of these, extents copied, since it began or since the table was loaded.
    pub copied: u64,
    /// The same, overwritten by the host.
    pub overwritten: u64,
}

/// The notices that wait to be taken, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Notices {
    ring: [Option<Notice>; PLACES],
}

impl Notices {
    fn push(&mut self, notice: Notice) {
        let free = self.ring.iter_mut().find(|place| place.is_none());
        if let Some(free) = free {
            *free = Some(notice);
            return;
        }
        self.ring.rotate_left(1);
        if let Some(last) = self.ring.last_mut() {
            *last = Some(notice);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Notice> + '_ {
        self.ring.iter().flatten().copied()
    }
}

/// What the restore that runs has come to since it began or was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Tally {
    copied: u64,
    overwritten: u64,
}

impl Tally {
    /// Extents are durably restored.
    pub(in crate::engine) fn count(&mut self, run: Run, cause: Cause) {
        let count = match cause {
            Cause::Copied => &mut self.copied,
            Cause::Overwritten => &mut self.overwritten,
            Cause::Touched => return,
        };
        *count = count.saturating_add(run.len());
    }
}

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
#[path = "../tests/notices.rs"]
mod tests;
