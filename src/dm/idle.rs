// SPDX-License-Identifier: GPL-2.0

//! Counting operations in flight, and waiting until there are none.
//!
//! Lock: one spin lock of its own, a leaf; no other lock is taken under it but that of its wait
//! queue.

use kernel::prelude::*;
use kernel::sync::{new_condvar, new_spinlock_irq, CondVar, SpinLockIrq};

/// A number of operations in flight.
#[pin_data]
pub struct InFlight {
    #[pin]
    count: SpinLockIrq<u64>,
    #[pin]
    idle: CondVar,
}

impl InFlight {
    /// None in flight.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            count <- new_spinlock_irq!(0, "InFlight::count"),
            idle <- new_condvar!("InFlight::idle"),
        })
    }

    /// One more. Any context.
    pub fn begin(&self) {
        let mut count = self.count.lock();
        *count = count.saturating_add(1);
    }

    /// One less: the counterpart of one [`InFlight::begin`]. Any context.
    pub fn end(&self) {
        let mut count = self.count.lock();
        *count = count.saturating_sub(1);
        if *count == 0 {
            // Under the lock: whoever waits may free `self` as soon as it has seen the zero.
            self.idle.notify_all();
        }
    }

    /// How many there are now. Any context.
    pub fn count(&self) -> u64 {
        *self.count.lock()
    }

    /// Sleeps until there are none. New ones are the caller's to prevent.
    pub fn wait_idle(&self) {
        let mut count = self.count.lock();
        while *count != 0 {
            self.idle.wait(&mut count);
        }
    }
}
