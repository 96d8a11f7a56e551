// SPDX-License-Identifier: GPL-2.0

//! Stamps: what a block of 512 bytes holds says who wrote it, where and when.
//!
//! Every byte of a stamp follows from its header, so any mixture or damage is recognised.

use std::fmt;

/// A block in bytes: a sector.
pub const BLOCK: usize = 512;
const WORDS: usize = BLOCK / 8;
const MAGIC: u64 = 0x7065_7473_5244_0000;

/// Who wrote a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Writer {
    /// It is on the source disk from the start.
    Source,
    /// It is on the clone disk from the start.
    Clone,
    /// The host wrote it through the mapped device.
    Host,
}

/// The identity of a block's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Who.
    pub writer: Writer,
    /// Where: the disk's sector for source and clone, the mapped device's for the host.
    pub sector: u64,
    /// Which of the writes there.
    pub generation: u64,
}

/// What a block was found to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Zeros.
    Zero,
    /// An intact stamp.
    Stamp(Stamp),
    /// Anything else.
    Garbage,
}

impl Stamp {
    /// What source or clone hold at `sector` from the start.
    pub fn initial(writer: Writer, sector: u64) -> Self {
        Self {
            writer,
            sector,
            generation: 0,
        }
    }

    /// Writes the stamp to a block.
    pub fn fill(&self, block: &mut [u8]) {
        for (word, out) in self.words().zip(block.chunks_exact_mut(8)) {
            out.copy_from_slice(&word.to_le_bytes());
        }
    }

    fn header(&self) -> [u64; 3] {
        let writer = match self.writer {
            Writer::Source => 1,
            Writer::Clone => 2,
            Writer::Host => 3,
        };
        [MAGIC | writer, self.sector, self.generation]
    }

    /// The header, then words that follow from it.
    fn words(&self) -> impl Iterator<Item = u64> {
        let header = self.header();
        let mut state = header.iter().fold(0x9e37_79b9_7f4a_7c15, |sum: u64, word| {
            (sum ^ word)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                .rotate_left(29)
        });
        header
            .into_iter()
            .chain(std::iter::from_fn(move || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                Some(state)
            }))
            .take(WORDS)
    }
}

/// Reads what a block holds.
pub fn read(block: &[u8]) -> Found {
    let word = |i: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&block[i * 8..i * 8 + 8]);
        u64::from_le_bytes(bytes)
    };
    let writer = match word(0) {
        0 if block.iter().all(|byte| *byte == 0) => return Found::Zero,
        w if w == MAGIC | 1 => Writer::Source,
        w if w == MAGIC | 2 => Writer::Clone,
        w if w == MAGIC | 3 => Writer::Host,
        _ => return Found::Garbage,
    };
    let stamp = Stamp {
        writer,
        sector: word(1),
        generation: word(2),
    };
    let intact = stamp
        .words()
        .enumerate()
        .all(|(i, expected)| word(i) == expected);
    if intact {
        Found::Stamp(stamp)
    } else {
        Found::Garbage
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => write!(f, "zeros"),
            Self::Garbage => write!(f, "garbage"),
            Self::Stamp(stamp) => write!(f, "{stamp}"),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.writer {
            Writer::Source => write!(f, "source's first content of disk sector {}", self.sector),
            Writer::Clone => write!(f, "clone's content of disk sector {}", self.sector),
            Writer::Host => write!(
                f,
                "host write {} of sector {}",
                self.generation, self.sector
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_recognised_and_any_change_too() {
        let stamp = Stamp {
            writer: Writer::Host,
            sector: 77,
            generation: 3,
        };
        let mut block = [0; BLOCK];
        assert_eq!(read(&block), Found::Zero);
        stamp.fill(&mut block);
        assert_eq!(read(&block), Found::Stamp(stamp));
        for i in 0..BLOCK {
            block[i] ^= 0x10;
            assert_ne!(read(&block), Found::Stamp(stamp), "byte {i}");
            block[i] ^= 0x10;
        }
    }
}
