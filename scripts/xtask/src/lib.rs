// SPDX-License-Identifier: GPL-2.0

//! Build, run and check dm-restore: the kernel tree, the module, the guest image and the
//! virtual machine.
//!
//! Everything here runs inside the Debian 13 build root (`scripts/in-root`); see [`root`].
//! The chain, each link cached: [`kernel`] chooses a Debian kernel, [`apt`] downloads its
//! packages, [`tree`] makes a build tree with Rust metadata, [`module`] builds `dm-restore.ko`
//! in it, [`guest`] makes the guest's root image, and [`vm`] boots it.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod apt;
pub mod bench;
pub mod cache;
pub mod cargo;
pub mod cli;
pub mod debug;
pub mod demo;
pub mod fuzz;
pub mod guest;
pub mod kernel;
pub mod lint;
pub mod module;
pub mod mutants;
pub mod paths;
pub mod progress;
pub mod root;
pub mod run;
pub mod setup;
pub mod shell;
pub mod sim;
mod soak;
pub mod symvers;
pub mod test;
pub mod tree;
pub mod vm;
