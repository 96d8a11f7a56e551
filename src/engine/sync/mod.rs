// SPDX-License-Identifier: GPL-2.0

//! What flushes cover, and which of their successes can be confirmed.

pub mod cache;
pub mod flush_epochs;
pub(in crate::engine) mod flush_pace;
pub mod flushes;
mod shared_cache;
pub mod sync_state;
