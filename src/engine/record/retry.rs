// SPDX-License-Identifier: GPL-2.0

//! Requests to the metadata device that have failed: when each is tried again, and when it is given up.
//!
//! A path that fails over takes seconds, so attempts are made with pauses, for `metadata_patience`
//! seconds. While the device is suspended, or is about to be, whoever asked for that waits: no longer
//! than a few seconds then.

use crate::engine::base::storage::Storage;
use crate::engine::machine::Engine;
use crate::engine::record::attempts::{Attempts, Notice, Patience, SECOND};

impl<S: Storage> Engine<S> {
    /// The device is about to be suspended, from `since` on; or it is in use again.
    pub fn set_suspending(&mut self, since: Option<u64>) {
        self.trouble.suspending = since;
    }

    /// What the log is to say of the metadata device, once.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.trouble.notice.take()
    }

    /// A request to the metadata device has failed. Returns when it is to be tried again; `None`:
    /// it is given up.
    pub(in crate::engine) fn metadata_failed(
        &mut self,
        attempts: &mut Attempts,
        now: u64,
    ) -> Option<u64> {
        self.count_metadata_error();
        let patience = Patience {
            in_use: u64::from(self.settings.metadata_patience).saturating_mul(SECOND),
            suspending: self.trouble.suspending,
        };
        let next = attempts.failed(now, &patience);
        if next.is_some() && !core::mem::replace(&mut self.trouble.failing, true) {
            let seconds = patience.end(now).saturating_sub(now) / SECOND;
            self.trouble.notice = Some(Notice::Failing(seconds));
        }
        next
    }

    /// The metadata device does what it is asked, all that had failed included.
    pub(in crate::engine) fn metadata_works(&mut self) {
        if core::mem::take(&mut self.trouble.failing) {
            self.trouble.notice = Some(Notice::Works);
        }
    }
}

#[cfg(test)]
#[path = "../tests/retry.rs"]
mod tests;
