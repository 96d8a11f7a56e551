// SPDX-License-Identifier: GPL-2.0

//! The one place where the engine gets its atomics from.
//!
//! In the module they are the kernel's, which follow its memory model; on the host they are
//! `core`'s, or those of a model checker. The names and orderings are `core`'s in all of them.

#[cfg(MODULE)]
pub use crate::dm::atomic::AtomicU64;
#[cfg(loom)]
pub use crate::engine::races::atomic::AtomicU64;
#[cfg(not(any(MODULE, loom)))]
pub use core::sync::atomic::AtomicU64;
pub use core::sync::atomic::Ordering;
