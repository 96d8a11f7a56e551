// SPDX-License-Identifier: GPL-2.0

//! xxHash: a fast hash that tells content apart. Not against somebody who wants to deceive it.

use super::bindings;

/// The xxh64 of `bytes` with this seed. Any context.
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    // SAFETY: The pointer is valid for reads of the length, both come from one slice.
    unsafe { bindings::xxh64(bytes.as_ptr().cast(), bytes.len(), seed) }
}
