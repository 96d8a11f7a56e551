// SPDX-License-Identifier: GPL-2.0

//! What the host has read from the clone: it is copied next, since it will be read again.
//!
//! A table of a few places that reads write to and the worker empties, without a lock. It is a hint:
//! where two reads meet in a place the later one wins, and what is lost is copied in its turn.

use crate::engine::base::atomics::{AtomicU64, Ordering};
use crate::engine::base::flag::Flag;
use crate::engine::base::run::Run;

/// How many runs are remembered.
const PLACES: usize = 64;
/// Most extents of a run.
const LONGEST: u64 = (1 << LENGTH_BITS) - 1;
/// A place has the first extent, of which there are at most 2^32, above the length; 0 is no run.
const LENGTH_BITS: u32 = 16;

/// Runs of extents that the host has read from the clone.
pub struct HotReads {
    places: [AtomicU64; PLACES],
    /// Whether anybody would copy them.
    open: Flag,
}

impl HotReads {
    /// No run, and nobody who would copy one.
    pub fn new() -> Self {
        Self {
            places: core::array::from_fn(|_| AtomicU64::new(0)),
            open: Flag::new(),
        }
    }

    /// Says whether runs would be copied; if not, none is noted.
    pub fn set_open(&self, open: bool) {
        self.open.set(open);
    }

    /// Notes that `extents` were read; returns whether the worker is to look.
    pub fn note(&self, extents: Run) -> bool {
        if !self.open.is_set() {
            return false;
        }
        let length = extents.len().min(LONGEST);
        let entry = extents.start().wrapping_shl(LENGTH_BITS) | length;
        let Some(place) = self.places.get((extents.start() % PLACES as u64) as usize) else {
            return false;
        };
        let is_new = place.load(Ordering::Relaxed) != entry;
        if is_new {
            place.store(entry, Ordering::Relaxed);
        }
        is_new
    }

    /// Takes one of the runs.
    pub fn take(&self) -> Option<Run> {
        let entry = self.places.iter().find_map(|place| {
            // Most are empty: the exchange is for the others.
            let any = place.load(Ordering::Relaxed) != 0;
            any.then(|| place.swap(0, Ordering::Relaxed))
                .filter(|entry| *entry != 0)
        })?;
        let start = entry.wrapping_shr(LENGTH_BITS);
        Some(Run::new(start, entry & LONGEST))
    }
}

impl Default for HotReads {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_taken_once() {
        let wanted = HotReads::new();
        assert!(!wanted.note(Run::one(1)), "nobody would copy it");
        wanted.set_open(true);
        assert!(wanted.note(Run::new(5, 3)));
        assert!(!wanted.note(Run::new(5, 3)), "it is known");
        assert!(wanted.note(Run::one(u64::from(u32::MAX))));
        let mut taken: Vec<_> = std::iter::from_fn(|| wanted.take()).collect();
        taken.sort_by_key(|run| run.start());
        assert_eq!(taken, [Run::new(5, 3), Run::one(u64::from(u32::MAX))]);
        assert!(wanted.note(Run::new(5, 3)));
    }

    #[test]
    fn the_later_one_wins_a_place_and_a_long_one_is_cut() {
        let wanted = HotReads::new();
        wanted.set_open(true);
        assert!(wanted.note(Run::one(2)) && wanted.note(Run::new(66, 1 << 20)));
        assert_eq!(wanted.take(), Some(Run::new(66, LONGEST)));
        assert_eq!(wanted.take(), None);
    }
}
