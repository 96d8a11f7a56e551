// SPDX-License-Identifier: GPL-2.0

//! Little-endian fields at fixed places of a block.
//!
//! Out of range reads are zero and out of range writes are dropped: every place is a constant of
//! the format, checked by the round trip tests, and the kernel must not panic over one.

use super::{Block, BLOCK};
use crate::engine::base::checksum::crc32c;

/// Reads `N` bytes at `at`.
pub fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(part) = bytes.get(at..at.saturating_add(N)) {
        out.copy_from_slice(part);
    }
    out
}

/// Reads a 32-bit number.
pub fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(get(bytes, at))
}

/// Reads a 64-bit number.
pub fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(get(bytes, at))
}

/// Writes bytes at `at`.
pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(part) = bytes.get_mut(at..at.saturating_add(value.len())) {
        part.copy_from_slice(value);
    }
}

/// Writes a 32-bit number.
pub fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, &value.to_le_bytes());
}

/// Writes a 64-bit number.
pub fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    put(bytes, at, &value.to_le_bytes());
}

/// Where a block's own checksum is.
const CRC: usize = 0;
/// Where the magic number of its kind is.
const MAGIC: usize = 4;

/// Whether a block is all zeros.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |any, byte| any | byte) == 0
}

/// Zeroes a block and gives it its magic number.
pub fn start(block: &mut Block, magic: u32) {
    block.fill(0);
    put_u32(block, MAGIC, magic);
}

/// Computes and stores the checksum of a finished block, and returns it.
pub fn seal(block: &mut Block) -> u32 {
    let crc = checksum(block);
    put_u32(block, CRC, crc);
    crc
}

/// The checksum of a sealed block, if it is right and of the kind `magic`.
pub fn sealed(block: &Block, magic: u32) -> Option<u32> {
    // Most blocks of a journal are blank: no checksum is computed for these.
    if get_u32(block, MAGIC) != magic {
        return None;
    }
    let crc = checksum(block);
    (get_u32(block, CRC) == crc).then_some(crc)
}

fn checksum(block: &Block) -> u32 {
    crc32c(0, block.get(MAGIC..BLOCK).unwrap_or(&[]))
}
