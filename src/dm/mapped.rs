// SPDX-License-Identifier: GPL-2.0

//! The disk that a mapped device is to everybody else: who holds it, and what is cached of it.
//!
//! For targets that change what the device holds while it is suspended. Nothing here waits for I/O
//! on it, which would come only after the resume: a page that is locked may belong to a read that is
//! held back until then.

use super::{bindings, line_ref::LineRef};
use core::ptr::NonNull;
use kernel::time::{delay::fsleep, Delta};

/// How often pages are dropped, if some are in use.
const ROUNDS: u32 = 10;
/// In between.
const PAUSE: Delta = Delta::from_millis(10);

/// What is left in the page cache of a device, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cached {
    /// To be written, or on their way to the device.
    pub dirty: usize,
    /// With content that a read would be answered from. Somebody uses them.
    pub clean: usize,
}

/// The disk of the mapped device that a table line is for.
#[derive(Clone)]
pub struct MappedDisk(LineRef);

impl MappedDisk {
    pub(super) fn new(line_ref: &LineRef) -> Self {
        Self(line_ref.clone())
    }

    /// The disk as a whole; valid as long as `self`.
    fn bdev(&self) -> NonNull<bindings::block_device> {
        // SAFETY: the lease keeps the table alive, and the table its mapped device: that is destroyed
        // only after its tables. The device has its disk, and the disk its first block device, from
        // before the first table until then.
        let bdev = unsafe {
            let md = bindings::dm_table_get_md(self.0.table());
            bindings::rust_dm_mapped_bdev(md)
        };
        // SAFETY: as above, so not null.
        unsafe { NonNull::new_unchecked(bdev) }
    }

    /// Logical block size in bytes with the table that is in use; `None` if there is none. Any context.
    pub fn logical_block_size(&self) -> Option<u32> {
        let bdev = self.bdev().as_ptr();
        // SAFETY: valid as long as `self`. The size may change at any time, as with the C helper: it
        // is one aligned word, and not 0 from when the first table was taken into use.
        let sectors = unsafe { core::ptr::read_volatile(&raw const (*bdev).bd_nr_sectors) };
        // SAFETY: valid as long as `self`.
        let bytes = unsafe { bindings::rust_dm_bdev_logical_block_size(bdev) };
        (sectors != 0).then_some(bytes)
    }

    /// Whether it, or a partition of it, is open exclusively: a file system is mounted, it is used for
    /// swap, LVM, md or another mapped device. Any context.
    ///
    /// A holder that comes later reads what is there then. To claim the device here, so that none
    /// comes, could wait for another claim that is being made, and that for I/O.
    pub fn is_held(&self) -> bool {
        // SAFETY: valid as long as `self`; only a pointer's value is read, as one word.
        unsafe { bindings::rust_dm_bdev_is_held(self.bdev().as_ptr()) }
    }

    /// Drops the clean pages that are cached of it and not in use; those that processes have mapped
    /// are unmapped first. Sleeps, but for no I/O; not from an I/O path.
    pub fn drop_pages(&self) {
        // SAFETY: valid as long as `self`, with its page cache; the call may come at any time, and
        // takes what locks it needs.
        unsafe { bindings::rust_dm_drop_pages(self.bdev().as_ptr()) };
    }

    /// The same, again and again for a tenth of a second if pages are in use. Returns what is left.
    ///
    /// While the device is suspended nothing that it holds now comes into the cache any more. So if
    /// nothing is left, whatever is read later is read from the device.
    pub fn drop_all_pages(&self) -> Cached {
        let mut left = Cached::default();
        for round in 0..ROUNDS {
            if round > 0 {
                fsleep(PAUSE);
            }
            self.drop_pages();
            left = self.cached();
            if left.clean == 0 || left.dirty != 0 {
                break;
            }
        }
        left
    }

    fn cached(&self) -> Cached {
        let (mut dirty, mut clean) = (0, 0);
        // SAFETY: as in `drop_pages`; the counts are written to ours.
        unsafe { bindings::rust_dm_count_pages(self.bdev().as_ptr(), &mut dirty, &mut clean) };
        Cached { dirty, clean }
    }
}
