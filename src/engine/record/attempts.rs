// SPDX-License-Identifier: GPL-2.0

//! The attempts of requests to the metadata device, and how long they go on.

pub(in crate::engine) const SECOND: u64 = 1_000_000_000;
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
    pub(in crate::engine) fn failed(&mut self, now: u64, patience: &Patience) -> Option<u64> {
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
pub(in crate::engine) struct Patience {
    /// In use, in nanoseconds.
    pub(in crate::engine) in_use: u64,
    /// Since when the device is suspended or about to be.
    pub(in crate::engine) suspending: Option<u64>,
}

impl Patience {
    /// When it ends for a request that has failed first at `since`.
    pub(in crate::engine) fn end(&self, since: u64) -> u64 {
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
    pub(in crate::engine) suspending: Option<u64>,
    pub(in crate::engine) failing: bool,
    pub(in crate::engine) notice: Option<Notice>,
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
