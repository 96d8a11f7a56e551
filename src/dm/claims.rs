// SPDX-License-Identifier: GPL-2.0

//! Who uses a device: one mapped device at a time.
//!
//! Device-mapper lets any number of its devices open the same one. A target that keeps state on a
//! device claims it, so that no other mapped device does so too. Tables of the same mapped device
//! share the claim, but only one table line is active with it: in a live reload the new one takes
//! over from the old, which is suspended by then.
//!
//! Locks: one mutex, a leaf; sleeps, so not from an I/O path.

use super::{device::DevT, events::TableId};
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::{alloc::KVec, prelude::*, sync::global_lock};

struct Claimed {
    dev: DevT,
    /// A table of the mapped device that uses it.
    by: TableId,
    /// How many table lines of that mapped device share it.
    lines: u32,
    /// The table with the line that is active, if one is.
    active: Option<TableId>,
}

global_lock! {
    // SAFETY: `Registration::new` calls `init` before any target, and so any user, can exist.
    unsafe(uninit) static CLAIMS: Mutex<KVec<Claimed>> = KVec::new();
}

/// Makes the list of claims usable. Further calls do nothing.
pub(super) fn init() {
    // core's atomic will do: it only guards against a second registration, long before any thread
    // of a target runs. It orders nothing, so it is relaxed.
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        // SAFETY: The swap lets exactly one call come here.
        unsafe { CLAIMS.init() };
    }
}

/// A device that a mapped device uses, until this is dropped.
///
/// # Invariants
///
/// Counted once in the entry of `CLAIMS` for `dev` and the mapped device of `by`.
pub struct Claim {
    dev: DevT,
    by: TableId,
    /// This line has become active.
    active: bool,
}

impl Claim {
    /// Claims `dev` for a line of the table `by`.
    ///
    /// # Errors
    ///
    /// `EBUSY`: another mapped device has claimed it. `ENOMEM`.
    pub fn new(dev: DevT, by: TableId) -> Result<Self> {
        let mut claims = CLAIMS.lock();
        match claims.iter_mut().find(|claimed| claimed.dev == dev) {
            Some(claimed) if !claimed.by.same_device(by) => return Err(EBUSY),
            Some(claimed) => claimed.lines = claimed.lines.saturating_add(1),
            None => {
                let claimed = Claimed {
                    dev,
                    by,
                    lines: 1,
                    active: None,
                };
                claims.push(claimed, GFP_KERNEL)?;
            }
        }
        // INVARIANT: it was just counted.
        Ok(Self {
            dev,
            by,
            active: false,
        })
    }

    /// Becomes the one active line. Call it when the table is resumed: then every other table of the
    /// mapped device is suspended, so that it takes over from them.
    ///
    /// # Errors
    ///
    /// `EBUSY`: another line of the same table is.
    pub fn activate(&mut self) -> Result {
        if self.active {
            return Ok(());
        }
        let mut claims = CLAIMS.lock();
        match claims.iter_mut().find(|claimed| claimed.dev == self.dev) {
            Some(claimed) if claimed.active != Some(self.by) => claimed.active = Some(self.by),
            _ => return Err(EBUSY),
        }
        self.active = true;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = CLAIMS.lock();
        claims.retain(|claimed| {
            if claimed.dev == self.dev {
                claimed.lines = claimed.lines.saturating_sub(1);
                if self.active && claimed.active == Some(self.by) {
                    claimed.active = None;
                }
            }
            claimed.lines > 0
        });
    }
}
