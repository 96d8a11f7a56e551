// SPDX-License-Identifier: GPL-2.0

//! Memory that block devices read from and write to.

use core::ops::{Deref, DerefMut};
use kernel::ffi::c_void;

use kernel::prelude::*;

use super::bindings;

/// Bytes in a block.
pub const BLOCK: usize = 4096;
/// Bytes in a sector, the unit of every position on a device.
pub const SECTOR: usize = 512;
/// Sectors in a block.
pub const SECTORS_PER_BLOCK: u32 = 8;
/// The most blocks a buffer may have: what fits into one bio, whatever the memory looks like.
pub const MAX_BLOCKS: usize = 256;

#[derive(Zeroable)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

/// A buffer of whole blocks of 4096 bytes, aligned to them.
///
/// Physically contiguous or not, as memory allows. Who gives it to asynchronous I/O gives it away:
/// the completion hands it back, so nobody can touch it meanwhile.
///
/// Drop it in process context and not under a spin lock: it may be `vmalloc` memory.
///
/// # Invariants
///
/// Has between 1 and [`MAX_BLOCKS`] blocks.
pub struct BlockBuf(KVVec<Block>);

impl BlockBuf {
    /// Allocates a buffer of `blocks` blocks, filled with zeroes. Sleeps.
    ///
    /// Errors: `EINVAL` for none or more than [`MAX_BLOCKS`], `ENOMEM`.
    pub fn new(blocks: usize) -> Result<Self> {
        if blocks == 0 || blocks > MAX_BLOCKS {
            return Err(EINVAL);
        }
        // INVARIANT: Checked above.
        Ok(Self(KVVec::zeroed(blocks, GFP_KERNEL)?))
    }

    /// The number of blocks.
    pub fn blocks(&self) -> usize {
        self.0.len()
    }

    /// The block `index`, if the buffer has it.
    pub fn block(&self, index: usize) -> Option<&[u8; BLOCK]> {
        self.0.get(index).map(|block| &block.0)
    }

    /// The block `index` to write to, if the buffer has it.
    pub fn block_mut(&mut self, index: usize) -> Option<&mut [u8; BLOCK]> {
        self.0.get_mut(index).map(|block| &mut block.0)
    }

    /// The memory from sector `first` on as dm-io wants it described, for a device to read.
    ///
    /// The pointer in it stays valid when the buffer is moved, and until it is dropped. A `first`
    /// beyond the end of the buffer means its end.
    pub(super) fn memory(&self, first: u32) -> bindings::dm_io_memory {
        self.describe(self.0.as_ptr().cast_mut().cast(), first)
    }

    /// The same for a device to write to.
    pub(super) fn memory_mut(&mut self, first: u32) -> bindings::dm_io_memory {
        let start = self.0.as_mut_ptr().cast();
        self.describe(start, first)
    }

    fn describe(&self, start: *mut c_void, first: u32) -> bindings::dm_io_memory {
        let offset = (first as usize).saturating_mul(SECTOR).min(self.len());
        let addr = start.wrapping_byte_add(offset);
        // SAFETY: Looks at the number only.
        if unsafe { bindings::is_vmalloc_addr(start) } {
            bindings::dm_io_memory {
                type_: bindings::dm_io_mem_type_DM_IO_VMA,
                offset: 0,
                ptr: bindings::dm_io_memory__bindgen_ty_1 { vma: addr },
            }
        } else {
            bindings::dm_io_memory {
                type_: bindings::dm_io_mem_type_DM_IO_KMEM,
                offset: 0,
                ptr: bindings::dm_io_memory__bindgen_ty_1 { addr },
            }
        }
    }
}

impl Deref for BlockBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: The vector's elements are valid for reads while `self` is borrowed, lie one
        // after the other, and consist of bytes alone (`repr(C)`, size equal to `BLOCK`).
        unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast(), size_of_val(&*self.0)) }
    }
}

impl DerefMut for BlockBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        let bytes = size_of_val(&*self.0);
        // SAFETY: As in `deref`; the borrow is exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), bytes) }
    }
}

/// A part of a [`BlockBuf`], in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first sector, counted from the start of the buffer.
    pub first: u32,
    /// The number of sectors.
    pub sectors: u32,
}

impl Span {
    /// `count` blocks from block `first` on. Figures too large give a span that no buffer has.
    pub const fn blocks(first: u32, count: u32) -> Self {
        Self {
            first: first.saturating_mul(SECTORS_PER_BLOCK),
            sectors: count.saturating_mul(SECTORS_PER_BLOCK),
        }
    }

    /// All of `buf`.
    pub fn whole(buf: &BlockBuf) -> Self {
        Self {
            first: 0,
            // CAST: At most `MAX_BLOCKS` blocks.
            sectors: (buf.len() / SECTOR) as u32,
        }
    }

    /// Whether `buf` has this part, and it is not empty.
    pub fn fits(self, buf: &BlockBuf) -> bool {
        let end = u64::from(self.first) + u64::from(self.sectors);
        self.sectors != 0 && end <= u64::from(Self::whole(buf).sectors)
    }
}
