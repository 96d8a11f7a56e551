// SPDX-License-Identifier: GPL-2.0

//! The benchmark's part that runs in the guest. The rows, their targets and the peers' settings are
//! tables in `xtask::bench`.
//!
//! | question | module |
//! |---|---|
//! | what lies below? | [`brd`], [`null_blk`], [`fill`] |
//! | how is a contestant put over it? | [`mapped`], [`ours`], [`peers`] |
//! | how is it measured? | [`fio`], [`ioctls`], [`calls`], [`progress`] |
//! | who is measured when? | [`contest`] |
//! | what is measured? | [`rows`], [`scaling`], [`sweep`] |

pub mod brd;
pub mod calls;
pub mod contest;
pub mod fill;
pub mod fio;
pub mod ioctls;
pub mod mapped;
pub mod null_blk;
pub mod ours;
pub mod peers;
pub mod progress;
pub mod rows;
pub mod scaling;
pub mod sweep;

/// Sectors of a MiB.
pub const MIB: u64 = 2048;
/// Sectors of a GiB.
pub const GIB: u64 = 1024 * MIB;
