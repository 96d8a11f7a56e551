// SPDX-License-Identifier: GPL-2.0

//! Who uses a device: one mapped device at a time.
//!
//! Device-mapper lets any number of its devices open the same one. A target that keeps state on a
//! device claims it, so that no other mapped device does so too. Tables of the same mapped device
//! share the claim, but only one table line is active with it: in a live reload the new one takes
//! over from the old, which is suspended by then.
//!
//! A claim is made with the table line, and claims nothing yet. It takes the device when the line is
//! resumed, and allocates nothing then: with swap on the mapped device there may be no memory.
//!
//! Locks: one mutex, a leaf; sleeps, so not from an I/O path. Nothing is allocated under it, since a
//! resume may wait for it.

use super::{device::DevT, events::TableId};
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::{alloc::KVec, prelude::*, sync::global_lock};

#[derive(Clone, Copy)]
struct Claimed {
    dev: DevT,
    /// A table of the mapped device that uses it.
    by: TableId,
    /// How many table lines of that mapped device share it.
    lines: u32,
    /// The table with the line that is active, if one is.
    active: Option<TableId>,
}

struct Claims {
    /// Has room for one more for each `Claim` that there is.
    taken: KVec<Claimed>,
    /// How many `Claim`s there are, whether they have taken their device or not.
    made: usize,
}

global_lock! {
    // SAFETY: `Registration::new` calls `init` before any target, and so any user, can exist.
    unsafe(uninit) static CLAIMS: Mutex<Claims> = Claims { taken: KVec::new(), made: 0 };
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

impl Claims {
    fn of(&mut self, dev: DevT) -> Option<&mut Claimed> {
        self.taken.iter_mut().find(|claimed| claimed.dev == dev)
    }

    /// Moves to a larger list.
    fn move_to(&mut self, larger: &mut KVec<Claimed>) {
        for claimed in &self.taken {
            // There is room: it is larger.
            let _ = larger.push_within_capacity(*claimed);
        }
        mem::swap(&mut self.taken, larger);
    }
}

/// Counts one more `Claim`, and makes room for what it may take.
fn make_room() -> Result {
    loop {
        let wanted = {
            let mut claims = CLAIMS.lock();
            let wanted = claims.made.saturating_add(1);
            if claims.taken.capacity() >= wanted {
                claims.made = wanted;
                return Ok(());
            }
            wanted
        };
        // What is left in it is dropped behind the lock.
        let mut larger = KVec::with_capacity(wanted.saturating_mul(2), GFP_KERNEL)?;
        let mut claims = CLAIMS.lock();
        if larger.capacity() > claims.taken.capacity() {
            claims.move_to(&mut larger);
        }
    }
}

/// How far a claim has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The device is not taken.
    Made,
    /// Counted in the device's entry.
    Taken,
    /// The active line of it.
    Active,
}

/// A claim to a device, which is the mapped device's from its first use until this is dropped.
///
/// # Invariants
///
/// Counted once in `made`; unless it is only made, also once in the entry for `dev` and the mapped
/// device of `by`.
pub struct Claim {
    dev: DevT,
    by: TableId,
    state: State,
}

impl Claim {
    /// A claim to `dev` for a line of the table `by`. Sleeps for memory.
    ///
    /// # Errors
    ///
    /// `EBUSY`: another mapped device has taken it. `ENOMEM`.
    pub fn new(dev: DevT, by: TableId) -> Result<Self> {
        make_room()?;
        // INVARIANT: it was just counted.
        let claim = Self {
            dev,
            by,
            state: State::Made,
        };
        // Bound to a name, so that the lock is not held when the claim is dropped.
        let other = CLAIMS.lock().of(dev).map(|claimed| claimed.by);
        if other.is_some_and(|other| !other.same_device(by)) {
            return Err(EBUSY);
        }
        Ok(claim)
    }

    /// Takes the device and becomes the one active line. Call it when the table is resumed: then
    /// every other table of the mapped device is suspended, so that it takes over from them.
    ///
    /// # Errors
    ///
    /// `EBUSY`: another mapped device has taken it, or another line of the same table is active.
    pub fn activate(&mut self) -> Result {
        let mut claims = CLAIMS.lock();
        if self.state == State::Made {
            self.take(&mut claims)?;
        }
        if self.state == State::Active {
            return Ok(());
        }
        match claims.of(self.dev) {
            Some(claimed) if claimed.active != Some(self.by) => claimed.active = Some(self.by),
            _ => return Err(EBUSY),
        }
        self.state = State::Active;
        Ok(())
    }

    fn take(&mut self, claims: &mut Claims) -> Result {
        match claims.of(self.dev) {
            Some(claimed) if !claimed.by.same_device(self.by) => return Err(EBUSY),
            Some(claimed) => claimed.lines = claimed.lines.saturating_add(1),
            None => {
                let claimed = Claimed {
                    dev: self.dev,
                    by: self.by,
                    lines: 1,
                    active: None,
                };
                claims
                    .taken
                    .push_within_capacity(claimed)
                    .map_err(|_| ENOMEM)?;
            }
        }
        // INVARIANT: it was just counted.
        self.state = State::Taken;
        Ok(())
    }

    /// Undoes [`take`](Self::take) and [`activate`](Self::activate).
    fn give_up(&self, claims: &mut Claims) {
        if self.state == State::Made {
            return;
        }
        let active = self.state == State::Active;
        claims.taken.retain(|claimed| {
            if claimed.dev == self.dev {
                claimed.lines = claimed.lines.saturating_sub(1);
                if active && claimed.active == Some(self.by) {
                    claimed.active = None;
                }
            }
            claimed.lines > 0
        });
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = CLAIMS.lock();
        claims.made = claims.made.saturating_sub(1);
        self.give_up(&mut claims);
        // Nobody drops a static when the module goes.
        if claims.made == 0 {
            claims.taken = KVec::new();
        }
    }
}
