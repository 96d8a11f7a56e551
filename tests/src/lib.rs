// SPDX-License-Identifier: GPL-2.0

//! What the scenarios that run in the virtual machine are made of.
//!
//! | question | module |
//! |---|---|
//! | which disks are there, and what is on them at first? | [`disks`], [`stamps`] |
//! | how is a mapped device put together and taken apart? | [`spec`], [`rig`], [`dm`] |
//! | how does a device below fail? | [`mod@slice`] |
//! | what must a read return? | [`model`] |
//! | who reads what is mapped into memory? | [`mapping`] |
//! | what does a reader of README and manual paste? | [`documents`] |
//! | what does the target say about itself? | [`status`], [`observe`], [`maps`], [`kmsg`] |
//! | how much was moved, how much memory is there? | [`stats`], [`meminfo`] |
//! | how does a scenario wait? | [`wait`] |
//! | how fast is it? | [`mod@bench`] |

pub mod bench;
pub mod crash;
pub mod cuts;
pub mod disks;
pub mod dm;
pub mod documents;
pub mod errno;
pub mod forge;
pub mod hibernate;
pub mod host;
pub mod io;
pub mod kmsg;
pub mod mapping;
pub mod maps;
pub mod matrix;
pub mod meminfo;
pub mod memory;
pub mod model;
pub mod observe;
pub mod plug;
pub mod random;
pub mod refusal;
pub mod requests;
pub mod restart;
pub mod rig;
pub mod sh;
pub mod slice;
pub mod spec;
pub mod stamps;
pub mod stats;
pub mod status;
pub mod stress;
pub mod tracker;
pub mod verify;
pub mod wait;
pub mod watch;
