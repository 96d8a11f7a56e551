// SPDX-License-Identifier: GPL-2.0

//! When the background may start its next copy.
//!
//! - `copy_rate` is a ceiling: after a copy of so many sectors nothing starts until that much
//!   time at the rate has passed.
//! - While the host is busy the copy takes turns with it: one copy at a time, and after it a pause.
//!   How long that is follows from how long the host's requests take with and without a copy: over
//!   time copies make them slower by an eighth. `copy_min_rate` is what the copy gets even so.
//! - What the host has just read from the clone is copied beside it: it is for the host.
//!
//! Times are in nanoseconds of a monotonic clock.

use super::settings::Settings;

const SECOND: u64 = 1_000_000_000;
/// Sectors in a KiB.
const SECTORS_PER_KIB: u64 = 2;
/// The host counts as busy for so long after a request.
const BUSY_FOR: u64 = SECOND / 50;

/// A new sample counts for so much of the average: 1/16.
const WEIGHT: u64 = 16;
/// By so much the host's requests may become slower: 1/8.
const BUDGET: u64 = 8;
/// The longest pause, as a multiple of the copy before it.
const LONGEST_PAUSE: u64 = 20;

/// How long `sectors` take at `rate` KiB/s.
fn time_at(rate: u32, sectors: u64) -> u64 {
    let kib_seconds = sectors.saturating_mul(SECOND / SECTORS_PER_KIB);
    kib_seconds.checked_div(u64::from(rate)).unwrap_or(0)
}

/// The pace of the background copy.
#[derive(Debug, Default)]
pub struct Pace {
    /// Until when the ceiling is used up.
    rate_until: u64,
    /// Until when the guaranteed minimum is used up.
    min_until: u64,
    /// When the last copy of the background was done, and how long it took.
    last_done: u64,
    last_took: u64,
    /// When the host was last seen at work.
    host_seen: u64,
    /// How long its requests take without a copy and with one; 0 is not known.
    latency: [u64; 2],
}

impl Pace {
    /// Notes that the host has sent requests since the last call.
    pub fn host_seen(&mut self, now: u64) {
        self.host_seen = now.max(1);
    }

    /// Notes how long requests of the host have taken, without a copy and with one.
    pub fn host_took(&mut self, samples: [Option<u64>; 2]) {
        for (average, sample) in self.latency.iter_mut().zip(samples) {
            let Some(sample) = sample else { continue };
            *average = match *average {
                0 => sample,
                old => (old.saturating_mul(WEIGHT - 1).saturating_add(sample)) / WEIGHT,
            };
        }
    }

    /// The pause after a copy that has taken `took`. Without knowledge it is as long as the copy. It is
    /// never so short that no request fits in: one without a copy has to be seen, too.
    fn pause(&self, took: u64) -> u64 {
        let [without, with] = self.latency;
        if without == 0 || with == 0 {
            return took;
        }
        let slower = with.saturating_sub(without);
        // Over the copy and its pause together, requests are slower by `without / BUDGET`.
        let together = took.saturating_mul(slower.saturating_mul(BUDGET) / without);
        let shortest = without.saturating_mul(2);
        let longest = took.saturating_mul(LONGEST_PAUSE).max(shortest);
        together.saturating_sub(took).max(shortest).min(longest)
    }

    /// When the next copy may start: at or before `now` means now. `in_flight` is the number of
    /// background copies under way.
    pub fn next_at(&self, now: u64, in_flight: usize, settings: &Settings) -> u64 {
        let beside_host = self.next_beside_host(now, in_flight, settings);
        self.next_wanted_at(settings).max(beside_host)
    }

    /// When the next copy may start of what the host has just read: this takes no turns with it.
    pub fn next_wanted_at(&self, settings: &Settings) -> u64 {
        if settings.copy_rate > 0 {
            self.rate_until
        } else {
            0
        }
    }

