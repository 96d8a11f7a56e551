// SPDX-License-Identifier: GPL-2.0

//! Large arrays of atomic words, for the maps.

use core::ops::Deref;

use kernel::prelude::*;

use super::atomic::AtomicU64;

/// The most words one array may have: 2^28 bits, 32 MiB.
pub const MAX_WORDS: usize = 1 << 22;

/// An array of atomic words, all zero at first.
///
/// Not charged to the memory cgroup of whoever happens to load the table.
pub struct Words(KVVec<AtomicU64>);

impl Words {
    /// Allocates `words` words. Sleeps.
    ///
    /// Errors: `EINVAL` above [`MAX_WORDS`], `ENOMEM`.
    pub fn new(words: usize) -> Result<Self> {
        if words > MAX_WORDS {
            return Err(EINVAL);
        }
        let (ptr, len, capacity) = KVVec::<u64>::zeroed(words, GFP_KERNEL)?.into_raw_parts();
        // SAFETY:
        // - `ptr` comes from the same allocator, by `into_raw_parts`, which also gave up ownership;
        // - `AtomicU64` is a transparent wrapper of the kernel's `Atomic<u64>`, which promises the
        //   size, alignment and bit validity of `u64`: so the length and the capacity hold as they
        //   are, and `len` values are initialised.
        Ok(Self(unsafe {
            KVVec::from_raw_parts(ptr.cast::<AtomicU64>(), len, capacity)
        }))
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        &self.0
    }
}
