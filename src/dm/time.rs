// SPDX-License-Identifier: GPL-2.0

//! The monotonic clock.

use kernel::bindings;
use kernel::time::{delay::fsleep, Delta};

/// Nanoseconds since boot, without the time the system slept. Never goes back. Any context.
pub fn now_ns() -> u64 {
    // SAFETY: Reads a clock; may be called from any context once time keeping is up, which is long
    // before modules are loaded.
    let now = unsafe { bindings::ktime_get() };
    // CAST: The monotonic clock starts near zero and is never negative.
    now as u64
}

/// Sleeps until the clock says `ns`; not for a signal. Process context.
pub fn sleep_until(ns: u64) {
    let left = ns.saturating_sub(now_ns());
    if left > 0 {
        // CAST: A time that a clock of 64 bits can reach.
        fsleep(Delta::from_nanos(left as i64));
    }
}
