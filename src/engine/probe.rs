// SPDX-License-Identifier: GPL-2.0

//! Whether the host is at work, and how long its requests take with and without a copy under way.
//!
//! Requests look at one word, without a lock and mostly without a write. When the worker asks whether
//! the host was seen it also asks for a sample: the next request's time is taken. So there is about
//! one sample for each copy and one for each pause between copies. Nothing here orders anything, and
//! a sample that gets lost is no matter: all is relaxed.

use super::atomics::{AtomicU64, Ordering};

/// Who looks at the host's requests.
pub struct Probe {
    /// A request has come since the worker looked last; until then the next one is sampled.
    seen: AtomicU64,
    /// A copy of the background is under way.
    copying: AtomicU64,
    /// The last sample without a copy and the last one with it, in nanoseconds; 0 is none.
    taken: [AtomicU64; 2],
}

/// A request whose time is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When it came, in nanoseconds; 0 if its time is not taken.
    came: u64,
    copying: bool,
}

impl Probe {
    /// No request was seen.
    pub fn new() -> Self {
        Self {
            seen: AtomicU64::new(0),
            copying: AtomicU64::new(0),
            taken: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    /// A request comes. `now` is asked only if its time is to be taken.
    pub fn request(&self, now: impl FnOnce() -> u64) -> Sample {
        if self.seen.load(Ordering::Relaxed) != 0 {
            return Sample::default();
        }
        self.seen.store(1, Ordering::Relaxed);
        Sample {
            came: now(),
            copying: self.is_copying(),
        }
    }

    /// A request that went to a device at once is done there.
    pub fn done(&self, sample: Sample, now: impl FnOnce() -> u64) {
        if sample.came == 0 || sample.copying != self.is_copying() {
            // In part with a copy and in part without.
            return;
        }
        let [without, with] = &self.taken;
        let place = if sample.copying { with } else { without };
        let took = now().saturating_sub(sample.came);
        place.store(took.max(1), Ordering::Relaxed);
    }

    /// Whether a request has come since the last call; the next one's time is taken.
    pub fn take_seen(&self) -> bool {
        self.seen.swap(0, Ordering::Relaxed) != 0
    }

    /// Says whether a copy of the background is under way.
    pub fn set_copying(&self, copying: bool) {
        self.copying.store(u64::from(copying), Ordering::Relaxed);
    }

    /// The last samples without and with a copy, if there are new ones.
    pub fn take_samples(&self) -> [Option<u64>; 2] {
        let take = |place: &AtomicU64| Some(place.swap(0, Ordering::Relaxed)).filter(|ns| *ns > 0);
        let [without, with] = &self.taken;
        [take(without), take(with)]
    }

    fn is_copying(&self) -> bool {
        self.copying.load(Ordering::Relaxed) != 0
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_is_sampled_after_each_look() {
        let probe = Probe::new();
        assert!(!probe.take_seen());
        let sample = probe.request(|| 1000);
        let other = probe.request(|| panic!("only one is sampled"));
        probe.done(sample, || 1300);
        probe.done(other, || panic!("only one is sampled"));
        assert_eq!(probe.take_samples(), [Some(300), None]);
        assert_eq!(probe.take_samples(), [None, None]);
        assert!(probe.take_seen() && !probe.take_seen());
        probe.set_copying(true);
        probe.done(probe.request(|| 2000), || 2900);
        assert_eq!(probe.take_samples(), [None, Some(900)]);
    }

    #[test]
    fn what_is_in_part_beside_a_copy_says_nothing() {
        let probe = Probe::new();
        let sample = probe.request(|| 1000);
        probe.set_copying(true);
        probe.done(sample, || 1300);
        assert_eq!(probe.take_samples(), [None, None]);
    }
}
