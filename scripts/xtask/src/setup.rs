// SPDX-License-Identifier: GPL-2.0

//! What several commands need first: the kernel, its tree, the module and the guest image.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::debug;
use crate::guest::{self, Guest};
use crate::kernel;
use crate::kernel::KernelArg;
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

/// As [`machine`], with the debug kernel of the chosen one's source.
///
/// # Errors
///
/// See [`tree()`], [`debug::ensure`] and [`guest::ensure`].
pub fn debug_machine(arg: &KernelArg) -> Result<Setup> {
    let tree = debug::ensure(&tree(arg)?)?;
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

/// What `cargo xtask test` hands down to a suite that runs on the host and boots machines itself.
pub struct HandedDown {
    /// The guest.
    pub guest: Guest,
    /// The module, without debug information.
    pub module: PathBuf,
    /// Where the suite's logs and disks go.
    pub dir: PathBuf,
}

const RELEASE: &str = "DM_RESTORE_KERNEL";
const GUEST: &str = "DM_RESTORE_GUEST";
const MODULE: &str = "DM_RESTORE_MODULE";
const DIR: &str = "DM_RESTORE_SUITE_DIR";

impl HandedDown {
    /// Hand it down to a program.
    pub fn give(&self, to: &mut Command) {
        to.env(RELEASE, &self.guest.release);
        to.env(GUEST, self.guest.dir());
        to.env(MODULE, &self.module);
        to.env(DIR, &self.dir);
    }

    /// Take it.
    ///
    /// # Errors
    ///
    /// The program was not started by `cargo xtask test`.
    pub fn take() -> Result<Self> {
        let value = |name| {
            let value = std::env::var(name);
            value.with_context(|| format!("{name} is not set: run this with cargo xtask test"))
        };
        Ok(Self {
            guest: Guest::at(&value(RELEASE)?, value(GUEST)?.as_ref()),
            module: value(MODULE)?.into(),
            dir: value(DIR)?.into(),
        })
    }
}
