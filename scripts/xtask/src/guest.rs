// SPDX-License-Identifier: GPL-2.0

//! The guest: a stock kernel, a small root image and an initial RAM disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cache::{self, Entry};
use crate::progress::Step;
use crate::tree::Tree;
use crate::{paths, root, run};

/// Files of `qemu/` that the image is made from.
const INPUTS: [&str; 5] = [
    "make-guest",
    "guest.packages",
    "guest.modules",
    "init",
    "initrd",
];

/// What QEMU boots.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The kernel's release.
    pub release: String,
    /// The stock kernel, uncompressed.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
    /// The root file system, to be attached read-only.
    pub root: PathBuf,
}

/// The guest for a kernel, made if it is not in the cache.
///
/// # Errors
///
/// `qemu/make-guest` failed.
pub fn ensure(tree: &Tree) -> Result<Guest> {
    let qemu = paths::repo().join("qemu");
    let texts = INPUTS
        .iter()
        .map(|name| std::fs::read_to_string(qemu.join(name)));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let release = tree.kernel.release.clone();
    let inputs = cache::hash(&texts);
    let key = [&*tree.kernel.package, &root::stamp()?, &inputs];
    // Clones that differ in these files use the cache at the same time: each has its own image.
    let name = format!("guest-{release}-{}", inputs.get(..8).unwrap_or(&inputs));
    let dir = Entry::new(&name, &key, &["."]).ensure(|dir| {
        let step = Step::spinner("guest image");
        let mut make = Command::new(qemu.join("make-guest"));
        make.arg(tree.stock_modules())
            .arg(tree.source.join("scripts/extract-vmlinux"))
            .arg(dir);
        run::output(&mut make)?;
        step.done();
        Ok(())
    })?;
    Ok(Guest::at(&release, &dir))
}

impl Guest {
    /// The guest whose files are in a directory.
    #[must_use]
    pub fn at(release: &str, dir: &Path) -> Self {
        Self {
            release: release.to_owned(),
            kernel: dir.join("vmlinux"),
            initrd: dir.join("initrd.img"),
            root: dir.join("root.img"),
        }
    }

    /// The directory of its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.root.parent().unwrap_or(&self.root)
    }
}
