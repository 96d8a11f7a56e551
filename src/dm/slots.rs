// SPDX-License-Identifier: GPL-2.0

//! Preallocated contexts for operations of the kernel that end in a callback.
//!
//! A callback of C gets one pointer. What an operation needs when it ends (whom to tell, the buffer,
//! the devices) lies in a slot of a fixed table, so that submitting never allocates. Claiming and
//! releasing a slot take one spin lock, a leaf; it is not held while anything else runs.

use core::cell::UnsafeCell;
use core::ptr;
use kernel::ffi::c_void;

use kernel::prelude::*;
use kernel::sync::{new_condvar, new_spinlock_irq, CondVar, SpinLockIrq};

/// The most slots a table may have.
pub(super) const MAX_SLOTS: usize = 64;

struct Slot<P> {
    /// This slot's bit in the table's words.
    bit: u64,
    /// Owned by whoever claimed the slot, until it is released.
    state: UnsafeCell<State<P>>,
}

struct State<P> {
    table: *const Slots<P>,
    payload: Option<P>,
}

/// A table of slots, each holding a `P` while an operation is in flight.
///
/// # Invariants
///
/// - A bit that is set in `free` belongs to a slot that nobody but the holder of the lock may look
///   at; a clear one belongs to a slot whose content is the claimant's alone.
/// - `slots` never moves or changes length.
#[pin_data]
pub(super) struct Slots<P> {
    #[pin]
    free: SpinLockIrq<u64>,
    #[pin]
    idle: CondVar,
    /// A bit for every slot there is.
    all: u64,
    slots: KVec<Slot<P>>,
}

// SAFETY: The table hands each payload from one thread to another (`Send`), and to one at a time, by
// the type invariant; the pointers in the slots are only used by the owner of the slot.
unsafe impl<P: Send> Send for Slots<P> {}
// SAFETY: As for `Send`: shared access gives nobody shared access to a payload.
unsafe impl<P: Send> Sync for Slots<P> {}

impl<P: Send> Slots<P> {
    /// A table of `count` slots, pinned. Sleeps. Errors: `EINVAL` unless 1 to 64, `ENOMEM`.
    pub(super) fn new(count: usize) -> Result<Pin<KBox<Self>>> {
        if count == 0 || count > MAX_SLOTS {
            return Err(EINVAL);
        }
        let mut slots = KVec::with_capacity(count, GFP_KERNEL)?;
        let (mut all, mut bit) = (0, 1u64);
        for _ in 0..count {
            all |= bit;
            let state = UnsafeCell::new(State {
                table: ptr::null(),
                payload: None,
            });
            slots
                .push_within_capacity(Slot { bit, state })
                .map_err(|_| ENOMEM)?;
            bit <<= 1;
        }
        // INVARIANT: All slots are free; nothing here pushes to `slots` again.
        KBox::pin_init(
            pin_init!(Self {
                free <- new_spinlock_irq!(all, "dm_restore::slots"),
                idle <- new_condvar!("dm_restore::slots_idle"),
                all,
                slots,
            }),
            GFP_KERNEL,
        )
    }

    /// Puts `payload` into a free slot; gives it back when there is none. Any context.
    ///
    /// The pointer returned is for [`Slots::take`], to be called once.
    pub(super) fn claim(&self, payload: P) -> Result<*mut c_void, P> {
        let taken = {
            let mut free = self.free.lock();
            let lowest = free.trailing_zeros();
            // INVARIANT: From here on the slot of this bit is ours.
            *free &= free.wrapping_sub(1);
            lowest
        };
        let Some(slot) = self.slots.get(taken as usize) else {
            // No bit was set, so none was cleared.
            return Err(payload);
        };
        // SAFETY: By the type invariant the state is ours, since we have just cleared its bit.
        unsafe {
            *slot.state.get() = State {
                table: self,
                payload: Some(payload),
            }
        };
        Ok(ptr::from_ref(slot).cast_mut().cast())
    }

    /// Takes the payload out of the slot behind `context`, for the callback of its operation.
    ///
    /// The slot is free again, and the table may go, when the [`Claim`] is dropped. Any context.
    ///
    /// # Safety
    ///
    /// `context` must come from [`Slots::claim`] of a table of this very type, must not have been
    /// given to this function since, and the table must not be gone: its user calls
    /// [`Slots::wait_idle`] before dropping it.
    pub(super) unsafe fn take(context: *mut c_void) -> (Option<P>, Claim<P>) {
        // SAFETY: By this function's requirements it points to a slot of a table that still
        // exists; `slots` never moves.
        let slot = unsafe { &*context.cast::<Slot<P>>() };
        // SAFETY: The slot was claimed and is not released: its state is the claimant's alone, and
        // we stand for the claimant, whose only other access was before the operation began.
        let state = unsafe { &mut *slot.state.get() };
        let claim = Claim {
            table: state.table,
            bit: slot.bit,
        };
        (state.payload.take(), claim)
    }

    /// Sleeps until no slot is claimed.
    pub(super) fn wait_idle(&self) {
        let mut free = self.free.lock();
        while *free != self.all {
            self.idle.wait(&mut free);
        }
    }
}

/// A slot still claimed, though empty. Dropping it frees the slot; the table may be gone after that.
///
/// # Invariants
///
/// `table` is valid, and its slot `bit` is claimed by this value.
pub(super) struct Claim<P> {
    table: *const Slots<P>,
    bit: u64,
}

impl<P> Drop for Claim<P> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the table is valid. Its owner frees it only after having
        // seen all slots free under the lock that is released last here.
        let table = unsafe { &*self.table };
        let mut free = table.free.lock();
        *free |= self.bit;
        if *free == table.all {
            table.idle.notify_all();
        }
    }
}
