// SPDX-License-Identifier: GPL-2.0

//! A wake-up: one thread sleeps for a moment, and is woken as soon as there is a reason.

use core::pin::Pin;
use core::ptr;

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::LockClassKey;
use kernel::types::Opaque;

use super::bindings;

/// Creates an initialiser of a `Wakeup`.
#[macro_export]
macro_rules! new_wakeup {
    () => {
        $crate::dm::wakeup::Wakeup::new(::kernel::static_lock_class!())
    };
}
pub use new_wakeup;

/// Something to sleep on until it is rung.
///
/// # Invariants
///
/// `sleepers` is an initialised wait queue.
#[pin_data]
pub struct Wakeup {
    #[pin]
    sleepers: Opaque<bindings::wait_queue_head>,
    rung: Atomic<u32>,
}

// SAFETY: A pinned wait queue never moves, and belongs to no thread.
unsafe impl Send for Wakeup {}
// SAFETY: The functions on wait queues have locks of their own, the rest is atomic.
unsafe impl Sync for Wakeup {}

impl Wakeup {
    /// An initialiser; use [`new_wakeup!`], which makes the lock class.
    pub fn new(key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        // INVARIANT: `sleepers` is initialised here.
        pin_init!(Self {
            sleepers <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes; name and key live for ever.
                unsafe {
                    bindings::__init_waitqueue_head(
                        slot,
                        c"dm_restore_bell".as_char_ptr(),
                        key.as_ptr(),
                    )
                }
            }),
            rung: Atomic::new(0),
        })
    }

    /// Sleeps until it rings, or `ns` nanoseconds have passed; not at all if it has rung since the last
    /// sleep. Returns whether it has rung. For one thread.
    pub fn wait(&self, ns: u64) -> bool {
        // SAFETY: The wait queue is valid by the type invariant, and so is the word, which is only
        // accessed atomically. Both outlive the call.
        unsafe {
            bindings::rust_dm_wait_event_hrtimeout(self.sleepers.get(), self.rung.as_ptr(), ns)
        };
        self.rung.xchg(0, Relaxed) != 0
    }

    /// Wakes the sleeper, or keeps the next sleep from lasting. Any context.
    pub fn ring(&self) {
        // Before the lock of the queue is taken, under which a sleeper looks.
        self.rung.store(1, Relaxed);
        // SAFETY: The wait queue is valid by the type invariant; there is no key.
        unsafe {
            bindings::__wake_up(
                self.sleepers.get(),
                bindings::TASK_NORMAL,
                1,
                ptr::null_mut(),
            )
        };
    }
}
