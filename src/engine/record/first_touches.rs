// SPDX-License-Identifier: GPL-2.0

//! First touches on their way to the metadata device.
//!
//! While one batch is being written the next one gathers; a request waits for its batch by number.

use crate::engine::base::run::Run;
use crate::engine::base::storage::{NoMemory, Storage};

/// Most runs in a batch. With the clears that go along it fits a journal block.
pub const MAX_TOUCHES: usize = 160;

/// Numbers batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch(u64);

/// The batch that gathers and the one that is being written.
pub struct FirstTouches<S: Storage> {
    gathering: S::Array<Run>,
    gathered: usize,
    writing: S::Array<Run>,
    in_writing: usize,
    /// Requests that wait for the batch that gathers, and for the one that is being written.
    waiting: [usize; 2],
    /// The number of the last batch that is durable.
    durable: u64,
    /// The number of the batch that gathers.
    current: u64,
}

impl<S: Storage> FirstTouches<S> {
    /// Nothing gathered, nothing being written.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Self {
            gathering: S::filled(MAX_TOUCHES, || Run::EMPTY)?,
            gathered: 0,
            writing: S::filled(MAX_TOUCHES, || Run::EMPTY)?,
            in_writing: 0,
            waiting: [0; 2],
            durable: 0,
            current: 1,
        })
    }

    /// Adds a request's run to the batch that gathers, joining it to a neighbour where it can; `None` if
    /// the batch is full.
    pub fn gather(&mut self, run: Run) -> Option<Batch> {
        let gathered = self.gathering.get_mut(..self.gathered)?;
        match gathered.iter_mut().find(|other| other.joins(run)) {
            Some(other) => *other = other.hull(run),
            None => {
                *self.gathering.get_mut(self.gathered)? = run;
                self.gathered = self.gathered.saturating_add(1);
            }
        }
        let [waiting, _] = &mut self.waiting;
        *waiting = waiting.saturating_add(1);
        Some(Batch(self.current))
    }

    /// Whether a request that waits for `batch` may look at the maps again.
    pub fn is_durable(&self, batch: Batch) -> bool {
        batch.0 <= self.durable
    }

    /// Whether the batch that gathers has anything.
    pub fn any(&self) -> bool {
        self.gathered > 0
    }

    /// Requests that wait for the batch that gathers, and for the one that is being written. There may be
    /// more than runs.
    pub fn waiting(&self) -> [usize; 2] {
        self.waiting
    }

    /// Starts writing what has gathered; the next batch begins. There must be none in writing.
    pub fn start_writing(&mut self) {
        core::mem::swap(&mut self.gathering, &mut self.writing);
        self.in_writing = self.gathered;
        self.gathered = 0;
        let [waiting, _] = self.waiting;
        self.waiting = [0, waiting];
        self.current = self.current.saturating_add(1);
    }

    /// The runs that are being written.
    pub fn writing(&self) -> &[Run] {
        self.writing.get(..self.in_writing).unwrap_or(&[])
    }

    /// The batch in writing is durable, and its bits are visible.
    pub fn written(&mut self) {
        self.in_writing = 0;
        let [waiting, _] = self.waiting;
        self.waiting = [waiting, 0];
        self.durable = self.current.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::base::storage::Heap;

    #[test]
    fn neighbours_join_and_batches_follow_one_another() {
        let mut touches = FirstTouches::<Heap>::new().unwrap();
        let first = touches.gather(Run::one(5)).unwrap();
        assert_eq!(touches.gather(Run::one(6)), Some(first));
        touches.gather(Run::one(9)).unwrap();
        assert_eq!(touches.waiting(), [3, 0]);
        touches.start_writing();
        let second = touches.gather(Run::one(7)).unwrap();
        assert_eq!(touches.waiting(), [1, 3]);
        assert_eq!(touches.writing(), [Run::new(5, 2), Run::one(9)]);
        assert!(!touches.is_durable(first));
        touches.written();
        assert!(touches.is_durable(first) && !touches.is_durable(second));
        assert_eq!(touches.waiting(), [1, 0]);
    }

    #[test]
    fn a_full_batch_takes_no_more() {
        let mut touches = FirstTouches::<Heap>::new().unwrap();
        for i in 0..MAX_TOUCHES as u64 {
            assert!(touches.gather(Run::one(i * 2)).is_some());
        }
        assert!(touches.gather(Run::one(100_000)).is_none());
        touches.start_writing();
        assert!(touches.gather(Run::one(100_000)).is_some());
    }
}
