// SPDX-License-Identifier: GPL-2.0

//! Waiting a moment for a fuller batch.
//!
//! When a batch of first touches is durable its requests are answered, and a host that keeps many in
//! flight sends as many new ones at once. If the next journal block were filled before they come it
//! would be for half of the host's requests, and so would be the one after it: each request would wait
//! for two blocks. So the next block is filled a little later, by a part of the time that a block
//! takes. A host that waits for each of its requests is not kept waiting: a batch of one does not
//! count.

/// The wait is at most this part of the time that the block before took: 1/4.
const PART: u64 = 4;
/// A shorter wait than this is none, in nanoseconds: a sleep costs more.
const SHORTEST: u64 = 50_000;
/// The longest.
const LONGEST: u64 = 2_000_000;
/// So often it is looked whether all have come.
const LOOK: u64 = 50_000;

/// When the next journal block may be filled. Times are in nanoseconds of a monotonic clock.
#[derive(Debug, Default)]
pub struct Gather {
    sent_at: u64,
    /// How long to wait when those who waited for the last block have been sent on.
    wait: u64,
    not_before: u64,
    /// So many first touches are waited for.
    expected: usize,
}

impl Gather {
    /// A block is sent to the metadata device.
    pub fn sent(&mut self, now: u64) {
        self.sent_at = now;
    }

    /// It is durable, with `written` runs of first touches; `gathered` wait for the next one.
    pub fn written(&mut self, now: u64, written: usize, gathered: usize) {
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

    /// How long to wait until it is asked again, if the next block has to wait at all. `gathered` first
    /// touches have come.
    pub fn next_look(&self, now: u64, gathered: usize) -> Option<u64> {
        if gathered >= self.expected || now >= self.not_before {
            return None;
        }
        Some(self.not_before.saturating_sub(now).min(LOOK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    /// How long all looks take behind a block, if `more` first touches come with each.
    fn after(took: u64, written: usize, gathered: usize, more: usize) -> u64 {
        let mut gather = Gather::default();
        gather.sent(7 * US);
        gather.written(7 * US + took, written, gathered);
        let released = 9 * US + took;
        gather.released(released);
        gather.released(released + 100 * US);
        let (mut now, mut come) = (released, gathered);
        while let Some(wait) = gather.next_look(now, come) {
            now += wait;
            come += more;
        }
        now - released
    }

    #[test]
    fn a_quarter_of_a_block_is_waited() {
        assert_eq!(after(1000 * US, 2, 0, 0), 250 * US);
        assert_eq!(after(1000 * US, 160, 3, 1), 250 * US);
        // Slow and fast devices.
        assert_eq!(after(90_000 * US, 2, 0, 0), 2000 * US);
        assert_eq!(after(100 * US, 2, 0, 0), 0);
    }

    #[test]
    fn not_longer_than_until_all_have_come() {
        assert_eq!(after(1000 * US, 16, 0, 16), 50 * US);
        assert_eq!(after(1000 * US, 16, 16, 8), 100 * US);
        assert_eq!(after(1000 * US, 16, 16, 0), 250 * US);
    }

    #[test]
    fn who_waits_for_each_request_is_not_kept_waiting() {
        assert_eq!(after(1000 * US, 1, 0, 0), 0);
        assert_eq!(after(1000 * US, 0, 5, 0), 0);
    }
}
