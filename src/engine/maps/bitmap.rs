// SPDX-License-Identifier: GPL-2.0

//! A map of one bit per extent that many read and one at a time changes, without a lock.
//!
//! Bits are published with release ([`Bitmap::set`], [`Bitmap::clear`]) and read with acquire
//! ([`Bitmap::word`]): whoever sees a bit change also sees what happened before it. Runs are handled a
//! word of 64 bits at a time.

use crate::engine::base::atomics::{AtomicU64, Ordering};
use crate::engine::base::run::Run;
use core::ops::Deref;

/// Bits in a word.
pub const WORD_BITS: u64 = 64;

/// A bitmap over words that the caller allocated.
pub struct Bitmap<W> {
    words: W,
}

/// The bits of `run` that lie in word `index`, as a mask.
fn mask(run: Run, index: u64) -> u64 {
    let word = Run::new(index.saturating_mul(WORD_BITS), WORD_BITS);
    let part = run.intersection(word);
    if part.is_empty() {
        return 0;
    }
    let ones = u64::MAX.wrapping_shr(WORD_BITS.saturating_sub(part.len()) as u32);
    ones.wrapping_shl(part.start().saturating_sub(word.start()) as u32)
}

/// The words that `run` meets.
fn words_of(run: Run) -> core::ops::Range<u64> {
    run.start() / WORD_BITS..run.end().div_ceil(WORD_BITS)
}

impl<W: Deref<Target = [AtomicU64]>> Bitmap<W> {
    /// A bitmap on `words`, with the bits they have.
    pub fn new(words: W) -> Self {
        Self { words }
    }

    /// How many words of memory `bits` take.
    pub fn words_for(bits: u64) -> usize {
        bits.div_ceil(WORD_BITS) as usize
    }

    /// The word at `index`; 0 behind the end.
    pub fn word(&self, index: u64) -> u64 {
        match self.words.get(index as usize) {
            // Pairs with the release of whoever changed it last.
            Some(word) => word.load(Ordering::Acquire),
            None => 0,
        }
    }

    /// Replaces the word at `index`. For loading, while nobody else looks.
    pub fn store_word(&self, index: u64, value: u64) {
        if let Some(word) = self.words.get(index as usize) {
            // Pairs with the acquire in `word`.
            word.store(value, Ordering::Release);
        }
    }

    /// Whether bit `at` is set.
    pub fn get(&self, at: u64) -> bool {
        self.word(at / WORD_BITS) & 1u64.wrapping_shl((at % WORD_BITS) as u32) != 0
    }

    /// Sets a run and returns how many of its bits were clear.
    pub fn set(&self, run: Run) -> u64 {
        let mut changed = 0u64;
        for index in words_of(run) {
            let mask = mask(run, index);
            if let Some(word) = self.words.get(index as usize) {
                // Pairs with the acquire in `word`. Nothing is acquired: what is counted was
                // changed by this caller, or by one that came before it.
                let old = word.fetch_or(mask, Ordering::Release);
                changed = changed.saturating_add(u64::from((mask & !old).count_ones()));
            }
        }
        changed
    }

    /// Clears a run and returns how many of its bits were set.
    pub fn clear(&self, run: Run) -> u64 {
        let mut changed = 0u64;
        for index in words_of(run) {
            let mask = mask(run, index);
            if let Some(word) = self.words.get(index as usize) {
                // As in `set`.
                let old = word.fetch_and(!mask, Ordering::Release);
                changed = changed.saturating_add(u64::from((mask & old).count_ones()));
            }
        }
        changed
    }

    /// The first bit of `run` that is set.
    pub fn next_set(&self, run: Run) -> Option<u64> {
        self.find(run, 0)
    }

    /// The first bit of `run` that is clear.
    pub fn next_clear(&self, run: Run) -> Option<u64> {
        self.find(run, u64::MAX)
    }

    /// Whether every bit of `run` is set.
    pub fn all_set(&self, run: Run) -> bool {
        self.next_clear(run).is_none()
    }

    /// The bits of `run` from the first clear one to the last clear one; empty if none is.
    pub fn clear_hull(&self, run: Run) -> Run {
        let Some(first) = self.next_clear(run) else {
            return Run::EMPTY;
        };
        let mut end = first.saturating_add(1);
        for index in words_of(run) {
            let clear = !self.word(index) & mask(run, index);
            if clear != 0 {
                let last = WORD_BITS.saturating_sub(u64::from(clear.leading_zeros()));
                end = index.saturating_mul(WORD_BITS).saturating_add(last);
            }
        }
        Run::between(first, end)
    }

    /// How many bits are set. For whoever changes the map.
    pub fn count(&self) -> u64 {
        self.words.iter().fold(0u64, |sum, word| {
            sum.saturating_add(u64::from(word.load(Ordering::Relaxed).count_ones()))
        })
    }

    /// The first bit of `run` that differs from `uniform`, a word of equal bits.
    fn find(&self, run: Run, uniform: u64) -> Option<u64> {
        for index in words_of(run) {
            let hits = (self.word(index) ^ uniform) & mask(run, index);
            if hits != 0 {
                let bit = u64::from(hits.trailing_zeros());
                return Some(index.saturating_mul(WORD_BITS).saturating_add(bit));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BITS: u64 = 300;

    fn bitmap() -> Bitmap<Vec<AtomicU64>> {
        Bitmap::new(
            (0..Bitmap::<Vec<AtomicU64>>::words_for(BITS))
                .map(|_| AtomicU64::new(0))
                .collect(),
        )
    }

    proptest! {
        /// Every operation agrees with a vector of booleans.
        #[test]
        fn against_booleans(ops in prop::collection::vec((any::<bool>(), 0..BITS, 0..BITS), 1..40)) {
            let (bitmap, mut naive) = (bitmap(), vec![false; BITS as usize]);
            for (value, a, b) in ops {
                let run = Run::between(a.min(b), a.max(b));
                let part = &mut naive[run.start() as usize..run.end() as usize];
                let differ = part.iter().filter(|bit| **bit != value).count() as u64;
                part.fill(value);
                prop_assert_eq!(if value { bitmap.set(run) } else { bitmap.clear(run) }, differ);
                let all = Run::between(b, BITS);
                let tail = &naive[b as usize..];
                let at = |want: bool| tail.iter().position(|bit| *bit == want).map(|i| i as u64 + b);
                prop_assert_eq!(bitmap.next_set(all), at(true));
                prop_assert_eq!(bitmap.next_clear(all), at(false));
                prop_assert_eq!(bitmap.all_set(all), tail.iter().all(|bit| *bit));
                let last = tail.iter().rposition(|bit| !*bit).map_or(0, |i| i as u64 + b + 1);
                prop_assert_eq!(bitmap.clear_hull(all), at(false).map_or(Run::EMPTY, |first| Run::between(first, last)));
                prop_assert_eq!(bitmap.count(), naive.iter().filter(|bit| **bit).count() as u64);
                prop_assert_eq!(bitmap.get(a), naive[a as usize]);
            }
        }
    }
}
