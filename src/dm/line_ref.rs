// SPDX-License-Identifier: GPL-2.0

//! What keeps a table line alive for the handles taken from it.
//!
//! A `struct dm_target` and its table live from `ctr` to the return of `dtr`, while the handles of a
//! target (devices, events) may sit in work items and I/O. So each handle holds a [`LineRef`], and
//! `dtr` ends with [`LineRef::close`], which sleeps until all leases of the line are gone.

use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::{Arc, Completion, Refcount},
};

use super::bindings;

/// The line's own record, shared by all its leases.
#[pin_data]
struct Line {
    ti: NonNull<bindings::dm_target>,
    leases: Refcount,
    #[pin]
    unused: Completion,
}

// SAFETY: `ti` is only a pointer here; who dereferences it argues about threads. The other fields
// are `Send`.
unsafe impl Send for Line {}
// SAFETY: as above; the other fields are `Sync`.
unsafe impl Sync for Line {}

/// A promise that the table line outlives this value.
///
/// # Invariants
///
/// - Each `LineRef` is counted once in `Line::leases`.
/// - While one exists, `Line::ti` points to a `struct dm_target` whose `ctr` has been called and
///   whose `dtr` (or failed `ctr`) has not returned; `table` in it is valid.
pub(super) struct LineRef(Arc<Line>);

impl LineRef {
    /// The first lease of a line. May sleep.
    ///
    /// # Safety
    ///
    /// `ti` is the argument of a running `ctr`. The caller calls [`LineRef::close`] on this lease
    /// before the failing `ctr`, or else the `dtr`, of that line returns.
    pub(super) unsafe fn open(ti: NonNull<bindings::dm_target>) -> Result<Self> {
        let line = Arc::pin_init(
            pin_init!(Line {
                ti,
                leases: Refcount::new(1),
                unused <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        // INVARIANT: the count of 1 is this value's; `ti` is valid now, and stays so until `close`
        // has seen the last lease go, both by the safety requirements.
        Ok(Self(line))
    }

    /// Gives up this lease and sleeps until no other is left.
    pub(super) fn close(self) {
        let line = self.0.clone();
        drop(self);
        line.unused.wait_for_completion();
    }

    /// The table line; valid as long as this lease.
    pub(super) fn ti(&self) -> NonNull<bindings::dm_target> {
        self.0.ti
    }

    /// The line's table; valid as long as this lease.
    pub(super) fn table(&self) -> *mut bindings::dm_table {
        // SAFETY: by the type invariants `ti` is valid; `table` is set before `ctr` and not changed.
        unsafe { (*self.0.ti.as_ptr()).table }
    }
}

impl Clone for LineRef {
    fn clone(&self) -> Self {
        self.0.leases.inc();
        // INVARIANT: counted on the line above; `self` keeps the line alive meanwhile.
        Self(self.0.clone())
    }
}

impl Drop for LineRef {
    fn drop(&mut self) {
        if self.0.leases.dec_and_test() {
            self.0.unused.complete_all();
        }
    }
}
