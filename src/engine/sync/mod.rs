// SPDX-License-Identifier: GPL-2.0

//! What flushes cover, and which of their successes can be believed.

pub mod cache;
pub mod flush_epochs;
pub mod flushes;
