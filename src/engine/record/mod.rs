// SPDX-License-Identifier: GPL-2.0

//! What becomes durable, when, and what is there after a crash.
//!
//! | question | file |
//! |---|---|
//! | how do first touches become durable? | [`first_touches`], [`premark`], [`commit_delay`] |
//! | and what was copied or overwritten? | [`clears`] |
//! | what goes into the journal? | [`commit`], [`journal`] |
//! | how does the ring become free again? | [`checkpoint`], `checkpoint_blocks` |
//! | what if the metadata device fails? | [`retry`], [`attempts`], [`metadata_mode`] |
//! | how is it read back? | [`load`], [`awake`] behind a hibernation |
//! | how does a restore begin? | [`begin`] |

pub mod attempts;
pub mod awake;
pub mod begin;
pub mod checkpoint;
mod checkpoint_blocks;
pub mod clears;
pub mod commit;
pub mod commit_delay;
pub mod first_touches;
pub mod journal;
pub mod load;
pub mod metadata_mode;
pub mod premark;
pub mod retry;
