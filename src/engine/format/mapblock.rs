// SPDX-License-Identifier: GPL-2.0

//! A map block: 32256 bits of one map.

use super::bytes;
use super::{Block, BLOCK, HEADER};
use crate::engine::base::run::Run;
use crate::engine::maps::bitmap::WORD_BITS;

const MAGIC: u32 = u32::from_le_bytes(*b"dRmp");
const WORD: usize = 8;
/// Words of bits in a block.
pub const WORDS_PER_BLOCK: u64 = ((BLOCK - HEADER) / WORD) as u64;
/// Bits, one per extent, in a block.
pub const BITS_PER_BLOCK: u64 = WORDS_PER_BLOCK * WORD_BITS;

/// The extents that map block `index` stands for, of `extents` in all.
pub fn extents_of(index: u64, extents: u64) -> Run {
    Run::new(index.saturating_mul(BITS_PER_BLOCK), BITS_PER_BLOCK)
        .intersection(Run::new(0, extents))
}

/// The map blocks that a run of extents meets.
pub fn blocks_of(run: Run) -> core::ops::Range<u64> {
    run.start() / BITS_PER_BLOCK..run.end().div_ceil(BITS_PER_BLOCK)
}

/// Starts the block with table entry number `entry` from its words.
pub fn start(block: &mut Block, entry: u64, word: impl Fn(u64) -> u64) {
    bytes::start(block, MAGIC);
    bytes::put_u64(block, 8, entry);
    for i in 0..WORDS_PER_BLOCK {
        bytes::put_u64(block, place(i), word(i));
    }
}

/// Sets bits of a block that was started; `bits` counts from the block's first.
pub fn set(block: &mut Block, bits: Run) {
    for bit in bits.start()..bits.end().min(BITS_PER_BLOCK) {
        let at = place(bit / WORD_BITS);
        let word = bytes::get_u64(block, at) | 1u64.wrapping_shl((bit % WORD_BITS) as u32);
        bytes::put_u64(block, at, word);
    }
}

/// Seals the block and returns its checksum.
pub fn finish(block: &mut Block) -> u32 {
    bytes::seal(block)
}

/// The checksum of the block with table entry number `entry`, if it is intact.
pub fn check(block: &Block, entry: u64) -> Option<u32> {
    let crc = bytes::sealed(block, MAGIC)?;
    (bytes::get_u64(block, 8) == entry).then_some(crc)
}

/// Word `i` of a checked block.
pub fn word(block: &Block, i: u64) -> u64 {
    bytes::get_u64(block, place(i))
}

fn place(i: u64) -> usize {
    HEADER.saturating_add((i as usize).saturating_mul(WORD))
}
