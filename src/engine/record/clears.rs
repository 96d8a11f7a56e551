// SPDX-License-Identifier: GPL-2.0

//! Clears on their way to the metadata device.
//!
//! When a copy or an overwrite is done, its delta bits are cleared in memory at once, but on the
//! metadata device only behind a source flush that was **submitted after** the data had completed
//! (rule *clear after durable*). In between they wait here, in order:
//!
//! ```text
//!   durable            covered                completed
//!      |  go to journal   |  wait for a flush     |
//!      v                  v                       v
//!   ---+------------------+-----------------------+---
//! ```
//!
//! All three only grow. A host flush or a FUA write notes `completed` when it is submitted or
//! done, and is itself done when `durable` has reached that.
//!
//! The number of clears is bounded: a place is reserved before the copy or overwrite starts.

use crate::engine::base::run::Run;
use crate::engine::base::storage::{NoMemory, Storage};

/// Most clears that wait, reservations included.
pub const MAX_CLEARS: u64 = 1024;

/// Why extents are restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// They were copied from the clone.
    #[default]
    Copied,
    /// The host has overwritten them whole.
    Overwritten,
    /// They are not: the host had overwritten them, and a failed flush has undone that, or it has
    /// tried to. That it has touched them is still to be recorded, because it is marked in memory.
    Touched,
}

/// Clears of a run of extents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clear {
    /// The extents; empty if a failed flush has undone the copy.
    pub run: Run,
    /// Why.
    pub cause: Cause,
}

/// The queue of clears.
///
/// # Invariants
///
/// `durable <= covered <= completed`, and `completed - durable + reserved <= MAX_CLEARS`.
pub struct Clears<S: Storage> {
    ring: S::Array<Clear>,
    durable: u64,
    covered: u64,
    completed: u64,
    reserved: u64,
}

impl<S: Storage> Clears<S> {
    /// An empty queue.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Self {
            ring: S::filled(MAX_CLEARS as usize, Clear::default)?,
            durable: 0,
            covered: 0,
            completed: 0,
            reserved: 0,
        })
    }

    /// Reserves `places`; false if there are not so many.
    pub fn reserve(&mut self, places: u64) -> bool {
        let used = self.waiting().saturating_add(self.reserved);
        let room = used.saturating_add(places) <= MAX_CLEARS;
        if room {
            self.reserved = self.reserved.saturating_add(places);
        }
        room
    }

    /// Gives reserved places back.
    pub fn cancel(&mut self, places: u64) {
        self.reserved = self.reserved.saturating_sub(places);
    }

    /// Uses a reserved place for clears whose data has completed.
    pub fn push(&mut self, clear: Clear) {
        self.cancel(1);
        if let Some(place) = self.ring.get_mut((self.completed % MAX_CLEARS) as usize) {
            *place = clear;
        }
        self.completed = self.completed.saturating_add(1);
    }

    /// A source flush that was submitted when `completed` was `mark` has succeeded.
    pub fn flushed(&mut self, mark: u64) {
        self.covered = self.covered.max(mark.min(self.completed));
    }

    /// A source flush has failed: hands out the extents of every clear that no flush has covered,
    /// to be copied again. The places in the queue stay, so that marks stay true.
    pub fn flush_failed(&mut self, mut undo: impl FnMut(Run)) {
        for at in self.covered..self.completed {
            let Some(place) = self.ring.get_mut((at % MAX_CLEARS) as usize) else {
                continue;
            };
            match place.cause {
                Cause::Copied => undo(core::mem::take(&mut place.run)),
                Cause::Overwritten => {
                    undo(place.run);
                    place.cause = Cause::Touched;
                }
                Cause::Touched => {}
            }
        }
    }

    /// The clears from number `from` on up to but not including `to`.
    pub fn range(&self, from: u64, to: u64) -> impl Iterator<Item = Clear> + '_ {
        (from..to).filter_map(|at| self.ring.get((at % MAX_CLEARS) as usize).copied())
    }

    /// The extents of every clear that is not durable yet.
    pub fn undurable(&self) -> impl Iterator<Item = Run> + '_ {
        let clears = self.range(self.durable, self.completed);
        clears
            .filter(|clear| clear.cause != Cause::Touched)
            .map(|clear| clear.run)
    }

    /// The journal has made the clears up to number `to` durable.
    pub fn committed(&mut self, to: u64) {
        self.durable = self.durable.max(to.min(self.covered));
    }

    /// How many clears are not durable yet.
    pub fn waiting(&self) -> u64 {
        self.completed.saturating_sub(self.durable)
    }

    /// Number of the first clear that is not durable.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Number of the first clear that no flush has covered.
    pub fn covered(&self) -> u64 {
        self.covered
    }

    /// Number of the next clear.
    pub fn completed(&self) -> u64 {
        self.completed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::base::storage::Heap;

    fn clear(at: u64) -> Clear {
        Clear {
            run: Run::one(at),
            cause: Cause::Copied,
        }
    }

    #[test]
    fn only_a_flush_submitted_afterwards_covers() {
        let mut clears = Clears::<Heap>::new().unwrap();
        assert!(clears.reserve(1) && clears.reserve(1));
        clears.push(clear(1));
        let mark = clears.completed();
        clears.push(clear(2));
        clears.flushed(mark);
        assert_eq!(
            clears
                .range(clears.durable(), clears.covered())
                .collect::<Vec<_>>(),
            [clear(1)]
        );
        clears.committed(u64::MAX);
        assert_eq!((clears.durable(), clears.waiting()), (1, 1));
    }

    #[test]
    fn a_failed_flush_undoes_what_none_has_covered() {
        let mut clears = Clears::<Heap>::new().unwrap();
        for i in 0..4 {
            assert!(clears.reserve(1));
            clears.push(clear(i));
        }
        clears.flushed(2);
        let mut undone = vec![];
        clears.flush_failed(|run| undone.push(run.start()));
        assert_eq!(undone, [2, 3]);
        clears.flushed(4);
        let left: Vec<_> = clears
            .range(clears.durable(), clears.covered())
            .filter(|c| !c.run.is_empty())
            .collect();
        assert_eq!(left, [clear(0), clear(1)]);
    }

    #[test]
    fn an_overwrite_that_was_undone_is_still_a_touch() {
        let mut clears = Clears::<Heap>::new().unwrap();
        assert!(clears.reserve(1));
        clears.push(Clear {
            run: Run::one(5),
            cause: Cause::Overwritten,
        });
        let mut undone = vec![];
        clears.flush_failed(|run| undone.push(run));
        clears.flush_failed(|run| undone.push(run));
        assert_eq!(undone, [Run::one(5)], "undone once");
        let left: Vec<_> = clears.range(0, 1).collect();
        assert_eq!((left[0].run, left[0].cause), (Run::one(5), Cause::Touched));
        assert_eq!(clears.undurable().count(), 0, "nothing to put back");
    }

    #[test]
    fn bounded_with_reservations() {
        let mut clears = Clears::<Heap>::new().unwrap();
        for _ in 0..MAX_CLEARS {
            assert!(clears.reserve(1));
        }
        assert!(!clears.reserve(1));
        clears.cancel(1);
        assert!(clears.reserve(1));
        clears.push(clear(9));
        assert!(!clears.reserve(1));
    }
}
