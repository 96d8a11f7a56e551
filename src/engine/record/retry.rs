// SPDX-License-Identifier: GPL-2.0

//! Requests to the metadata device that have failed: when each is tried again, and when it is given up.
//!
//! A path that fails over takes seconds, so attempts are made with pauses, for `metadata_patience`
//! seconds. While the device is suspended, or is about to be, whoever asked for that waits: no longer
//! than a few seconds then.

use crate::engine::base::storage::Storage;
use crate::engine::machine::Engine;

const SECOND: u64 = 1_000_000_000;
/// The pause behind the first failure, in nanoseconds; each one after it is twice as long.
const FIRST_PAUSE: u64 = 50_000_000;
/// No pause is longer.
const LONGEST_PAUSE: u64 = SECOND;
/// So long at most while the device is suspended or about to be.
const SUSPENDED: u64 = 5 * SECOND;

/// The attempts of one request, from its first failure on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Attempts {
    failing: Option<Failing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failing {
    since: u64,
    next_pause: u64,
}

impl Attempts {
    /// Whether the last one has failed.
    pub(in crate::engine) fn are_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// One has succeeded.
    pub(in crate::engine) fn succeeded(&mut self) {
        self.failing = None;
    }

    /// One has failed at `now`. Returns when the next one is due; `None`: the patience is over.
    fn failed(&mut self, now: u64, patience: &Patience) -> Option<u64> {
        let failing = self.failing.unwrap_or(Failing {
            since: now,
            next_pause: FIRST_PAUSE,
        });
        let end = patience.end(failing.since);
        if now >= end {
            return None;
        }
        let pause = failing.next_pause;
        self.failing = Some(Failing {
            next_pause: pause.saturating_mul(2).min(LONGEST_PAUSE),
            ..failing
        });
        // The last one is made when the patience ends.
        Some(now.saturating_add(pause).min(end))
    }
}

/// How long is tried.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// In use, in nanoseconds.
    in_use: u64,
    /// Since when the device is suspended or about to be.
    suspending: Option<u64>,
}

impl Patience {
    /// When it ends for a request that has failed first at `since`.
    fn end(&self, since: u64) -> u64 {
        let in_use = since.saturating_add(self.in_use);
        match self.suspending {
            Some(begun) => in_use.min(since.max(begun).saturating_add(SUSPENDED)),
            None => in_use,
        }
    }
}

/// What the log is to say of the metadata device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It fails, and is tried for so many seconds.
    Failing(u64),
    /// It works again.
    Works,
}

/// How requests to the metadata device fare.
#[derive(Debug)]
pub(in crate::engine) struct Trouble {
    /// Since when the device is suspended or about to be.
    suspending: Option<u64>,
    failing: bool,
    notice: Option<Notice>,
}

impl Trouble {
    /// None yet; a table is suspended until it is resumed.
    pub(in crate::engine) fn new() -> Self {
        Self {
            suspending: Some(0),
            failing: false,
            notice: None,
        }
    }

    /// Whether a request has failed and is being tried again.
    pub(in crate::engine) fn is_failing(&self) -> bool {
        self.failing
    }

    /// It was given up.
    pub(in crate::engine) fn given_up(&mut self) {
        self.failing = false;
        self.notice = None;
    }
}

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
