// SPDX-License-Identifier: GPL-2.0

//! Source flushes under way, and when the success of one may be confirmed.
//!
//! A FUA write is one of them: a disk without FUA makes a write and a flush of it, and it bears the
//! flush's error.
//!
//! A flush that fails may drop what it should have made durable. A device that is asked to flush once
//! more has nothing left to write then, and reports success. On two processors the two ends may be
//! seen in the other order. So a success counts only when every flush that was under way at its end
//! has ended as well, and no failure is left that was not taken in.
//!
//! Flushes may come one after the other without a pause. So that a success need not wait for those
//! that came later, they are counted in two parts, like the readers of SRCU: when an *epoch* ends, those under
//! way become the old ones, and what is sent from then on is young. None ends while any old
//! one is left.

use crate::engine::base::atomics::{AtomicU64, Ordering};

/// Bits of a count.
const BITS: u32 = 31;
/// One in the count of the old ones.
const OLD: u64 = 1 << BITS;
const COUNT: u64 = OLD - 1;
/// Changes with every epoch.
const PARITY: u64 = 1 << (2 * BITS);

/// Both counts in one word, so that they are of one instant.
#[derive(Debug)]
pub struct Epochs(AtomicU64);

/// A flush that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    parity: bool,
}

/// Who else is under way when a flush ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nobody is, and nobody waits for it.
    None,
    /// Somebody is, or a success waits for the old ones, of which this was one.
    Some,
}

impl Epochs {
    /// None is under way.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Notes that a flush is sent.
    pub fn start(&self) -> Epoch {
        // Relaxed: the device orders it before the end of whatever it may have failed to write.
        let word = self.update(Ordering::Relaxed, |word| word.wrapping_add(1));
        Epoch {
            parity: word & PARITY != 0,
        }
    }

    /// Notes that it has ended. If it has failed, [`note_failed_flush`] comes first.
    ///
    /// [`note_failed_flush`]: crate::engine::sync::sync_state::SyncState::note_failed_flush
    pub fn end(&self, epoch: Epoch) -> Others {
        let is_young = |word: u64| epoch.parity == (word & PARITY != 0);
        // The release pairs with the acquire in `old_ended`, and with that of the next one that ends
        // here: whoever finds nobody under way finds every failure noted.
        let word = self.update(Ordering::AcqRel, |word| {
            word.wrapping_sub(if is_young(word) { 1 } else { OLD })
        });
        if is_young(word) && word & (PARITY - 1) == 0 {
            Others::None
        } else {
            Others::Some
        }
    }

    /// Whether every flush that was under way when the last epoch ended has ended.
    pub fn old_ended(&self) -> bool {
        // Pairs with the release in `end`.
        self.0.load(Ordering::Acquire) & (COUNT << BITS) == 0
    }

    /// Those under way become the old ones. Only when the old ones have ended.
    pub fn advance(&self) {
        self.update(Ordering::Relaxed, |word| {
            ((word & COUNT) << BITS) | ((word ^ PARITY) & PARITY)
        });
    }

    /// Returns the new word.
    fn update(&self, order: Ordering, change: impl Fn(u64) -> u64) -> u64 {
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let new = change(old);
            match self.0.compare_exchange(old, new, order, Ordering::Relaxed) {
                Ok(_) => return new,
                Err(found) => old = found,
            }
        }
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Self::new()
    }
}

/// The clears up to a number; none, if only FUA writes have succeeded, which need not flush anything.
type Mark = Option<u64>;

/// What successful flushes have covered that cannot be confirmed yet: what waits for the old ones, and
/// what gathers for the next epoch.
#[derive(Debug, Default)]
pub struct Unconfirmed {
    waiting: Option<Mark>,
    gathering: Option<Mark>,
    /// Number of the batch that gathers, less one.
    epochs: u64,
}

impl Unconfirmed {
    /// A flush has succeeded that covers the clears up to number `mark`. Returns the number of the
    /// batch that says when it is confirmed.
    pub fn add(&mut self, mark: u64) -> u64 {
        self.gather(Some(mark))
    }

    /// A FUA write has succeeded. As [`Unconfirmed::add`], but it covers nothing.
    pub fn add_fua(&mut self) -> u64 {
        self.gather(None)
    }

    fn gather(&mut self, mark: Mark) -> u64 {
        self.gathering = self.gathering.max(Some(mark));
        self.epochs.saturating_add(1)
    }

    /// Up to which number clears are covered for certain, if that has changed, now that every old
    /// flush has ended.
    pub fn confirm(&mut self, epochs: &Epochs) -> Option<u64> {
        let mark = self.waiting.take().flatten();
        if let Some(gathered) = self.gathering.take() {
            self.waiting = Some(gathered);
            self.epochs = self.epochs.saturating_add(1);
            epochs.advance();
        }
        mark
    }

    /// Whether the batch of this number is confirmed.
    pub fn is_confirmed(&self, batch: u64) -> bool {
        batch < self.epochs || (batch == self.epochs && self.waiting.is_none())
    }

    /// Whether any success waits.
    pub fn any(&self) -> bool {
        self.waiting.is_some() || self.gathering.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_a_success_is_confirmed_at_once() {
        let (epochs, mut successes) = (Epochs::new(), Unconfirmed::default());
        let epoch = epochs.start();
        assert_eq!(epochs.end(epoch), Others::None);
        let batch = successes.add(7);
        assert!(!successes.is_confirmed(batch));
        assert_eq!(successes.confirm(&epochs), None);
        assert!(epochs.old_ended());
        assert_eq!(successes.confirm(&epochs), Some(7));
        assert!(successes.is_confirmed(batch) && !successes.any());
    }

    #[test]
    fn a_success_waits_for_who_was_under_way_and_for_nobody_else() {
        let (epochs, mut successes) = (Epochs::new(), Unconfirmed::default());
        let early = epochs.start();
        let epoch = epochs.start();
        assert_eq!(epochs.end(epoch), Others::Some);
        let batch = successes.add(3);
        assert_eq!(successes.confirm(&epochs), None);
        let late = epochs.start();
        assert!(!epochs.old_ended());
        assert_eq!(epochs.end(early), Others::Some, "the success waits for it");
        assert!(epochs.old_ended());
        assert_eq!(successes.confirm(&epochs), Some(3));
        assert!(successes.is_confirmed(batch));
        assert_eq!(epochs.end(late), Others::None);
    }

    #[test]
    fn what_gathers_meanwhile_waits_for_the_next_turn() {
        let (epochs, mut successes) = (Epochs::new(), Unconfirmed::default());
        let early = epochs.start();
        let first = successes.add(3);
        assert_eq!(successes.confirm(&epochs), None);
        let late = epochs.start();
        let second = successes.add(9);
        assert_eq!((first, second), (1, 2));
        epochs.end(early);
        assert_eq!(successes.confirm(&epochs), Some(3));
        assert!(successes.is_confirmed(first) && !successes.is_confirmed(second));
        assert!(!epochs.old_ended(), "the late one is old now");
        epochs.end(late);
        assert_eq!(successes.confirm(&epochs), Some(9));
        assert!(successes.is_confirmed(second));
    }
}
