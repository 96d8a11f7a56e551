// SPDX-License-Identifier: GPL-2.0

//! Restores under a heavy load, with everything that can be done to a mapped device done to it
//! meanwhile, and every byte checked.
//!
//! | question | module |
//! |---|---|
//! | what may a read return when writes overlap in place and time? | [`history`] |
//! | and when a sector is read while it changes? | [`torn`] |
//! | what does the host send? | [`load`] |
//! | what is done to the mapped device? | [`control`] |
//! | which source completes where the kernel may be preempted? | [`memory`] |
//! | what if another volume wants the same disks? | [`twins`] |
//! | in what order, and what is checked when? | [`rounds`] |

pub mod control;
pub mod history;
pub mod load;
pub mod memory;
pub mod rounds;
pub mod torn;
pub mod twins;
