// SPDX-License-Identifier: GPL-2.0

//! The engine's arrays, from the kernel's allocator.

use crate::engine::base::storage::{NoMemory, Storage};
use kernel::{alloc::KVVec, prelude::*};

/// Arrays that may be large: contiguous pages where there are some, else mapped together.
pub(super) enum KernelMemory {}

impl Storage for KernelMemory {
    type Array<T> = KVVec<T>;

    fn filled<T>(len: usize, fill: impl Fn() -> T) -> Result<Self::Array<T>, NoMemory> {
        let mut array = KVVec::with_capacity(len, GFP_KERNEL).map_err(|_| NoMemory)?;
        for _ in 0..len {
            array.push_within_capacity(fill()).map_err(|_| NoMemory)?;
        }
        Ok(array)
    }
}
