// SPDX-License-Identifier: GPL-2.0

//! The part of dm-restore that decides.
//!
//! Pure: only `core`, no allocation of its own, no `unsafe`, no call into the kernel. The same
//! files are compiled into the module by Kbuild and by cargo on the host, where they are tested.
//!
//! | question | folder |
//! |---|---|
//! | how does it all fit together? | [`machine`] |
//! | what happens to a request? | [`request`] |
//! | what may differ between source and clone? | [`maps`] |
//! | what is copied next? | [`copy`] |
//! | what becomes durable, and what survives a crash? | [`record`] |
//! | what has a flush covered? | [`sync`] |
//! | which device is which? | [`identity`] |
//! | what is on the metadata device? | [`mod@format`] |
//! | what do the user's words mean, and what is worth a line in the log? | [`words`] |
//! | what is all of this made of? | [`base`] |

#![cfg_attr(not(MODULE), warn(missing_docs))]
#![forbid(unsafe_code)]

pub mod base;
pub mod copy;
pub mod format;
pub mod identity;
pub mod machine;
pub mod maps;
mod notes;
#[cfg(loom)]
#[path = "tests/races/mod.rs"]
mod races;
pub mod record;
pub mod request;
#[cfg(test)]
#[path = "tests/restoring.rs"]
mod restoring;
pub mod shared;
#[cfg(not(MODULE))]
#[cfg(any(test, feature = "sim"))]
#[path = "tests/sim/mod.rs"]
pub mod sim;
pub mod sync;
pub mod words;
