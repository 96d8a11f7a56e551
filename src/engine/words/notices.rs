// SPDX-License-Identifier: GPL-2.0

//! What has happened that `dmsetup wait` waits for, with the figures for a line in the log.
//!
//! The engine notes it, and the target takes it when it has the time: at the end of each run of the
//! worker, and behind each hook and message that may cause one.

use crate::engine::base::run::Run;
use crate::engine::record::clears::Cause;
use crate::engine::record::metadata_mode::MetadataMode;

/// Most notices that wait to be taken. There can be more only if the copy stalls and recovers again
/// and again within one run of the worker; then the oldest is dropped.
pub const PLACES: usize = 8;

/// Failed requests since load, by device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Of the clone.
    pub clone: u64,
    /// Of the source.
    pub source: u64,
    /// Of the metadata device.
    pub metadata: u64,
}

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
    pub(in crate::engine) fn push(&mut self, notice: Notice) {
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
    pub(in crate::engine) copied: u64,
    pub(in crate::engine) overwritten: u64,
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
