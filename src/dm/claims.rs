// SPDX-License-Identifier: GPL-2.0

//! Who uses a device: one mapped device at a time.
//!
//! Device-mapper lets any number of its devices open the same one. A target that keeps state on a
//! device claims it, so that no other mapped device does so too. Tables of the same mapped device
//! share the claim: in a live reload the new one takes over from the old.
//!
//! Locks: one mutex, a leaf; sleeps, so not from an I/O path.

use super::{device::DevT, events::MappedDeviceId};
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::{alloc::KVec, prelude::*, sync::global_lock};

struct Claimed {
    dev: DevT,
    by: MappedDeviceId,
    /// How many tables of that mapped device share it.
    tables: u32,
}

global_lock! {
    // SAFETY: `Registration::new` calls `init` before any target, and so any user, can exist.
    unsafe(uninit) static CLAIMS: Mutex<KVec<Claimed>> = KVec::new();
}

/// Makes the list of claims usable. Further calls do nothing.
pub(super) fn init() {
    // core's atomic will do: it only guards against a second registration, long before any thread
    // of a target runs.
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::AcqRel) {
        // SAFETY: The swap lets exactly one call come here.
        unsafe { CLAIMS.init() };
    }
}

/// A device that a mapped device uses, until this is dropped.
///
/// # Invariants
///
/// Counted once in the entry of `CLAIMS` for `dev` and `by`.
pub struct Claim {
    dev: DevT,
    by: MappedDeviceId,
}

impl Claim {
    /// Claims `dev` for the mapped device `by`.
    ///
    /// # Errors
    ///
    /// `EBUSY`: another mapped device has claimed it. `ENOMEM`.
    pub fn new(dev: DevT, by: MappedDeviceId) -> Result<Self> {
        let mut claims = CLAIMS.lock();
        match claims.iter_mut().find(|claimed| claimed.dev == dev) {
            Some(claimed) if claimed.by != by => return Err(EBUSY),
            Some(claimed) => claimed.tables = claimed.tables.saturating_add(1),
            None => claims.push(Claimed { dev, by, tables: 1 }, GFP_KERNEL)?,
        }
        // INVARIANT: it was just counted.
        Ok(Self { dev, by })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = CLAIMS.lock();
        claims.retain(|claimed| {
            if claimed.dev == self.dev && claimed.by == self.by {
                claimed.tables = claimed.tables.saturating_sub(1);
            }
            claimed.tables > 0
        });
    }
}
