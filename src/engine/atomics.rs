// SPDX-License-Identifier: GPL-2.0

//! The one place where the engine gets its atomics from.
//!
//! In the module they are the kernel's, which follow its memory model; on the host they are
//! `core`'s. The names and orderings are `core`'s in both.

#[cfg(MODULE)]
pub use crate::dm::atomic::AtomicU64;
#[cfg(not(MODULE))]
pub use core::sync::atomic::AtomicU64;
pub use core::sync::atomic::Ordering;
