// SPDX-License-Identifier: GPL-2.0

//! Where the host has touched the source last, and what is not stable there.
//!
//! Source and clone differ where the host has written. So these are the places where samples of the
//! source tell most, see [`identity`](crate::engine::identity::devices). What a device returns for discarded sectors
//! may change by itself, and a write that has failed may land later: what these have met is not sampled.
//!
//! The worker remembers; discards and failed writes forget, from any context and without a lock. All accesses are
//! relaxed: samples are taken when no request is in flight.

use crate::engine::base::atomics::{AtomicU64, Ordering};
use crate::engine::base::run::Run;
use crate::engine::format::items::sectors_of;
use crate::engine::format::items::Item;
use crate::engine::format::items::Places;
use crate::engine::format::items::Unstable;
use crate::engine::format::items::ENDS;
use crate::engine::format::items::PLACES;
use crate::engine::format::BLOCK_SECTORS;

/// Blocks that are remembered, and what is not stable.
pub struct Remembered {
    /// Numbers of 4 KiB blocks, counted from 1; 0 is none.
    blocks: [AtomicU64; PLACES],
    /// The next one to be replaced. Only the worker looks.
    next: AtomicU64,
    /// As [`Unstable::to_bits`].
    unstable: AtomicU64,
}

impl Remembered {
    /// Nothing.
    pub fn new() -> Self {
        Self {
            blocks: core::array::from_fn(|_| AtomicU64::new(0)),
            next: AtomicU64::new(0),
            unstable: AtomicU64::new(0),
        }
    }

    /// The host writes these sectors: the first block that they cover is remembered. One that they
    /// cover in part only if all is stable: the rest of it may not be.
    pub fn touch(&self, sectors: Run) {
        let covered = sectors.start().div_ceil(BLOCK_SECTORS);
        let block = if sectors.covers(sectors_of(covered)) {
            covered
        } else if self.unstable().any {
            return;
        } else {
            sectors.start() / BLOCK_SECTORS
        };
        let number = block.saturating_add(1);
        let known = |block: &AtomicU64| block.load(Ordering::Relaxed) == number;
        if self.blocks.iter().any(known) {
            return;
        }
        let next = self.next.load(Ordering::Relaxed);
        if let Some(block) = self.blocks.get(next as usize) {
            block.store(number, Ordering::Relaxed);
        }
        let following = next.saturating_add(1) % PLACES as u64;
        self.next.store(following, Ordering::Relaxed);
    }

    /// What these sectors of `length` hold may change by itself from now on. Any context.
    pub fn forget(&self, sectors: Run, length: u64) {
        let mut met = Unstable {
            any: true,
            ..Unstable::default()
        };
        for (met, i) in met.ends.iter_mut().zip(0..ENDS) {
            *met = Item::End(i).sectors(length).overlaps(sectors);
        }
        self.unstable.fetch_or(met.to_bits(), Ordering::Relaxed);
        for block in &self.blocks {
            let number = block.load(Ordering::Relaxed);
            if number != 0 && sectors_of(number.saturating_sub(1)).overlaps(sectors) {
                // If it was replaced meanwhile there is nothing to forget.
                let _ = block.compare_exchange(number, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// A source flush has failed: what was written may be gone, and what was there before is what it
    /// was.
    pub fn lost(&self) {
        if self.unstable().any {
            for block in &self.blocks {
                block.store(0, Ordering::Relaxed);
            }
        }
    }

    /// What is not stable.
    pub fn unstable(&self) -> Unstable {
        Unstable::from_bits(self.unstable.load(Ordering::Relaxed))
    }

    /// The blocks, the last one first.
    pub fn blocks(&self) -> impl Iterator<Item = u64> + '_ {
        let next = self.next.load(Ordering::Relaxed) as usize;
        (1..=PLACES).filter_map(move |back| {
            let slot = next.saturating_add(PLACES).saturating_sub(back) % PLACES;
            let number = self.blocks.get(slot)?.load(Ordering::Relaxed);
            number.checked_sub(1)
        })
    }

    /// Forgets everything, and remembers this instead.
    pub fn replace(&self, places: &Places, unstable: Unstable) {
        for block in &self.blocks {
            block.store(0, Ordering::Relaxed);
        }
        let mut last_first = places.to_array();
        last_first.reverse();
        for block in last_first.into_iter().flatten() {
            self.touch(sectors_of(block));
        }
        self.unstable.store(unstable.to_bits(), Ordering::Relaxed);
    }
}

impl Default for Remembered {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 10_000;

    fn blocks(remembered: &Remembered) -> Vec<u64> {
        remembered.blocks().collect()
    }

    fn touched(starts: &[u64]) -> Remembered {
        let remembered = Remembered::new();
        for start in starts {
            remembered.touch(Run::new(*start, 100));
        }
        remembered
    }

    #[test]
    fn the_last_ones_are_remembered_each_once() {
        let remembered = touched(&[0, 800, 793, 800]);
        assert_eq!(blocks(&remembered), [100, 0]);
        remembered.touch(Run::new(9, 3));
        assert_eq!(blocks(&remembered), [1, 100, 0]);
        (1..20).for_each(|i| remembered.touch(Run::one(i * 80)));
        assert_eq!(blocks(&remembered), [190, 180, 170, 160, 150, 140]);
    }

    #[test]
    fn what_is_not_stable_is_forgotten() {
        let remembered = touched(&[800, 1600, 2400]);
        remembered.forget(Run::between(807, 1600), LENGTH);
        assert_eq!(blocks(&remembered), [300, 200]);
        let unstable = remembered.unstable();
        assert_eq!((unstable.any, unstable.ends), (true, [false; 2]));
        remembered.forget(Run::one(255), LENGTH);
        assert_eq!(remembered.unstable().ends, [true, false]);
        remembered.forget(Run::one(LENGTH - 256), LENGTH);
        assert_eq!(remembered.unstable().ends, [true, true]);
    }

    /// The rest of the block may be what was discarded.
    #[test]
    fn a_part_of_a_block_is_remembered_if_all_is_stable() {
        let remembered = touched(&[800]);
        remembered.forget(Run::new(44, 3), LENGTH);
        remembered.touch(Run::new(47, 8));
        assert_eq!(blocks(&remembered), [100]);
        remembered.touch(Run::new(47, 9));
        assert_eq!(blocks(&remembered), [6, 100]);
    }

    /// What was discarded before may be there again.
    #[test]
    fn what_a_failed_flush_may_have_lost_is_forgotten() {
        let remembered = touched(&[800]);
        remembered.lost();
        assert_eq!(blocks(&remembered), [100]);
        remembered.forget(Run::new(44, 3), LENGTH);
        remembered.lost();
        assert!(blocks(&remembered).is_empty());
    }

    #[test]
    fn what_was_recorded_is_remembered_in_its_order() {
        let remembered = touched(&[800, 1600, 2400]);
        let mut places = Places::default();
        remembered.blocks().for_each(|block| places.add(block));
        let unstable = Unstable {
            any: true,
            ends: [false, true],
        };
        let other = touched(&[8]);
        other.replace(&places, unstable);
        assert_eq!(blocks(&other), [300, 200, 100]);
        assert_eq!(other.unstable(), unstable);
    }
}
