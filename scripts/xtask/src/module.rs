// SPDX-License-Identifier: GPL-2.0

//! Building `dm-restore.ko` in a kernel's build tree.
//!
//! The objects go to `build/module-<release>` (`MO=`, kernels since 6.13), so the sources stay
//! clean and several kernels can be built for side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::cache::Lock;
use crate::progress::Step;
use crate::tree::Tree;
use crate::{debug, paths, run};

/// The module's file name.
pub const FILE: &str = "dm-restore.ko";

/// A built module.
pub struct Module {
    /// The module as kbuild made it, with debug information.
    pub full: PathBuf,
    /// A copy without debug information, for the guest.
    pub stripped: PathBuf,
}

/// Whether there is a module to build yet.
#[must_use]
pub fn exists() -> bool {
    paths::repo().join("src/dm_restore_main.rs").exists()
}

/// Build the module; the result is also copied to `build/dm-restore.ko`, that for the debug kernel
/// to `build/dm-restore-debug.ko`.
///
/// # Errors
///
/// It does not compile or link; the error has the end of the log.
pub fn build(tree: &Tree) -> Result<Module> {
    let out = output(tree);
    fs::create_dir_all(&out)?;
    let _lock = Lock::take(&paths::build().join("module.lock"))?;
    let log = paths::build().join("module.log");
    let _ = fs::remove_file(&log);
    let step = Step::spinner("module");
    let mut make = kbuild(tree, &out);
    let built = run::logged(make.arg("modules"), &log, &mut |line| step.building(line));
    if let Err(error) = built {
        drop(step);
        return Err(error.context("the module does not build"));
    }
    step.done();
    warnings(&log)?;
    let full = out.join(FILE);
    fit(&full, &tree.kernel.release)?;
    let stripped = paths::build().join(copy(&tree.kernel.release));
    // By renaming: another run may be reading the last one.
    let new = stripped.with_extension("new");
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").arg(&new);
    run::output(strip.arg(&full))?;
    fs::rename(&new, &stripped)?;
    Ok(Module { full, stripped })
}

/// The name of the module's copy.
fn copy(release: &str) -> &'static str {
    if debug::is(release) {
        "dm-restore-debug.ko"
    } else {
        FILE
    }
}

/// Where kbuild's output for this kernel goes.
#[must_use]
pub fn output(tree: &Tree) -> PathBuf {
    paths::build().join(format!("module-{}", tree.kernel.release))
}

/// The out-of-tree build, without a target.
#[must_use]
pub fn kbuild(tree: &Tree, out: &Path) -> Command {
    let mut make = tree.make();
    make.arg(format!("M={}", paths::repo().display()))
        .arg(format!("MO={}", out.display()));
    if debug::is(&tree.kernel.release) {
        make.arg("DM_RESTORE_LINGER=y");
    }
    make
}

/// Show the compiler's warnings: they would be lost in the log.
fn warnings(log: &Path) -> Result<()> {
    let text = fs::read_to_string(log)?;
    let warned = text.contains("\nwarning:") || text.contains(": warning:");
    if warned {
        println!("the compiler warns; see {}", log.display());
    }
    Ok(())
}

/// The module must say that it is for this kernel.
fn fit(module: &Path, release: &str) -> Result<()> {
    let mut modinfo = Command::new("modinfo");
    modinfo.args(["-F", "vermagic"]).arg(module);
    let magic = run::output(&mut modinfo).context("no module came out")?;
    if magic.split_whitespace().next() != Some(release) {
        bail!("the module is for {}, not for {release}", magic.trim());
    }
    Ok(())
}
