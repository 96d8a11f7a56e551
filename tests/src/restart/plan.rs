// SPDX-License-Identifier: GPL-2.0

//! What the host writes: operation after operation, by round, writer and number.

use std::ops::Range;

/// Extent size in sectors.
pub const EXTENT: u64 = 64;
/// Extents of the volume.
pub const EXTENTS: u64 = 2048;
/// Length of the volume in sectors.
pub const LENGTH: u64 = EXTENT * EXTENTS;
/// Threads that write at the same time, each to a part of its own.
pub const WRITERS: u64 = 3;

/// Extents that lie next to each other; an operation stays in its group.
const GROUP: u64 = 8;
/// Of so many groups one is ever written to after the damage: the rest is for the copy.
const SPREAD: u64 = 4;
/// Of so many groups one is never damaged: nothing is to be restored there.
const UNDAMAGED: u64 = 5;
/// An operation in this many is written with FUA.
const FUA_EVERY: u64 = 5;
/// After so many operations of a writer comes a flush.
const FLUSH_EVERY: u64 = 6;

/// The generation of the damage.
pub const DAMAGE: u64 = 1;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Where.
    pub sectors: Range<u64>,
    /// What: the generation of its stamps.
    pub generation: u64,
    /// It is durable when it has ended.
    pub fua: bool,
    /// A flush follows.
    pub flush_after: bool,
}

/// Operation `number` of a writer in a round. Rounds count from 1.
pub fn op(round: u64, writer: u64, number: u64) -> Op {
    let generation = generation(round, writer, number);
    let mut random = Random(generation);
    let groups = EXTENTS / GROUP / SPREAD / WRITERS;
    let group = (writer * groups + random.below(groups)) * SPREAD + 1;
    let first = group * GROUP * EXTENT;
    // Single sectors, parts of extents, whole extents, and some that are neither.
    let (len, align) = match random.below(5) {
        0 => (1 + random.below(7), 1),
        1 => (8, 8),
        2 => (EXTENT, EXTENT),
        3 => (EXTENT * 3, EXTENT),
        _ => (EXTENT + 40, 4),
    };
    let places = (GROUP * EXTENT - len) / align + 1;
    let start = first + random.below(places) * align;
    Op {
        sectors: start..start + len,
        generation,
        fua: number % FUA_EVERY == 2,
        flush_after: number % FLUSH_EVERY == FLUSH_EVERY - 1,
    }
}

/// The extents that are damaged before the restore begins, as runs of sectors, from back to front:
/// ahead of who writes the other way, more would be marked.
pub fn damaged() -> impl Iterator<Item = Range<u64>> {
    let groups = (0..EXTENTS / GROUP).rev();
    let groups = groups.filter(|group| group % UNDAMAGED != 0);
    groups.map(|group| group * GROUP * EXTENT..(group + 1) * GROUP * EXTENT)
}

/// How many extents that are.
pub fn damaged_extents() -> u64 {
    damaged().map(|run| (run.end - run.start) / EXTENT).sum()
}

fn generation(round: u64, writer: u64, number: u64) -> u64 {
    (round << 32) | (writer << 24) | (number + 1)
}

/// The numbers of an operation: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn writers_keep_to_themselves_and_leave_work_for_the_copy() {
        let mut touched: Vec<BTreeSet<u64>> = Vec::new();
        for writer in 0..WRITERS {
            let ops = (1..40).flat_map(|round| (0..50).map(move |n| op(round, writer, n)));
            touched.push(ops.flat_map(|op| op.sectors).collect());
        }
        let all: BTreeSet<u64> = touched.iter().flatten().copied().collect();
        assert_eq!(all.len(), touched.iter().map(BTreeSet::len).sum::<usize>());
        assert!(all.len() as u64 <= LENGTH / SPREAD);
        assert!(all.iter().all(|sector| *sector < LENGTH));
    }

    #[test]
    fn ops_are_of_all_kinds() {
        let ops: Vec<Op> = (0..200).map(|n| op(1, 0, n)).collect();
        let whole = |op: &Op| op.sectors.start % EXTENT == 0 && op.sectors.end % EXTENT == 0;
        assert!(ops.iter().any(whole));
        assert!(ops.iter().any(|op| !whole(op)));
        assert!(ops.iter().any(|op| op.fua) && ops.iter().any(|op| op.flush_after));
        let generations: BTreeSet<u64> = ops.iter().map(|op| op.generation).collect();
        assert_eq!(generations.len(), ops.len());
        assert!(!generations.contains(&DAMAGE));
    }
}
