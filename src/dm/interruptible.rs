// SPDX-License-Identifier: GPL-2.0

//! Waiting for a mutex until a signal comes. The kernel crate has no such call.

use super::bindings;
use core::ptr;
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        lock::{mutex::MutexGuard, Guard},
        Mutex,
    },
};

/// Acquires `mutex`. Sleeps; a signal ends the wait: for whoever has called from user space, and may be
/// killed.
///
/// # Errors
///
/// `EINTR`: a signal has come.
pub fn lock_interruptible<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    // CAST: A `Lock` is `repr(C)` and begins with its state, an `Opaque`, which is transparent.
    let raw = ptr::from_ref(mutex).cast::<bindings::mutex>().cast_mut();
    // SAFETY: The reference to the lock proves that it was initialised, is pinned, and outlives the call.
    to_result(unsafe { bindings::rust_dm_mutex_lock_interruptible(raw) })?;
    // SAFETY: The lock was just acquired, by this thread.
    Ok(unsafe { Guard::new(mutex, ()) })
}
