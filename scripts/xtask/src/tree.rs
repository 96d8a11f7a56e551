// SPDX-License-Identifier: GPL-2.0

//! A build tree for a stock Debian kernel, with the Rust metadata that Debian leaves out.
//!
//! The metadata is made anew from the same source, with the same configuration and the same
//! compilers. That the result fits the stock kernel is not assumed but checked: every Rust
//! symbol that the stock kernel exports must come out of the rebuilt objects (see [`symvers`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::cache::Entry;
use crate::kernel::Kernel;
use crate::progress::Step;
use crate::{apt, run, symvers};

/// To be counted up when the steps below change what they make.
const RECIPE: &str = "1";

/// The unpacked packages and the build tree of one kernel.
pub struct Tree {
    /// The kernel it is for.
    pub kernel: Kernel,
    /// The kernel's source.
    pub source: PathBuf,
    /// The output folder of the kernel's build: what `KDIR` is to an out-of-tree module.
    pub build: PathBuf,
    /// The kernel's image and modules as they are installed (`usr/lib/modules/<release>`): the
    /// stock ones, unpacked.
    pub stock: PathBuf,
    /// Words for `make` that choose the compiler.
    pub toolchain: &'static [&'static str],
}

/// The build tree of a kernel, made if it is not in the cache.
///
/// # Errors
///
/// A download or a build step failed, or the tree does not fit the stock kernel.
pub fn ensure(kernel: &Kernel) -> Result<Tree> {
    let packages = packages(kernel)?;
    let entry = Entry::new(
        &format!("kernel-{}", kernel.release),
        &[RECIPE, &kernel.package, &toolchain()?],
        &[
            "build/.config",
            "build/Module.symvers",
            "build/include",
            "build/rust",
            "build/scripts",
            "source/Makefile",
            "source/include",
            "source/scripts",
            "stock",
        ],
    );
    let dir = entry.ensure(|dir| make(kernel, &packages, dir))?;
    Ok(Tree::at(kernel, &dir))
}

impl Tree {
    fn at(kernel: &Kernel, dir: &Path) -> Self {
        Self {
            kernel: kernel.clone(),
            source: dir.join("source"),
            build: dir.join("build"),
            stock: dir.join("stock"),
            toolchain: &[],
        }
    }

    /// `make` in the build tree.
    #[must_use]
    pub fn make(&self) -> Command {
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(&self.build)
            .arg(format!("LOCALVERSION={}", self.kernel.local_version()))
            .args(self.toolchain)
            .arg(run::jobs())
            .env_remove("MAKEFLAGS");
        make
    }

    /// Where the kernel's image and modules are.
    #[must_use]
    pub fn stock_modules(&self) -> PathBuf {
        self.stock
            .join("usr/lib/modules")
            .join(&self.kernel.release)
    }
}

/// What the kernel's Rust metadata depends on besides its source.
fn toolchain() -> Result<String> {
    versions(&["rustc", "gcc", "bindgen"])
}

/// The versions of these tools.
pub(crate) fn versions(tools: &[&str]) -> Result<String> {
    let mut text = String::new();
    for tool in tools {
        let version = run::output(Command::new(tool).arg("--version"))?;
        text += version.lines().next().unwrap_or_default();
        text.push('\n');
    }
    Ok(text)
}

/// The directory of the kernel's packages.
fn packages(kernel: &Kernel) -> Result<PathBuf> {
    let key = [&*kernel.release, &*kernel.package];
    let entry = Entry::new(&format!("debs-{}", kernel.release), &key, &["."]);
    entry.ensure(|dir| {
        let wanted = kernel.packages();
        if apt::download(&wanted, dir).is_ok() {
            return Ok(());
        }
        // The lists may be older than the mirror.
        apt::update()?;
        apt::download(&wanted, dir)
    })
}

fn make(kernel: &Kernel, packages: &Path, dir: &Path) -> Result<()> {
    let tree = Tree::at(kernel, dir);
    let log = dir.join("make.log");
    for part in [&tree.source, &tree.build, &tree.stock] {
        fs::create_dir_all(part)?;
    }
    let headers = dir.join("headers");
    for name in ["linux-binary", "linux-modules"] {
        unpack(&find(packages, name)?, &tree.stock)?;
    }
    unpack(&find(packages, "linux-headers")?, &headers)?;
    unpack_source(&find(packages, "linux-source")?, &tree, &log)?;

    let headers = headers
        .join("usr/src")
        .join(format!("linux-headers-{}", kernel.release));
    configure(&tree, &headers, &log)?;
    prepare(&tree, &log)?;
    fs::copy(
        headers.join("Module.symvers"),
        tree.build.join("Module.symvers"),
    )?;
    symvers::check(&tree.build)?;
    fs::remove_dir_all(dir.join("headers"))?;
    Ok(())
}

/// The package file whose name starts so.
fn find(packages: &Path, name: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(packages)? {
        let entry = entry?;
        let file = entry.file_name();
        let file = file.to_string_lossy();
        if file.starts_with(name) && file.ends_with(".deb") {
            return Ok(entry.path());
        }
    }
    bail!("no {name} package in {}", packages.display())
}

fn unpack(package: &Path, to: &Path) -> Result<()> {
    run::output(Command::new("dpkg-deb").arg("-x").arg(package).arg(to))?;
    Ok(())
}

/// The source is a compressed archive within the package.
fn unpack_source(package: &Path, tree: &Tree, log: &Path) -> Result<()> {
    let step = Step::spinner("kernel source");
    let series = tree.kernel.series();
    let inner = format!("./usr/src/linux-source-{series}.tar.xz");
    let script = "set -euo pipefail
        dpkg-deb --fsys-tarfile \"$1\" | tar -xO \"$2\" | xz -dc -T0 |
            tar -x --strip-components=1 --checkpoint=5000 --checkpoint-action='echo=%u' -C \"$3\" 2>&1";
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "unpack"]);
    bash.arg(package).arg(inner).arg(&tree.source);
    run::logged(&mut bash, log, &mut |_| ())?;
    step.done();
    Ok(())
}

/// Take the stock configuration; it must survive `olddefconfig` with Rust in it.
fn configure(tree: &Tree, headers: &Path, log: &Path) -> Result<()> {
    fs::copy(headers.join(".config"), tree.build.join(".config"))
        .with_context(|| format!("no configuration in {}", headers.display()))?;
    let mut make = Command::new("make");
    make.arg("-C").arg(&tree.source);
    make.arg(format!("O={}", tree.build.display()))
        .arg("olddefconfig");
    run::logged(make.env_remove("MAKEFLAGS"), log, &mut |_| ())?;
    let config = fs::read_to_string(tree.build.join(".config"))?;
    if !config.lines().any(|line| line == "CONFIG_RUST=y") {
        bail!(
            "{} has no Rust support, or not for the root's compilers (CONFIG_RUST)",
            tree.kernel.release
        );
    }
    Ok(())
}

/// Build what modules need: mostly `rust/`.
fn prepare(tree: &Tree, log: &Path) -> Result<()> {
    let step = Step::spinner("kernel tree with Rust metadata (about 2 minutes)");
    let mut make = tree.make();
    make.arg("modules_prepare");
    run::logged(&mut make, log, &mut |line| step.building(line))?;
    step.done();
    Ok(())
}
