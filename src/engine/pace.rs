// SPDX-License-Identifier: GPL-2.0

//! When the background may start its next copy.
//!
//! - `copy_rate` is a ceiling: after a copy of so many sectors nothing starts until that much
//!   time at the rate has passed.
//! - While the host is busy the copy takes turns with it: one copy at a time, and after it a pause
//!   as long as the copy took. `copy_min_rate` is what it gets even so.
//! - What the host has just read from the clone is copied beside it: it is for the host.
//!
//! Times are in nanoseconds of a monotonic clock.

use super::settings::Settings;

const SECOND: u64 = 1_000_000_000;
/// Sectors in a KiB.
const SECTORS_PER_KIB: u64 = 2;
/// The host counts as busy for so long after a request.
const BUSY_FOR: u64 = SECOND / 50;

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
}

impl Pace {
    /// Notes that the host has sent requests since the last call.
    pub fn host_seen(&mut self, now: u64) {
        self.host_seen = now.max(1);
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
            self.last_done.saturating_add(self.last_took)
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
    fn the_minimum_is_given_even_so_and_the_ceiling_wins() {
        let mut pace = Pace::default();
        let now = SECOND;
        pace.host_seen(now);
        assert!(pace.next_at(now, 3, &settings(0, 1024)) <= now);
        pace.started(now, 2048, &settings(16, 1024));
        assert!(pace.next_at(now + 2 * SECOND, 0, &settings(16, 1024)) > now + 60 * SECOND);
    }
}
