// SPDX-License-Identifier: GPL-2.0

//! Whether the host is at work, and how long its requests take with and without a copy under way.
//!
//! Requests look at one word, without a lock and mostly without a write. While there is something to
//! copy, one request after the other is timed: when one is done, the next that comes is. So each moment
//! counts alike, and at a depth of 16 one request in 16 reads the clock. At other times one request
//! is noted each time the worker looks. Nothing here orders anything, and a request that is lost on the
//! way is no matter: all is relaxed.

use crate::engine::base::atomics::{AtomicU64, Ordering};
use crate::engine::base::flag::Flag;

/// Who looks at the host's requests.
pub struct HostLatency {
    /// Nobody is to look at the next request: one is being timed, or has been seen.
    satisfied: Flag,
    /// A request has come since the worker looked last.
    seen: Flag,
    /// There is something to copy: requests are timed one after the other.
    open: Flag,
    /// A copy of the background is under way.
    copying: Flag,
    /// Requests that were timed without a copy, and those with one.
    timed: [Timed; 2],
}

/// How many requests were timed, and how long they took together, in nanoseconds.
struct Timed {
    count: AtomicU64,
    sum: AtomicU64,
}

/// A request whose time is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When it came, in nanoseconds; 0 if its time is not taken.
    came: u64,
    copying: bool,
}

impl Timed {
    fn none() -> Self {
        Self {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    fn add(&self, took: u64) {
        self.sum.fetch_add(took, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// How long one took, since the last call.
    fn take(&self) -> Option<u64> {
        let count = self.count.swap(0, Ordering::Relaxed);
        let sum = self.sum.swap(0, Ordering::Relaxed);
        sum.checked_div(count)
    }
}

impl HostLatency {
    /// No request was seen.
    pub fn new() -> Self {
        Self {
            satisfied: Flag::new(),
            seen: Flag::new(),
            open: Flag::new(),
            copying: Flag::new(),
            timed: [Timed::none(), Timed::none()],
        }
    }

    /// A request comes. `now` is asked only if its time is to be taken.
    pub fn request(&self, now: impl FnOnce() -> u64) -> Sample {
        if self.satisfied.is_set() {
            return Sample::default();
        }
        self.satisfied.set(true);
        self.seen.set(true);
        Sample {
            came: now(),
            copying: self.copying.is_set(),
        }
    }

    /// A request that went to a device at once is done there. Whether it counts as beside a copy was
    /// decided when it came: if what happened later counted too, long ones would be more often beside a
    /// copy than short ones, whatever copies do to them.
    pub fn done(&self, sample: Sample, now: impl FnOnce() -> u64) {
        if sample.came == 0 {
            return;
        }
        let [without, with] = &self.timed;
        let timed = if sample.copying { with } else { without };
        timed.add(now().saturating_sub(sample.came).max(1));
        if self.open.is_set() {
            self.satisfied.set(false);
        }
    }

    /// Whether a request has come since the last call; the next one is looked at in any case.
    pub fn take_seen(&self) -> bool {
        self.satisfied.set(false);
        self.seen.take()
    }

    /// Says whether there is something to copy, and so how long requests take is of interest.
    pub fn set_open(&self, open: bool) {
        self.open.set(open);
    }

    /// Says whether a copy of the background is under way.
    pub fn set_copying(&self, copying: bool) {
        self.copying.set(copying);
    }

    /// How long a request has taken without and with a copy, on average since the last call.
    pub fn take_times(&self) -> [Option<u64>; 2] {
        let [without, with] = &self.timed;
        [without.take(), with.take()]
    }
}

impl Default for HostLatency {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_asked() -> u64 {
        panic!("only one is timed")
    }

    #[test]
    fn without_a_copy_one_request_is_noted_after_each_look() {
        let host_latency = HostLatency::new();
        assert!(!host_latency.take_seen());
        let sample = host_latency.request(|| 1000);
        host_latency.done(sample, || 1300);
        host_latency.done(host_latency.request(not_asked), not_asked);
        assert!(host_latency.take_seen() && !host_latency.take_seen());
        assert_eq!(host_latency.take_times(), [Some(300), None]);
        assert_eq!(host_latency.take_times(), [None, None]);
        assert_ne!(host_latency.request(|| 2000), Sample::default());
        assert!(host_latency.take_seen());
    }

    #[test]
    fn while_there_is_something_to_copy_one_follows_the_other() {
        let host_latency = HostLatency::new();
        host_latency.set_open(true);
        let first = host_latency.request(|| 1000);
        host_latency.done(host_latency.request(not_asked), not_asked);
        host_latency.done(first, || 1300);
        host_latency.done(host_latency.request(|| 2000), || 2100);
        assert_eq!(host_latency.take_times(), [Some(200), None]);
    }

    #[test]
    fn when_it_came_decides_whether_it_was_beside_a_copy() {
        let host_latency = HostLatency::new();
        host_latency.set_open(true);
        let sample = host_latency.request(|| 1000);
        host_latency.set_copying(true);
        host_latency.done(sample, || 1300);
        let sample = host_latency.request(|| 2000);
        host_latency.set_copying(false);
        host_latency.done(sample, || 2500);
        assert_eq!(host_latency.take_times(), [Some(300), Some(500)]);
    }
}
