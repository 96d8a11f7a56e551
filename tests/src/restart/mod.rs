// SPDX-License-Identifier: GPL-2.0

//! A restore that is interrupted again and again: what happens in the virtual machine ([`guest`]),
//! what is known outside of it ([`history`]), and who kills it when ([`machine`]).
//!
//! Source and clone are the same at first. The host damages the source through the target, begins
//! a restore and writes on. What it writes follows from numbers alone ([`plan`]), so that the
//! next boot knows from a few counters what each sector may hold.
//!
//! Killing QEMU loses nothing that a disk has answered as written: this proves restarts, not
//! power cuts.

pub mod guest;
pub mod history;
pub mod machine;
pub mod plan;
pub mod report;
