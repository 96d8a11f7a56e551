// SPDX-License-Identifier: GPL-2.0

//! dm-kcopyd: copies from one device to another.
//!
//! kcopyd reads and writes in pieces of 512 KiB, several at a time, with memory it has reserved. What
//! it has written is neither flushed nor written with FUA. A copy that failed may have written any
//! part of its destination.

use core::ptr::{self, NonNull};
use kernel::ffi::{c_int, c_ulong, c_void};

use kernel::error::from_err_ptr;
use kernel::prelude::*;

use super::bindings;
use super::device::{Device, ReadOnlyDevice};
use super::shared::Ref;
use super::slots::{Claim, Slots};

/// What to copy, in sectors of the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRange {
    /// The first sector to read.
    pub from: u64,
    /// The first sector to write.
    pub to: u64,
    /// How many.
    pub sectors: u64,
}

impl CopyRange {
    /// Whether it has a sector, and none beyond the last that a number can name.
    fn is_valid(&self) -> bool {
        self.sectors != 0
            && self.from.checked_add(self.sectors).is_some()
            && self.to.checked_add(self.sectors).is_some()
    }
}

/// How a copy ended. With neither error, all of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyResult {
    /// A read from the first device failed.
    pub read_error: bool,
    /// A write to the second device failed.
    pub write_error: bool,
}

impl CopyResult {}

/// State that is told when a copy is done.
pub trait CopyDone: Send + Sync + Sized + 'static {
    /// The copy submitted with `cookie` is done.
    ///
    /// Runs in the client's worker: process context, never two at once for one client. The worker is
    /// what makes all copies of the client go on, so it must not wait for one of them, nor submit
    /// one here (which may wait for the memory of another): leave that to a work item.
    fn copy_done(this: &Ref<Self>, cookie: u64, result: CopyResult);
}

/// What a copy in flight keeps alive.
struct Copy<T: CopyDone> {
    this: Ref<T>,
    cookie: u64,
    /// Open until the copy is done.
    _devices: (ReadOnlyDevice, Device),
}

/// A client of kcopyd, with a worker and memory of its own.
///
/// Dropping it sleeps until no copy is in flight.
///
/// # Invariants
///
/// `client` is a valid kcopyd client, which only `drop` destroys.
pub struct Kcopyd<T: CopyDone> {
    client: NonNull<bindings::dm_kcopyd_client>,
    slots: Pin<KBox<Slots<Copy<T>>>>,
}

// SAFETY: A kcopyd client belongs to no thread; what is in the slots may go to another (`Send`).
unsafe impl<T: CopyDone> Send for Kcopyd<T> {}
// SAFETY: kcopyd allows concurrent submission to one client, and so do the slots.
unsafe impl<T: CopyDone> Sync for Kcopyd<T> {}

impl<T: CopyDone> Kcopyd<T> {
    /// A client for at most `slots` copies at a time, 1 to 64. Sleeps.
    ///
    /// Errors: `EINVAL` for another number, `ENOMEM`.
    pub fn new(slots: usize) -> Result<Self> {
        let slots = Slots::new(slots)?;
        // SAFETY: No requirements but process context; null means no throttle.
        let client = from_err_ptr(unsafe { bindings::dm_kcopyd_client_create(ptr::null_mut()) })?;
        // INVARIANT: Just created, and ours.
        Ok(Self {
            client: NonNull::new(client).ok_or(ENOMEM)?,
            slots,
        })
    }

    /// Begins a copy. May sleep for memory: process context, not from `map` or `copy_done`.
    ///
    /// Errors: `EBUSY`: every slot is in use; `EINVAL`: no sectors, or more than numbers reach.
    pub fn copy(
        &self,
        this: Ref<T>,
        cookie: u64,
        from: &ReadOnlyDevice,
        to: &Device,
        range: CopyRange,
    ) -> Result {
        if !range.is_valid() {
            return Err(EINVAL);
        }
        let copy = Copy {
            this,
            cookie,
            _devices: (from.clone(), to.clone()),
        };
        let context = self.slots.claim(copy).map_err(|_| EBUSY)?;
        let mut source = bindings::dm_io_region {
            bdev: from.bdev(),
            sector: range.from,
            count: range.sectors,
        };
        let mut destination = bindings::dm_io_region {
            bdev: to.bdev(),
            sector: range.to,
            count: range.sectors,
        };
        // SAFETY:
        // - the client is valid by the type invariant, and kcopyd copies both regions;
        // - the devices are open until `done` has taken the copy out of its slot, which has a handle
        //   of each;
        // - `done` may be called once with this context: the slots outlive it, as `drop` waits.
        unsafe {
            bindings::dm_kcopyd_copy(
                self.client.as_ptr(),
                &mut source,
                1,
                &mut destination,
                0,
                Some(Self::done),
                context,
            )
        };
        Ok(())
    }

    /// Sleeps until none is in flight. The last `copy_done` may still be running. Not from `copy_done`.
    pub fn wait_idle(&self) {
        self.slots.wait_idle();
    }

    /// The end of a copy, in the client's worker.
    ///
    /// # Safety
    ///
    /// As for [`Slots::take`], of a table of `Copy<T>`.
    unsafe extern "C" fn done(read_error: c_int, write_error: c_ulong, context: *mut c_void) {
        // SAFETY: Promised by the caller.
        let (copy, claim): (Option<Copy<T>>, Claim<Copy<T>>) = unsafe { Slots::take(context) };
        let Some(copy) = copy else { return };
        let result = CopyResult {
            read_error: read_error != 0,
            write_error: write_error != 0,
        };
        // The slot first: who is told may start the next copy at once, on another processor, and must
        // find it free. If the state owns this client, the reference keeps the slots alive; if not,
        // the client's drop waits for the slot.
        drop(claim);
        T::copy_done(&copy.this, copy.cookie, result);
        drop(copy);
    }
}

impl<T: CopyDone> Drop for Kcopyd<T> {
    fn drop(&mut self) {
        self.wait_idle();
        // SAFETY: Valid by the type invariant and not used again. This waits until the last
        // callback has returned to kcopyd.
        unsafe { bindings::dm_kcopyd_client_destroy(self.client.as_ptr()) };
    }
}
