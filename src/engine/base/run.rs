// SPDX-License-Identifier: GPL-2.0

//! Runs: half-open ranges, of extents or of sectors.

/// `len` neighbours from `start` on. The unit is the context's: extents in maps and journal,
/// sectors in requests and copies.
///
/// # Invariants
///
/// `start + len` does not overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    start: u64,
    len: u64,
}

impl Run {
    /// The run of nothing.
    pub const EMPTY: Run = Run { start: 0, len: 0 };

    /// `len` neighbours from `start` on, cut where the number space ends.
    pub const fn new(start: u64, len: u64) -> Self {
        let room = u64::MAX - start;
        Self {
            start,
            len: if len < room { len } else { room },
        }
    }

    /// From `start` up to but not including `end`; empty if `end` is not behind `start`.
    pub const fn between(start: u64, end: u64) -> Self {
        Self::new(start, end.saturating_sub(start))
    }

    /// A single one.
    pub const fn one(at: u64) -> Self {
        Self::new(at, 1)
    }

    /// The first.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// How many.
    pub const fn len(self) -> u64 {
        self.len
    }

    /// One behind the last.
    pub const fn end(self) -> u64 {
        // By the type's invariant this never saturates.
        self.start.saturating_add(self.len)
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether `at` lies in it.
    pub const fn contains(self, at: u64) -> bool {
        self.start <= at && at < self.end()
    }

    /// Whether all of `other` lies in it.
    pub const fn covers(self, other: Run) -> bool {
        other.is_empty() || (self.start <= other.start && other.end() <= self.end())
    }

    /// Whether the two share anything.
    pub const fn overlaps(self, other: Run) -> bool {
        !self.intersection(other).is_empty()
    }

    /// What the two share.
    pub const fn intersection(self, other: Run) -> Run {
        let start = if self.start > other.start {
            self.start
        } else {
            other.start
        };
        let end = if self.end() < other.end() {
            self.end()
        } else {
            other.end()
        };
        Run::between(start, end)
    }

    /// The smallest run that has both.
    pub fn hull(self, other: Run) -> Run {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Run::between(self.start.min(other.start), self.end().max(other.end()))
    }

    /// Whether the two overlap or touch, so that their hull holds nothing else.
    pub fn joins(self, other: Run) -> bool {
        self.start <= other.end() && other.start <= self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_never_overflow() {
        assert_eq!(Run::new(u64::MAX, 5).len(), 0);
        assert_eq!(Run::new(u64::MAX - 2, 5).end(), u64::MAX);
        assert!(Run::between(7, 3).is_empty());
    }

    #[test]
    fn sharing() {
        let run = Run::new(10, 10);
        assert!(run.overlaps(Run::new(19, 1)) && !run.overlaps(Run::new(20, 1)));
        assert!(run.joins(Run::new(20, 1)) && !run.joins(Run::new(21, 1)));
        assert_eq!(run.hull(Run::new(25, 5)), Run::new(10, 20));
        assert!(
            run.covers(Run::EMPTY) && run.covers(Run::new(12, 8)) && !run.covers(Run::new(12, 9))
        );
    }
}
