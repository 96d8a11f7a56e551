// SPDX-License-Identifier: GPL-2.0

//! When the background may start its next copy.
//!
//! - `copy_rate` is a ceiling: after a copy of so many sectors nothing starts until that much
//!   time at the rate has passed.
//! - While the host is busy the copy takes turns with it: one small copy at a time, and after it a
//!   pause. How long that is follows from how long the host's requests take with and without a copy:
//!   over time copies may make them slower by a half. `copy_min_rate` is what the copy gets even so.
//! - What the host has just read from the clone is copied beside it: it is for the host.
//!
//! Times are in nanoseconds of a monotonic clock.

use crate::engine::words::settings::Settings;

const SECOND: u64 = 1_000_000_000;
/// Sectors in a KiB.
const SECTORS_PER_KIB: u64 = 2;
/// The host counts as busy for so long after a request.
const BUSY_FOR: u64 = SECOND / 50;

/// New times count for so much of the average: 1/16.
const WEIGHT: u64 = 16;
/// By so much the requests of the host may become slower: 1/2.
const BUDGET: u64 = 2;
/// The longest pause, as a multiple of the copy before it.
const LONGEST_PAUSE: u64 = 20;
/// The largest copy beside a busy host, in sectors: 128 KiB. A larger one keeps the devices, and
/// whatever copies, from the host for too long at a time.
const LARGEST_BESIDE_HOST: u64 = 256;

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
    /// How large a copy may be that starts now, in sectors.
    pub fn largest(&self, now: u64) -> u64 {
        if self.is_host_busy(now) {
            LARGEST_BESIDE_HOST
        } else {
            u64::MAX
        }
    }

    fn is_host_busy(&self, now: u64) -> bool {
        self.host_seen > 0 && now < self.busy_until()
    }

    fn busy_until(&self) -> u64 {
        self.host_seen.saturating_add(BUSY_FOR)
    }

    /// Notes that the host has sent requests since the last call.
    pub fn host_seen(&mut self, now: u64) {
        self.host_seen = now.max(1);
    }

    /// Notes how long requests of the host have taken since the last call, without a copy and with one.
    pub fn host_took(&mut self, times: [Option<u64>; 2]) {
        for (average, time) in self.latency.iter_mut().zip(times) {
            let Some(time) = time else { continue };
            *average = match *average {
                0 => time,
                old => (old.saturating_mul(WEIGHT - 1).saturating_add(time)) / WEIGHT,
            };
        }
    }

    /// The pause after a copy that has taken `took`. It is at least as long: on average a request may
    /// not feel copies at all, but the slowest ones do. And it is never so short that no request fits
    /// in: one without a copy has to be seen, too.
    fn pause(&self, took: u64) -> u64 {
        let [without, with] = self.latency;
        let slower = with.saturating_sub(without).saturating_mul(BUDGET);
        // Over the copy and its pause together, requests are slower by `without / BUDGET`.
        let together = took
            .saturating_mul(slower)
            .checked_div(without)
            .unwrap_or(0);
        let shortest = took.max(without.saturating_mul(2));
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
        if !self.is_host_busy(now) {
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
        by_minimum.min(by_turns).min(self.busy_until())
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
        // Twice as slow for half of the time, three times for a quarter.
        assert_eq!(pause(100_000, 200_000), 4 * MS);
        assert_eq!(pause(100_000, 300_000), 12 * MS);
        assert_eq!(pause(100_000, 240_000), 7_200_000);
        // No more than permitted: half of the time is the host's, and a request of it has room.
        assert_eq!(pause(100_000, 150_000), 4 * MS);
        assert_eq!(pause(200_000, 100_000), 4 * MS);
        assert_eq!(pause(3 * MS, 3 * MS), 6 * MS);
        // Very much.
        assert_eq!(pause(100_000, 100 * MS), 80 * MS);
        assert_eq!(pause(100 * MS, 10_000 * MS), 200 * MS);
        // One of them is not known yet, or neither.
        assert_eq!(pause(0, 0), 4 * MS);
        assert_eq!(pause(0, 100 * MS), 4 * MS);
        assert_eq!(pause(3 * MS, 0), 6 * MS);
    }

    #[test]
    fn copies_are_small_beside_a_busy_host_only() {
        let mut pace = Pace::default();
        assert_eq!(pace.largest(7 * MS), u64::MAX);
        pace.host_seen(7 * MS);
        assert_eq!(pace.largest(7 * MS), LARGEST_BESIDE_HOST);
        assert_eq!(pace.largest(7 * MS + BUSY_FOR - 1), LARGEST_BESIDE_HOST);
        assert_eq!(pace.largest(7 * MS + BUSY_FOR), u64::MAX);
    }

    #[test]
    fn a_single_time_counts_little() {
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
