// SPDX-License-Identifier: GPL-2.0

//! Waiting a moment for a fuller batch.
//!
//! When a batch of first touches is durable its requests are answered, and a host that keeps many in
//! flight sends as many new ones at once. If the next journal block were filled before they come it
//! would be for half of the host's requests, and so would be the one after it: each request would wait
//! for two blocks. So the next block is filled a little later, by a part of the time that a block
//! takes. A host that waits for each of its requests is not kept waiting: a batch of one does not
//! count.

/// The wait is at most this part of the time that the block before took: 1/2.
const PART: u64 = 2;
/// A shorter wait than this is none, in nanoseconds: a sleep costs more.
const SHORTEST: u64 = 50_000;
/// The longest.
const LONGEST: u64 = 2_000_000;

/// Until so many requests have come, or this time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How many more; each may be a first touch.
    pub requests: usize,
    /// Nanoseconds.
    pub ns: u64,
}

/// When the next journal block may be filled. Times are in nanoseconds of a monotonic clock.
#[derive(Debug, Default)]
pub struct CommitDelay {
    sent_at: u64,
    /// How long to wait when those who waited for the last block have been sent on.
    wait: u64,
    not_before: u64,
    /// So many requests are waited for.
    expected: usize,
}

impl CommitDelay {
    /// A block is sent to the metadata device: nothing is waited for.
    pub fn sent(&mut self, now: u64) {
        self.sent_at = now;
        self.not_before = 0;
    }

    /// It is durable. `written` requests have waited for that; `gathered` wait for the next one.
    pub fn written(&mut self, now: u64, [gathered, written]: [usize; 2]) {
        let wait = now.saturating_sub(self.sent_at) / PART;
        self.wait = if written > 1 && wait >= SHORTEST {
            wait.min(LONGEST)
        } else {
            0
        };
        self.expected = written.saturating_add(gathered);
    }

    /// Those who waited for it have been sent on: the wait begins.
    pub fn released(&mut self, now: u64) {
        if self.wait > 0 {
            self.not_before = now.saturating_add(core::mem::take(&mut self.wait));
        }
    }

    /// What to wait for until it is asked again, if the next block has to wait at all. `gathered` requests
    /// have come.
    pub fn next_wait(&self, now: u64, gathered: usize) -> Option<Wait> {
        let missing = self.expected.saturating_sub(gathered);
        // While they are taken in, the other half comes.
        let requests = missing.div_ceil(2);
        let ns = self.not_before.saturating_sub(now);
        (missing > 0 && ns > 0).then_some(Wait { requests, ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;
    const NEVER: u64 = 1 << 40;

    /// How long is waited behind a block, if a first touch comes each `every`.
    fn after(took: u64, written: usize, gathered: usize, every: u64) -> u64 {
        let mut gather = CommitDelay::default();
        gather.sent(7 * US);
        gather.written(7 * US + took, [gathered, written]);
        let released = 9 * US + took;
        gather.released(released);
        gather.released(released + 100 * US);
        let (mut now, mut come) = (released, gathered);
        while let Some(wait) = gather.next_wait(now, come) {
            let until = (every * wait.requests as u64).min(wait.ns);
            now += until;
            come += (until / every) as usize;
        }
        now - released
    }

    #[test]
    fn half_of_a_block_is_waited() {
        assert_eq!(after(1000 * US, 2, 0, NEVER), 500 * US);
        assert_eq!(after(1000 * US, 160, 3, 10 * US), 500 * US);
        // Slow and fast devices.
        assert_eq!(after(90_000 * US, 2, 0, NEVER), 2000 * US);
        assert_eq!(after(90 * US, 2, 0, NEVER), 0);
    }

    #[test]
    fn not_longer_than_until_all_have_come() {
        assert_eq!(after(1000 * US, 16, 0, 10 * US), 160 * US);
        assert_eq!(after(1000 * US, 16, 16, 10 * US), 160 * US);
        assert_eq!(after(1000 * US, 16, 16, NEVER), 500 * US);
    }

    #[test]
    fn behind_a_block_that_is_sent_nothing_is_waited_for() {
        let mut gather = CommitDelay::default();
        gather.sent(0);
        gather.written(1000 * US, [0, 16]);
        gather.released(1000 * US);
        let half = Wait {
            requests: 8,
            ns: 500 * US,
        };
        assert_eq!(gather.next_wait(1000 * US, 0), Some(half));
        gather.sent(1200 * US);
        assert_eq!(gather.next_wait(1200 * US, 0), None);
    }

    #[test]
    fn who_waits_for_each_request_is_not_kept_waiting() {
        assert_eq!(after(1000 * US, 1, 0, NEVER), 0);
        assert_eq!(after(1000 * US, 0, 5, NEVER), 0);
    }
}
