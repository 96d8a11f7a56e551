// SPDX-License-Identifier: GPL-2.0

//! The machine goes to sleep and wakes up: suspend to RAM, hibernation, and the load of a
//! hibernation image.
//!
//! What the kernel does, in this order (`kernel/power/hibernate.c`):
//!
//! | step | seen here |
//! |---|---|
//! | notifiers: *prepare* | [`in_transition`] is true, [`Transitions::prepare`] |
//! | file systems are synced, user space is frozen, memory is made free: I/O goes on | |
//! | kernel threads and freezable work queues are frozen: every [`Queue`](super::queue::Queue) | |
//! | devices are frozen | [`snapshots`] has grown |
//! | **the snapshot of the memory** is taken | |
//! | devices are thawed; the image is written; power-off | [`is_left_behind`] is true |
//!
//! From the snapshot on there are two lines of history over the same disks. The one that writes the
//! image is *left behind*: nothing of its memory will count, but what it writes to a disk stays there,
//! behind the back of the other one. That one begins again at the snapshot when the image has been
//! loaded: devices are restored, queues and tasks thawed, and the notifiers say *post*. If the image
//! cannot be written, the line that was left behind lives on, in the same way.
//!
//! The loading of an image, in a kernel that was just booted, has the same steps: that kernel is what is
//! left behind. With suspend to RAM there is only one line.
//!
//! The notifiers alone cannot tell before from after the snapshot, and a frozen queue tells nobody that
//! it is frozen. So a device without hardware is registered ([`Watch`]): its callbacks come on either
//! side of the snapshot, and only the line that is left behind gets `thaw`.
//!
//! Locks: the chain of notifiers has a semaphore, held while [`Transitions`] is called, and taken for
//! writing by [`Notifier::register`] and [`Notifier::unregister`]: not under a lock that a callback
//! takes. A notifier's `target` is a leaf.

use core::pin::Pin;
use core::ptr::NonNull;

use kernel::error::{from_err_ptr, to_result};
use kernel::ffi::{c_int, c_ulong, c_void};
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_mutex, Mutex};
use kernel::types::Opaque;

use super::bindings;
use super::shared::Ref;

// Changed while no other task runs, or by the first of the notifiers: who is called later is called by
// the same task. They order nothing.
static IN_TRANSITION: Atomic<u32> = Atomic::new(0);
static SNAPSHOTS: Atomic<u32> = Atomic::new(0);
static LEFT_BEHIND: Atomic<u32> = Atomic::new(0);

/// Whether the machine is between *prepare* and *post*. Any context.
///
/// Whoever looks under a lock that [`Transitions::prepare`] has held sees it.
pub fn in_transition() -> bool {
    IN_TRANSITION.load(Relaxed) != 0
}

/// Counts the snapshots of the memory that may have been taken. It grows while every queue is frozen:
/// a job that sees another number than before runs for the first time behind a snapshot. Any context.
pub fn snapshots() -> u32 {
    SNAPSHOTS.load(Relaxed)
}

/// Whether this is the line of history that is left behind, with its tasks and queues still frozen.
/// What waits for a queue now may wait for ever, and with it the task that writes the image. Any
/// context.
pub fn is_left_behind() -> bool {
    // Tasks are thawed before the notifiers say so: from then on nothing waits for ever.
    // SAFETY: No requirements.
    LEFT_BEHIND.load(Relaxed) != 0 && unsafe { bindings::rust_dm_freezer_active() }
}

/// What a notifier's event is about.
enum Phase {
    Prepare,
    Post,
}

impl Phase {
    /// `None`: something else.
    fn of(event: c_ulong) -> Option<Self> {
        match u32::try_from(event).ok()? {
            bindings::PM_HIBERNATION_PREPARE
            | bindings::PM_SUSPEND_PREPARE
            | bindings::PM_RESTORE_PREPARE => Some(Self::Prepare),
            bindings::PM_POST_HIBERNATION
            | bindings::PM_POST_SUSPEND
            | bindings::PM_POST_RESTORE => Some(Self::Post),
            _ => None,
        }
    }
}

