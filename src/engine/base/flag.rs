// SPDX-License-Identifier: GPL-2.0

//! A flag that requests look at and the worker sets.

use crate::engine::base::atomics::{AtomicU64, Ordering};

/// Yes or no, without a lock. It orders nothing.
///
/// Only a change is written: a write, be it of the same value, takes the word from the caches of the
/// processors whose requests look at it.
pub struct Flag(AtomicU64);

impl Flag {
    /// Not set.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Sets or clears it.
    pub fn set(&self, value: bool) {
        if self.is_set() != value {
            self.0.store(u64::from(value), Ordering::Relaxed);
        }
    }

    /// Whether it was set; it is cleared.
    pub fn take(&self) -> bool {
        self.is_set() && self.0.swap(0, Ordering::Relaxed) != 0
    }
}

impl Default for Flag {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_it_was_set_to_and_is_taken_once() {
        let flag = Flag::new();
        assert!(!flag.is_set() && !flag.take());
        flag.set(true);
        assert!(flag.is_set() && flag.take() && !flag.take());
        flag.set(true);
        flag.set(false);
        assert!(!flag.is_set());
    }
}
