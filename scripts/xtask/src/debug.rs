// SPDX-License-Identifier: GPL-2.0

//! The debug kernel: the stock kernel's source, built with clang, sanitizers, checks of locks and
//! memory, and fault injection.
//!
//! Its configuration is `qemu/debug.config` on top of `allnoconfig`. It is installed as the stock
//! kernel is, so that the guest image and the module are made for it in the same way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::cache::{self, Entry};
use crate::kernel::Kernel;
use crate::progress::Step;
use crate::tree::{self, Tree};
use crate::{paths, run};

/// To be counted up when the steps below change what they make.
const RECIPE: &str = "1";

/// The end of its release: `7.3.4-debug`.
const SUFFIX: &str = "-debug";

/// MiB that a guest needs more in it: for its own code, and for what it keeps about all memory.
pub const MEMORY: u32 = 256;

/// What a suite of the guest ends with in it, a file of `qemu/`.
pub const END: &str = "debug-end";

/// KASAN sees Rust code only where C code is compiled with clang too.
const TOOLCHAIN: &[&str] = &["LLVM=-19"];

/// How much slower than the stock kernel it is, at the worst: what all time limits are multiplied
/// with.
const SLOWNESS: u32 = 10;

/// Whether a release is that of a debug kernel.
#[must_use]
pub fn is(release: &str) -> bool {
    release.ends_with(SUFFIX)
}

/// What the time limits of a machine with this kernel are multiplied with.
#[must_use]
pub fn slowness(release: &str) -> u32 {
    if is(release) {
        SLOWNESS
    } else {
        1
    }
}

/// The debug kernel of the same source, built if it is not in the cache.
///
/// # Errors
///
/// The configuration is not taken over as it is, or the build failed.
pub fn ensure(stock: &Tree) -> Result<Tree> {
    let config = paths::repo().join("qemu/debug.config");
    let text =
        fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
    let version = stock.kernel.version();
    let compilers = tree::versions(&["rustc", "clang-19", "ld.lld-19", "bindgen"])?;
    let key = [RECIPE, &stock.kernel.package, &compilers, &text];
    let entry = Entry::new(
        &format!("kernel-debug-{version}"),
        &key,
        &[
            "build/.config",
            "build/Module.symvers",
            "build/include",
            "build/rust",
            "build/scripts",
            "stock",
        ],
    );
    let at = |dir: &Path| Tree {
        kernel: Kernel {
            release: format!("{version}{SUFFIX}"),
            // It is part of the key of what is made for this kernel.
            package: format!("{} {}", stock.kernel.package, cache::hash(&key)),
        },
        source: stock.source.clone(),
        build: dir.join("build"),
        stock: dir.join("stock"),
        toolchain: TOOLCHAIN,
    };
    let dir = entry.ensure(|dir| make(&at(dir), &config, dir))?;
    Ok(at(&dir))
}

fn make(tree: &Tree, config: &Path, dir: &Path) -> Result<()> {
    let log = dir.join("make.log");
    fs::create_dir_all(&tree.build)?;
    configure(tree, config, &log)?;
    let step = Step::spinner("debug kernel (12 minutes on 2 processors)");
    let mut build = tree.make();
    build.args(["vmlinux", "modules"]);
    run::logged(&mut build, &log, &mut |line| step.building(line))?;
    install(tree, &log)?;
    step.done();
    Ok(())
}

/// `allnoconfig` and the fragment, of which every line must hold in the end.
fn configure(tree: &Tree, fragment: &Path, log: &Path) -> Result<()> {
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(&tree.source)
        .arg(format!("O={}", tree.build.display()))
        .arg(format!("KCONFIG_ALLCONFIG={}", fragment.display()))
        .args(tree.toolchain)
        .arg("allnoconfig");
    run::logged(make.env_remove("MAKEFLAGS"), log, &mut |_| ())?;
    let config = fs::read_to_string(tree.build.join(".config"))?;
    let missing = missing(&fs::read_to_string(fragment)?, &config);
    if !missing.is_empty() {
        bail!(
            "{} asks for what this kernel cannot have: {}",
            fragment.display(),
            missing.join(" ")
        );
    }
    Ok(())
}

/// The lines of the fragment that the configuration does not have.
fn missing(fragment: &str, config: &str) -> Vec<String> {
    let wanted = fragment.lines().filter(|line| line.starts_with("CONFIG_"));
    wanted
        .filter(|wanted| !config.lines().any(|line| line == *wanted))
        .map(str::to_owned)
        .collect()
}

/// Modules and image, where the stock kernel's package has them.
fn install(tree: &Tree, log: &Path) -> Result<()> {
    let mut make = tree.make();
    make.arg("modules_install")
        .arg(format!("INSTALL_MOD_PATH={}", usr(tree).display()));
    run::logged(&mut make, log, &mut |_| ())?;
    let modules = tree.stock_modules();
    // Links to the trees: whoever copies the modules does not want those.
    let _ = fs::remove_file(modules.join("build"));
    fs::copy(tree.build.join("vmlinux"), modules.join("vmlinuz"))?;
    Ok(())
}

fn usr(tree: &Tree) -> PathBuf {
    tree.stock.join("usr")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_debug_kernel_is_slow() {
        assert!(is("7.3.4-debug") && !is("7.3.4+deb13-amd64"));
        assert_eq!(slowness("7.3.4+deb13-amd64"), 1);
        assert_eq!(slowness("7.3.4-debug"), SLOWNESS);
    }

    #[test]
    fn a_line_that_was_not_taken_over_is_told() {
        let fragment = "# memory\nCONFIG_KASAN=y\nCONFIG_RUST=y\n";
        let config = "CONFIG_RUST=y\n# CONFIG_KASAN is not set\n";
        assert_eq!(missing(fragment, config), ["CONFIG_KASAN=y"]);
    }
}