/// State that is told when the machine goes to sleep and when it is awake again.
pub trait Transitions: Send + Sync + Sized + 'static {
    /// The machine is about to sleep. User space still runs, and I/O goes on. Sleeps.
    ///
    /// # Errors
    ///
    /// Any error keeps the machine from going to sleep.
    fn prepare(this: &Ref<Self>) -> Result;

    /// It is awake again, or has not gone to sleep. Also called where `prepare` has failed or was not
    /// called. Sleeps.
    fn post(this: &Ref<Self>);
}

/// Tells some state of the machine's sleep.
///
/// # Invariants
///
/// `block` is on the kernel's chain if and only if `target` has something; its function is
/// `Notifier::<T>::call`.
#[pin_data]
pub struct Notifier<T: Transitions> {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    #[pin]
    target: Mutex<Option<Ref<T>>>,
}

// SAFETY: A pinned notifier never moves, and what it holds may be used and dropped by any thread.
unsafe impl<T: Transitions> Send for Notifier<T> {}
// SAFETY: The block is only changed under the chain's lock, the rest is `Sync`.
unsafe impl<T: Transitions> Sync for Notifier<T> {}

impl<T: Transitions> Notifier<T> {
    /// An initialiser; it is told nothing yet.
    pub fn new() -> impl PinInit<Self> {
        let block = bindings::notifier_block {
            notifier_call: Some(Self::call),
            ..Default::default()
        };
        // INVARIANT: Not on the chain, and no target.
        pin_init!(Self {
            block: Opaque::new(block),
            target <- new_mutex!(None, "dm_restore::pm"),
        })
    }

    /// Begins to tell `this`, which owns this notifier. Not under a lock that [`Transitions`] takes.
    /// [`Notifier::unregister`] must follow, or `this` is never destroyed.
    ///
    /// # Errors
    ///
    /// Those of the kernel's chain.
    pub fn register(&self, this: Ref<T>) -> Result {
        *self.target.lock() = Some(this);
        // SAFETY: The block is initialised and pinned, and by the type invariant not on the chain; the
        // reference that was just stored keeps it where it is until it was taken off.
        let registered = to_result(unsafe { bindings::rust_dm_register_pm(self.block.get()) });
        if registered.is_err() {
            self.forget();
        }
        // INVARIANT: On the chain with a target, or neither.
        registered
    }

    /// Tells nothing more; waits for a call under way. Sleeps; not under a lock that [`Transitions`]
    /// takes, nor from there.
    pub fn unregister(&self) {
        // SAFETY: The block is initialised and pinned. One that is not on the chain is refused.
        unsafe { bindings::rust_dm_unregister_pm(self.block.get()) };
        // INVARIANT: No call is under way, and none will come.
        self.forget();
    }

    fn forget(&self) {
        // Bound to a name, so that the lock is released before the reference is dropped.
        let target = self.target.lock().take();
        drop(target);
    }

    /// The function of `block`.
    ///
    /// # Safety
    ///
    /// `block` must be the `block` of a `Notifier<T>` that lives until this returns.
    unsafe extern "C" fn call(
        block: *mut bindings::notifier_block,
        event: c_ulong,
        _data: *mut c_void,
    ) -> c_int {
        // CAST: `Opaque` is transparent.
        let block = block.cast::<Opaque<bindings::notifier_block>>();
        // SAFETY: Promised by the caller; a notifier is never borrowed mutably once it is pinned.
        let notifier = unsafe { &*kernel::container_of!(block, Self, block) };
        let target = notifier.target.lock().clone();
        match (Phase::of(event), target) {
            (Some(Phase::Prepare), Some(this)) if T::prepare(&this).is_err() => {
                bindings::NOTIFY_BAD as c_int
            }
            (Some(Phase::Post), Some(this)) => {
                T::post(&this);
                bindings::NOTIFY_DONE as c_int
            }
            _ => bindings::NOTIFY_DONE as c_int,
        }
    }
}

