// SPDX-License-Identifier: GPL-2.0

//! Holds: which unrestored extents somebody is at work on.
//!
//! A copy and an overwrite exclude each other per extent. Both hold their run of extents while
//! they are under way; who meets a hold waits until it is gone and then looks at the maps anew.
//! Reads never look here.

use super::run::Run;
use super::storage::{NoMemory, Storage};

/// Most holds at a time: bounds the copies and overwrites in flight.
pub const MAX_HOLDS: usize = 256;

/// Names a hold.
///
/// # Invariants
///
/// Made by [`Holds::take`] and given back once, to [`Holds::release`]: it is neither `Clone` nor
/// `Copy`.
#[derive(Debug)]
pub struct HoldId(usize);

/// The holds there are. An empty run is a free place.
pub struct Holds<S: Storage> {
    runs: S::Array<Run>,
    held: usize,
}

impl<S: Storage> Holds<S> {
    /// No hold yet.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Self {
            runs: S::filled(MAX_HOLDS, || Run::EMPTY)?,
            held: 0,
        })
    }

    /// The first hold that shares an extent with `run`.
    pub fn meeting(&self, run: Run) -> Option<Run> {
        if self.held == 0 {
            return None;
        }
        self.runs
            .iter()
            .filter(|held| held.overlaps(run))
            .min_by_key(|held| held.start())
            .copied()
    }

    /// Holds a run that meets no other; `None` if it does or if there is no free place.
    pub fn take(&mut self, run: Run) -> Option<HoldId> {
        if run.is_empty() || self.meeting(run).is_some() {
            return None;
        }
        let free = self.runs.iter().position(|held| held.is_empty())?;
        *self.runs.get_mut(free)? = run;
        self.held = self.held.saturating_add(1);
        Some(HoldId(free))
    }

    /// Ends a hold and returns what it held.
    pub fn release(&mut self, id: HoldId) -> Run {
        let run = self.runs.get_mut(id.0).map(core::mem::take);
        self.held = self.held.saturating_sub(1);
        run.unwrap_or_default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::super::storage::Heap;
    use super::*;

    #[test]
    fn exclusion() {
        let mut holds = Holds::<Heap>::new().unwrap();
        let a = holds.take(Run::new(10, 5)).unwrap();
        assert!(holds.take(Run::new(14, 1)).is_none());
        let b = holds.take(Run::new(15, 1)).unwrap();
        assert_eq!(holds.meeting(Run::new(0, 100)), Some(Run::new(10, 5)));
        assert_eq!(holds.release(a), Run::new(10, 5));
        assert_eq!(holds.meeting(Run::new(0, 100)), Some(Run::new(15, 1)));
        assert!(holds.take(Run::new(14, 1)).is_some());
        holds.release(b);
        assert_eq!(holds.len(), 1);
    }

    #[test]
    fn bounded() {
        let mut holds = Holds::<Heap>::new().unwrap();
        for i in 0..MAX_HOLDS as u64 {
            assert!(holds.take(Run::one(i)).is_some());
        }
        assert!(holds.take(Run::one(1000)).is_none());
    }
}
