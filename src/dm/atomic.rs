// SPDX-License-Identifier: GPL-2.0

//! The kernel's atomics behind the names and orderings of `core::sync::atomic`.
//!
//! Code that is compiled for the host as well as for the module (the engine) is written against
//! these names; in the module they must mean the kernel's own atomics, because the kernel's memory
//! model ([LKMM]) is the only one that holds in kernel code. Each ordering is mapped to the
//! weakest primitive of the kernel that is at least as strong:
//!
//! | ordering | load | store | read-modify-write |
//! |---|---|---|---|
//! | `Relaxed` | `READ_ONCE` | `WRITE_ONCE` | `_relaxed` |
//! | `Acquire` | `smp_load_acquire` | as `SeqCst` | `_acquire` |
//! | `Release` | as `SeqCst` | `smp_store_release` | `_release` |
//! | `AcqRel` | as `SeqCst` | as `SeqCst` | fully ordered |
//! | `SeqCst` | between two `smp_mb` | between two `smp_mb` | fully ordered |
//!
//! `core` panics on a load with `Release` and its like; here they are as strong as `SeqCst`.
//! Additions and subtractions wrap. Everything may be used in any context.
//!
//! [LKMM]: https://docs.kernel.org/dev-tools/lkmm/index.html

use kernel::bindings;
use kernel::macros::paste;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};
use kernel::sync::barrier::smp_mb;

pub use core::sync::atomic::Ordering;

/// Keeps the compiler from moving memory accesses across this point.
#[inline(always)]
fn barrier() {
    // SAFETY: An empty block of assembly changes nothing; by default the compiler must assume that
    // it reads and writes any memory.
    unsafe { core::arch::asm!("") };
}

/// What the kernel crate has no method for; the kernel itself does.
macro_rules! bits {
    ($op:ident, $doc:literal) => {
        paste! {
            #[doc = $doc]
            #[inline(always)]
            pub fn $op(&self, value: u64, order: Ordering) -> u64 {
                // CAST: Only the sign differs, and these operations do not look at it.
                let (value, ptr) = (value as i64, self.0.as_ptr().cast());
                // SAFETY: `ptr` is valid and aligned while `self` is borrowed. `Atomic` is in
                // memory what the C type is that the kernel crate passes it to C as, and every
                // bit pattern is a value of it.
                let old = unsafe {
                    match order {
                        Ordering::Relaxed => bindings::[<atomic64 _ $op _relaxed>](value, ptr),
                        Ordering::Acquire => bindings::[<atomic64 _ $op _acquire>](value, ptr),
                        Ordering::Release => bindings::[<atomic64 _ $op _release>](value, ptr),
                        _ => bindings::[<atomic64 _ $op>](value, ptr),
                    }
                };
                old as u64
            }
        }
    };
}

/// A 64-bit integer (`atomic64_t`) that several contexts may change at once.
#[repr(transparent)]
pub struct AtomicU64(Atomic<u64>);

impl AtomicU64 {
    /// An atomic with the value `value`.
    pub const fn new(value: u64) -> Self {
        Self(Atomic::new(value))
    }

    /// `READ_ONCE`.
    #[inline(always)]
    fn read_once(&self) -> u64 {
        if cfg!(CONFIG_X86_64) {
            // A call of the helper costs more than the load.
            // SAFETY: `as_ptr` is valid and aligned. All concurrent accesses are atomic,
            // as they all go through `self.0`, and on x86-64 an aligned volatile access of
            // this size is one, as the kernel's `READ_ONCE` relies on.
            unsafe { self.0.as_ptr().read_volatile() }
        } else {
            self.0.load(Relaxed)
        }
    }

    /// `WRITE_ONCE`.
    #[inline(always)]
    fn write_once(&self, value: u64) {
        if cfg!(CONFIG_X86_64) {
            // SAFETY: As in `read_once`, with `WRITE_ONCE`.
            unsafe { self.0.as_ptr().write_volatile(value) }
        } else {
            self.0.store(value, Relaxed)
        }
    }

    /// Reads the value.
    #[inline(always)]
    pub fn load(&self, order: Ordering) -> u64 {
        match order {
            Ordering::Relaxed => self.read_once(),
            Ordering::Acquire if cfg!(CONFIG_X86_64) => {
                let value = self.read_once();
                barrier();
                value
            }
            Ordering::Acquire => self.0.load(Acquire),
            _ => {
                smp_mb(Full);
                let value = self.read_once();
                smp_mb(Full);
                value
            }
        }
    }

    /// Replaces the value.
    #[inline(always)]
    pub fn store(&self, value: u64, order: Ordering) {
        match order {
            Ordering::Relaxed => self.write_once(value),
            Ordering::Release if cfg!(CONFIG_X86_64) => {
                barrier();
                self.write_once(value);
            }
            Ordering::Release => self.0.store(value, Release),
            _ => {
                smp_mb(Full);
                self.write_once(value);
                smp_mb(Full);
            }
        }
    }

    /// Replaces the value and returns the old one.
    #[inline(always)]
    pub fn swap(&self, value: u64, order: Ordering) -> u64 {
        match order {
            Ordering::Relaxed => self.0.xchg(value, Relaxed),
            Ordering::Acquire => self.0.xchg(value, Acquire),
            Ordering::Release => self.0.xchg(value, Release),
            _ => self.0.xchg(value, Full),
        }
    }

    /// Adds, wrapping; returns the old value.
    #[inline(always)]
    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        match order {
            Ordering::Relaxed => self.0.fetch_add(value, Relaxed),
            Ordering::Acquire => self.0.fetch_add(value, Acquire),
            Ordering::Release => self.0.fetch_add(value, Release),
            _ => self.0.fetch_add(value, Full),
        }
    }

    /// Subtracts, wrapping; returns the old value.
    #[inline(always)]
    pub fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
        self.fetch_add(value.wrapping_neg(), order)
    }

    bits!(fetch_or, "Sets the bits of `value`; returns the old value.");
    bits!(
        fetch_and,
        "Keeps only the bits of `value`; returns the old value."
    );

    /// Replaces the value by `new` if it is `current`.
    ///
    /// Returns the value found: `Ok` when it was replaced. `failure` orders the load of a
    /// comparison that failed.
    #[inline(always)]
    pub fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        let found = match success {
            Ordering::Relaxed => self.0.cmpxchg(current, new, Relaxed),
            Ordering::Acquire => self.0.cmpxchg(current, new, Acquire),
            Ordering::Release => self.0.cmpxchg(current, new, Release),
            _ => self.0.cmpxchg(current, new, Full),
        };
        // A failed comparison orders nothing in the kernel's model.
        if found.is_err() && failure != Ordering::Relaxed {
            smp_mb(Full);
        }
        found
    }
}

impl Default for AtomicU64 {
    fn default() -> Self {
        Self::new(0)
    }
}

impl core::fmt::Debug for AtomicU64 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(&self.load(Ordering::Relaxed), f)
    }
}