    fn next_beside_host(&self, now: u64, in_flight: usize, settings: &Settings) -> u64 {
        let busy_until = self.host_seen.saturating_add(BUSY_FOR);
        if self.host_seen == 0 || now >= busy_until {
            return 0;
        }
        let by_minimum = if settings.copy_min_rate > 0 {
            self.min_until
        } else {
            u64::MAX
        };
        let by_turns = if in_flight == 0 {
            self.last_done.saturating_add(self.pause(self.last_took))
        } else {
            u64::MAX
        };
        by_minimum.min(by_turns).min(busy_until)
    }

    /// Notes that a copy of `sectors` starts. Copies that a host write waits for are counted too.
    pub fn started(&mut self, now: u64, sectors: u64, settings: &Settings) {
        self.rate_until = self
            .rate_until
            .max(now)
            .saturating_add(time_at(settings.copy_rate, sectors));
        self.min_until = self
            .min_until
            .max(now)
            .saturating_add(time_at(settings.copy_min_rate, sectors));
    }

    /// Notes that a background copy is done.
    pub fn done(&mut self, now: u64, started_at: u64) {
        self.last_done = now;
        self.last_took = now.saturating_sub(started_at);
    }

    /// Forgets what is used up, after a rate was changed.
    pub fn reset(&mut self) {
        self.rate_until = 0;
        self.min_until = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn settings(copy_rate: u32, copy_min_rate: u32) -> Settings {
        Settings {
            copy_rate,
            copy_min_rate,
            ..Settings::default()
        }
    }

    #[test]
    fn the_ceiling_holds_over_time() {
        let settings = settings(1024, 0); // 1 MiB/s
        let (mut pace, mut now, mut sectors) = (Pace::default(), SECOND, 0);
        while now < 11 * SECOND {
            if pace.next_at(now, 0, &settings) <= now {
                pace.started(now, 256, &settings);
                sectors += 256;
            }
            now += MS;
        }
        let kib_per_second = sectors / 2 / 10;
        assert!((1000..=1200).contains(&kib_per_second), "{kib_per_second}");
    }

    #[test]
    fn beside_a_busy_host_copies_take_turns() {
        let settings = settings(0, 0);
        let mut pace = Pace::default();
        let now = SECOND;
        pace.host_seen(now);
        assert!(pace.next_at(now, 1, &settings) > now);
        assert!(pace.next_at(now, 0, &settings) <= now);
        pace.started(now, 2048, &settings);
        pace.done(now + 3 * MS, now);
        assert_eq!(pace.next_at(now + 4 * MS, 0, &settings), now + 6 * MS);
        // The host has stopped: full speed.
        assert_eq!(pace.next_at(now + SECOND, 3, &settings), 0);
    }

    #[test]
    fn the_pause_is_as_long_as_the_host_is_slowed_down() {
        let pause = |without, with| {
            let mut pace = Pace::default();
            pace.host_took([Some(without), Some(with)]);
            pace.pause(4 * MS)
        };
        // As many requests are twice as slow as makes an eighth of the time: 1 of 8.
        assert_eq!(pause(100_000, 200_000), 28 * MS);
        assert_eq!(pause(100_000, 150_000), 12 * MS);
        // Hardly: a request of the host has room.
        assert_eq!(pause(100_000, 105_000), 200_000);
        assert_eq!(pause(200_000, 100_000), 400_000);
        // Very much.
        assert_eq!(pause(100_000, 100 * MS), 80 * MS);
        assert_eq!(pause(100 * MS, 10_000 * MS), 200 * MS);
        // Not known.
        assert_eq!(Pace::default().pause(4 * MS), 4 * MS);
    }

    #[test]
    fn a_single_sample_counts_little() {
        let mut pace = Pace::default();
        pace.host_took([Some(1600), None]);
        pace.host_took([Some(3200), None]);
        assert_eq!(pace.latency, [1700, 0]);
    }

    #[test]
    fn the_minimum_is_given_even_so_and_the_ceiling_wins() {
        let mut pace = Pace::default();
        let now = SECOND;
        pace.host_seen(now);
        assert!(pace.next_at(now, 3, &settings(0, 1024)) <= now);
        pace.started(now, 2048, &settings(16, 1024));
        assert!(pace.next_at(now + 2 * SECOND, 0, &settings(16, 1024)) > now + 60 * SECOND);
    }
}