/// What the kernel holds on to while the module watches for sleep.
#[pin_data]
struct Hooks {
    #[pin]
    block: Opaque<bindings::notifier_block>,
    #[pin]
    domain: Opaque<bindings::dev_pm_domain>,
}

/// Keeps [`in_transition`], [`snapshots`] and [`is_left_behind`] true to what happens. One for the
/// module, in its own structure, behind what uses these functions.
///
/// # Invariants
///
/// `device` is a registered root device whose domain is that of `hooks`; the block of `hooks` is on the
/// kernel's chain.
pub struct Watch {
    device: NonNull<bindings::device>,
    hooks: Pin<KBox<Hooks>>,
}

// SAFETY: The kernel has locks for devices and notifiers; both are given up only with the value.
unsafe impl Send for Watch {}
// SAFETY: As above; a shared reference offers nothing.
unsafe impl Sync for Watch {}

impl Watch {
    /// Begins to watch. `name` is that of a directory in `/sys/devices`. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EEXIST`.
    pub fn new(name: &CStr, module: &'static ThisModule) -> Result<Self> {
        let block = bindings::notifier_block {
            notifier_call: Some(changed),
            // Before all others: these find the state changed.
            priority: c_int::MAX,
            ..Default::default()
        };
        let domain = bindings::dev_pm_domain {
            ops: bindings::dev_pm_ops {
                freeze: Some(freeze),
                thaw: Some(thaw),
                ..Default::default()
            },
            ..Default::default()
        };
        let hooks = KBox::pin_init(
            pin_init!(Hooks {
                block: Opaque::new(block),
                domain: Opaque::new(domain),
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The name is copied, and the module outlives what belongs to it.
        let device = from_err_ptr(unsafe {
            bindings::__root_device_register(name.as_char_ptr(), module.as_ptr())
        })?;
        // SAFETY: The device is registered; the domain is complete, and stays where it is until the
        // device was unregistered.
        unsafe { bindings::rust_dm_set_pm_domain(device, hooks.domain.get()) };
        // SAFETY: The block is complete, and stays where it is until it was taken off the chain.
        let watched = to_result(unsafe { bindings::rust_dm_register_pm(hooks.block.get()) });
        if let Err(error) = watched {
            // SAFETY: Registered above, and not used again.
            unsafe { bindings::root_device_unregister(device) };
            return Err(error);
        }
        // INVARIANT: Done above.
        Ok(Self {
            device: NonNull::new(device).ok_or(ENODEV)?,
            hooks,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: Both are registered by the type invariants, and not used again. No callback runs any
        // more when these functions have returned.
        unsafe {
            bindings::rust_dm_unregister_pm(self.hooks.block.get());
            bindings::root_device_unregister(self.device.as_ptr());
        }
    }
}

/// The machine's sleep has come to another phase.
///
/// # Safety
///
/// None; it is `unsafe` because the kernel's type is.
unsafe extern "C" fn changed(
    _block: *mut bindings::notifier_block,
    event: c_ulong,
    _data: *mut c_void,
) -> c_int {
    match Phase::of(event) {
        Some(Phase::Prepare) => IN_TRANSITION.store(1, Relaxed),
        Some(Phase::Post) => {
            IN_TRANSITION.store(0, Relaxed);
            LEFT_BEHIND.store(0, Relaxed);
        }
        None => {}
    }
    bindings::NOTIFY_DONE as c_int
}

/// Devices are being frozen for a snapshot.
///
/// # Safety
///
/// None; it is `unsafe` because the kernel's type is.
unsafe extern "C" fn freeze(_device: *mut bindings::device) -> c_int {
    SNAPSHOTS.fetch_add(1, Relaxed);
    LEFT_BEHIND.store(0, Relaxed);
    0
}

/// The snapshot is taken, or could not be, and this is not the line that was restored from it.
///
/// # Safety
///
/// None; it is `unsafe` because the kernel's type is.
unsafe extern "C" fn thaw(_device: *mut bindings::device) -> c_int {
    LEFT_BEHIND.store(1, Relaxed);
    0
}
