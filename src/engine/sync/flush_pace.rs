// SPDX-License-Identifier: GPL-2.0

//! When the target flushes the source by itself, if the host does not.

/// A clear waits at most so long for a flush, in nanoseconds.
pub(in crate::engine) const OLDEST: u64 = 1_000_000_000;

/// The longest pause after source flushes that failed.
const LONGEST_PAUSE: u64 = 30_000_000_000;

/// When the target flushes by itself. Times in nanoseconds.
#[derive(Debug, Default)]
pub(in crate::engine) struct FlushPace {
    /// Number of clears that were covered when it was looked at last.
    pub(in crate::engine) covered: u64,
    /// Whether there were clears then that no flush had covered, and since when.
    pub(in crate::engine) any: bool,
    pub(in crate::engine) since: u64,
    /// How long to wait from one flush to the next: nothing, unless flushes fail.
    pub(in crate::engine) pause: u64,
    pub(in crate::engine) not_before: u64,
    /// One has failed that something waited for, and none has succeeded since.
    pub(in crate::engine) stalled: bool,
}

impl FlushPace {
    pub(in crate::engine) fn succeeded(&mut self) {
        self.pause = 0;
        self.not_before = 0;
        self.stalled = false;
    }

    /// Whether what was copied waits for a flush, and flushes fail.
    pub(in crate::engine) fn is_stalled(&self) -> bool {
        self.stalled
    }

    pub(in crate::engine) fn failed(&mut self) {
        self.pause = self.pause.saturating_mul(2).clamp(OLDEST, LONGEST_PAUSE);
    }
}
