// SPDX-License-Identifier: GPL-2.0

//! A scope in which no memory allocation starts I/O.
//!
//! The kernel crate has no `GFP_NOIO`: code that the block layer may be waiting for takes such a
//! scope instead, and its `GFP_KERNEL` allocations then wait for nobody's write-back.

use kernel::types::NotThreadSafe;

use super::bindings;

/// While this value lives, allocations of the current task start no I/O (`memalloc_noio_save`).
///
/// Scopes nest; drop them in the reverse order, as local variables do by themselves. Process
/// context.
#[must_use = "the scope ends when the value is dropped"]
pub struct NoIo {
    before: u32,
    // The flag belongs to the task that set it.
    _task: NotThreadSafe,
}

impl NoIo {
    /// Begins a scope.
    pub fn enter() -> Self {
        // SAFETY: Changes a flag of the current task only.
        let before = unsafe { bindings::rust_dm_memalloc_noio_save() };
        Self {
            before,
            _task: NotThreadSafe,
        }
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: `before` is what `memalloc_noio_save` returned, to this same task.
        unsafe { bindings::rust_dm_memalloc_noio_restore(self.before) };
    }
}
