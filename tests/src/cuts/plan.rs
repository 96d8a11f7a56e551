// SPDX-License-Identifier: GPL-2.0

//! The volume, and what the stamped writers do with their part of it: operation after operation, by
//! life, writer and number.

use super::style::Style;
use crate::random::Random;
use anyhow::Result;
use std::ops::Range;

/// Length of the volume in sectors; the last extent is short for the larger sizes.
pub const LENGTH: u64 = 34736;
/// A file system with a database.
pub const FILES: Range<u64> = 0..24576;
/// Where fio writes and verifies.
pub const FIO: Range<u64> = FILES.end..26624;
/// Where the stamped writers write.
pub const STAMPS: Range<u64> = FIO.end..LENGTH;
/// Stamped writers, each with a part of its own.
pub const WRITERS: u64 = 6;
/// Sectors of a writer.
const PART: u64 = (STAMPS.end - STAMPS.start) / WRITERS;
/// Operations that are announced together.
pub const BATCH: u64 = 4;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writes stamps.
    Write,
    /// Writes stamps with FUA.
    Fua,
    /// Writes zeroes.
    Zero,
    /// Discards.
    Discard,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Where.
    pub sectors: Range<u64>,
    /// What.
    pub kind: Kind,
    /// The generation of its stamps.
    pub generation: u64,
    /// A flush follows.
    pub flush_after: bool,
}

/// What is different from one life to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its number, which all chance follows from.
    pub number: u64,
    /// Logical block size in sectors.
    pub block: u64,
    /// What its volume is like.
    pub style: Style,
}

impl Life {
    /// Extent size in sectors.
    pub fn extent(self) -> u64 {
        [8, 32, 128, 16, 256, 64][(self.number % 6) as usize]
    }

    /// The largest copy in sectors: also smaller than an extent.
    pub fn copy_size(self) -> u64 {
        [64, 2048, 512][(self.number / 6 % 3) as usize]
    }

    /// As words.
    pub fn words(self) -> String {
        format!("{} {} {}", self.number, self.block, self.style.name())
    }

    /// From its words.
    ///
    /// # Errors
    ///
    /// They are not.
    pub fn from_words(words: [&str; 3]) -> Result<Self> {
        let [number, block, style] = words;
        Ok(Self {
            number: number.parse()?,
            block: block.parse()?,
            style: style.parse()?,
        })
    }

    /// Operation `number` of a writer.
    pub fn op(self, writer: u64, number: u64) -> Op {
        let mut chance = Random::new((self.number << 40) | (writer << 32) | number);
        let extent = self.extent();
        // Single blocks, some blocks, parts of extents, whole extents, and what is neither.
        let (len, align) = match chance.below(6) {
            0 => (self.block, self.block),
            1 => (self.block * (1 + chance.below(8)), self.block),
            2 => (8, 8),
            3 => (extent, extent),
            4 => (extent * (2 + chance.below(3)), extent),
            _ => (extent + 24, 8),
        };
        let part = STAMPS.start + writer * PART..STAMPS.start + (writer + 1) * PART;
        let first = part.start.next_multiple_of(align);
        let places = (part.end - first).saturating_sub(len) / align + 1;
        let start = first + chance.below(places) * align;
        Op {
            sectors: start..(start + len).min(part.end),
            kind: match chance.below(20) {
                0..3 => Kind::Fua,
                3 | 4 => Kind::Zero,
                5 => Kind::Discard,
                _ => Kind::Write,
            },
            generation: (self.number << 36) | (writer << 32) | (number + 1),
            flush_after: chance.below(5) == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn writers_keep_to_their_own_parts_and_blocks() {
        for number in 0..12 {
            let block = [1, 8][(number % 2) as usize];
            let style = Style::Plain;
            let life = Life {
                number,
                block,
                style,
            };
            for writer in 0..WRITERS {
                let part = STAMPS.start + writer * PART..STAMPS.start + (writer + 1) * PART;
                for op in (0..300).map(|n| life.op(writer, n)) {
                    assert!(op.sectors.start >= part.start && op.sectors.end <= part.end);
                    assert!(op.sectors.start < op.sectors.end, "{op:?}");
                    let aligned = |sector: u64| sector % block == 0;
                    assert!(
                        aligned(op.sectors.start) && aligned(op.sectors.end),
                        "{op:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn ops_are_of_all_kinds() {
        let life = Life {
            number: 3,
            block: 1,
            style: Style::Plain,
        };
        let ops: Vec<Op> = (0..400).map(|n| life.op(0, n)).collect();
        for kind in [Kind::Write, Kind::Fua, Kind::Zero, Kind::Discard] {
            assert!(ops.iter().any(|op| op.kind == kind));
        }
        let extent = life.extent();
        let whole = |op: &&Op| op.sectors.start % extent == 0 && op.sectors.end % extent == 0;
        assert!(ops.iter().filter(whole).count() > 50);
        let generations: BTreeSet<u64> = ops.iter().map(|op| op.generation).collect();
        assert_eq!(generations.len(), ops.len());
    }
}
