// SPDX-License-Identifier: GPL-2.0

//! CRC-32C (Castagnoli), as storage formats use it.

use super::bindings;

/// The CRC-32C of `bytes`, continued from `seed`: the CRC of what came before, 0 at the start.
///
/// The usual convention (`crc32c(0, b"123456789") == 0xe306_9283`), which inverts the register
/// before and after; the kernel's own function leaves that to its caller. Any context.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // SAFETY: The pointer is valid for reads of the length, both come from one slice.
    !unsafe { bindings::crc32c(!seed, bytes.as_ptr().cast(), bytes.len()) }
}
