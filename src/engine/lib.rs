// SPDX-License-Identifier: GPL-2.0

//! The engine as a crate of its own, on the host. The module has it as `crate::engine`, and so has
//! this crate, so that paths are the same in both.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

#[path = "mod.rs"]
pub mod engine;
pub use engine::*;
