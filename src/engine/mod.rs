// SPDX-License-Identifier: GPL-2.0

//! The part of dm-restore that decides.
//!
//! Pure: only `core`, no allocation of its own, no `unsafe`, no call into the kernel. The same
//! files are compiled into the module by Kbuild and by cargo on the host, where they are tested.
//!
//! | question | file |
//! |---|---|
//! | what happens to a request? | [`plan`], [`requests`] for what cannot go at once, [`sent`] for its end |
//! | how does it all fit together? | [`machine`] |
//! | what is copied next? | [`copier`], [`copying`], [`wanted`], [`pace`], [`probe`] |
//! | when is something durable? | [`touches`], [`gather`], [`ahead`], [`clears`], [`flushes`], [`turns`], [`cache`], [`journal`], [`checkpoint`], [`retry`] |
//! | what survives a crash? | [`load`] |
//! | where are source and clone compared? | [`identical`] |
//! | what holds behind a hibernation? | [`awake`] |
//! | which device is which? | [`identity`], [`remembered`] |
//! | what is on the metadata device? | [`mod@format`] |
//! | what is worth a line in the log? | [`notices`] |
//! | what do the user's words mean? | [`mod@line`], [`message`], [`settings`] |

#![cfg_attr(not(MODULE), warn(missing_docs))]
#![forbid(unsafe_code)]

pub mod ahead;
pub mod atomics;
pub mod awake;
pub mod bitmap;
pub mod cache;
pub mod checkpoint;
mod checksum;
pub mod clears;
pub mod copier;
pub mod copying;
pub mod flag;
pub mod flushes;
pub mod format;
pub mod gather;
pub mod geometry;
pub mod hash;
pub mod holds;
pub mod identical;
pub mod identity;
pub mod journal;
pub mod line;
pub mod load;
pub mod machine;
pub mod maps;
pub mod message;
pub mod notices;
pub mod pace;
pub mod plan;
pub mod probe;
#[cfg(loom)]
#[path = "tests/races/mod.rs"]
mod races;
pub mod remembered;
pub mod requests;
pub mod restore;
#[cfg(test)]
#[path = "tests/restoring.rs"]
mod restoring;
pub mod retry;
pub mod run;
pub mod sent;
pub mod settings;
#[cfg(not(MODULE))]
#[cfg(any(test, feature = "sim"))]
#[path = "tests/sim/mod.rs"]
pub mod sim;
pub mod status;
pub mod storage;
pub mod touches;
pub mod turns;
pub mod wanted;
