// SPDX-License-Identifier: GPL-2.0

//! What several commands need first: the kernel, its tree, the module and the guest image.

use anyhow::{bail, Result};

use crate::cli::KernelArg;
use crate::guest::{self, Guest};
use crate::kernel;
use crate::module::{self, Module};
use crate::tree::{self, Tree};

/// A kernel with its build tree and its guest image.
pub struct Setup {
    /// The build tree.
    pub tree: Tree,
    /// The guest.
    pub guest: Guest,
}

/// Choose the kernel and make its build tree.
///
/// # Errors
///
/// See [`kernel::choose`] and [`tree::ensure`].
pub fn tree(arg: &KernelArg) -> Result<Tree> {
    let kernel = kernel::choose(arg.kernel.as_deref())?;
    tree::ensure(&kernel)
}

/// Choose the kernel, and make its build tree and guest image.
///
/// # Errors
///
/// See [`tree()`] and [`guest::ensure`].
pub fn machine(arg: &KernelArg) -> Result<Setup> {
    let tree = tree(arg)?;
    let guest = guest::ensure(&tree)?;
    Ok(Setup { tree, guest })
}

/// Build the module.
///
/// # Errors
///
/// See [`tree()`] and [`module::build`].
pub fn build(arg: &KernelArg) -> Result<Module> {
    if !module::exists() {
        bail!("there is no src/dm_restore_main.rs to build");
    }
    let module = module::build(&tree(arg)?)?;
    println!("{}", module.stripped.display());
    Ok(module)
}
