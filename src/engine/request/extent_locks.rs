// SPDX-License-Identifier: GPL-2.0

//! Holds: which unrestored extents somebody is at work on.
//!
//! A copy and an overwrite exclude each other per extent. Both hold their run of extents while
//! they are under way. A copy takes only what nobody holds; an overwrite queues for its run and has
//! it when nothing that came before holds an extent of it. So no new copy slips in before an
//! overwrite that waits, and whoever waits for a hold waits for I/O only. Reads never look here.

use crate::engine::base::run::Run;
use crate::engine::base::storage::{NoMemory, Storage};

/// Most holds at a time: bounds the copies and overwrites in flight.
pub const MAX_HOLDS: usize = 256;

/// Names a hold.
///
/// # Invariants
///
/// Made by [`ExtentLocks`] and given back once, to [`ExtentLocks::release`]: it is neither `Clone` nor `Copy`.
#[derive(Debug)]
pub struct HoldId(usize);

/// A hold; an empty run is a free place.
#[derive(Clone, Copy, Debug, Default)]
struct ExtentLock {
    run: Run,
    /// Who came first has the smaller number.
    number: u64,
}

/// The holds there are.
pub struct ExtentLocks<S: Storage> {
    locks: S::Array<ExtentLock>,
    held: usize,
    next_number: u64,
}

impl<S: Storage> ExtentLocks<S> {
    /// No hold yet.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Self {
            locks: S::filled(MAX_HOLDS, ExtentLock::default)?,
            held: 0,
            next_number: 0,
        })
    }

    /// The first run held that shares an extent with `run`.
    pub fn first_overlap(&self, run: Run) -> Option<Run> {
        if self.held == 0 {
            return None;
        }
        let runs = self.locks.iter().map(|hold| hold.run);
        runs.filter(|held| held.overlaps(run))
            .min_by_key(|held| held.start())
    }

    /// Holds a run that meets no other; `None` if it does or if there is no free place.
    pub fn take(&mut self, run: Run) -> Option<HoldId> {
        if self.first_overlap(run).is_some() {
            return None;
        }
        self.queue(run)
    }

    /// Queues for a run; `None` if there is no free place.
    pub fn queue(&mut self, run: Run) -> Option<HoldId> {
        if run.is_empty() {
            return None;
        }
        let free = self.locks.iter().position(|hold| hold.run.is_empty())?;
        let number = self.next_number;
        *self.locks.get_mut(free)? = ExtentLock { run, number };
        self.next_number = number.saturating_add(1);
        self.held = self.held.saturating_add(1);
        Some(HoldId(free))
    }

    /// Whether it is granted: nothing that came before holds an extent of it.
    pub fn is_granted(&self, id: &HoldId) -> bool {
        let Some(own) = self.locks.get(id.0) else {
            return false;
        };
        let mut before = self.locks.iter().filter(|hold| hold.number < own.number);
        !before.any(|hold| hold.run.overlaps(own.run))
    }

    /// What a hold holds.
    pub fn run(&self, id: &HoldId) -> Run {
        self.locks.get(id.0).map_or(Run::EMPTY, |hold| hold.run)
    }

    /// Ends a hold and returns what it held.
    pub fn release(&mut self, id: HoldId) -> Run {
        let hold = self.locks.get_mut(id.0).map(core::mem::take);
        self.held = self.held.saturating_sub(1);
        hold.unwrap_or_default().run
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::base::storage::Heap;

    #[test]
    fn exclusion() {
        let mut holds = ExtentLocks::<Heap>::new().unwrap();
        let a = holds.take(Run::new(10, 5)).unwrap();
        assert!(holds.take(Run::new(14, 1)).is_none());
        let b = holds.take(Run::new(15, 1)).unwrap();
        assert_eq!(holds.first_overlap(Run::new(0, 100)), Some(Run::new(10, 5)));
        assert_eq!(holds.release(a), Run::new(10, 5));
        assert_eq!(holds.first_overlap(Run::new(0, 100)), Some(Run::new(15, 1)));
        assert!(holds.take(Run::new(14, 1)).is_some());
        holds.release(b);
        assert!(!holds.is_empty());
    }

    #[test]
    fn who_queues_has_its_turn_before_who_comes_later() {
        let mut holds = ExtentLocks::<Heap>::new().unwrap();
        let copy = holds.take(Run::new(3, 2)).unwrap();
        let first = holds.queue(Run::new(0, 10)).unwrap();
        let second = holds.queue(Run::new(9, 2)).unwrap();
        let beside = holds.queue(Run::new(11, 2)).unwrap();
        assert!(holds.take(Run::one(7)).is_none(), "no copy slips in");
        assert!(
            !holds.is_granted(&first) && !holds.is_granted(&second) && holds.is_granted(&beside)
        );
        holds.release(copy);
        assert!(holds.is_granted(&first) && !holds.is_granted(&second));
        holds.release(first);
        assert!(holds.is_granted(&second));
    }

    #[test]
    fn bounded() {
        let mut holds = ExtentLocks::<Heap>::new().unwrap();
        for i in 0..MAX_HOLDS as u64 {
            assert!(holds.take(Run::one(i)).is_some());
        }
        assert!(holds.queue(Run::one(1000)).is_none());
    }
}
