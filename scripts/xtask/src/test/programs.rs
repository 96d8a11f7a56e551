// SPDX-License-Identifier: GPL-2.0

//! The programs of the package in `tests/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{cargo, paths};

/// The package's name.
const PACKAGE: &str = "dm-restore-tests";

/// Built programs, by name.
pub struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Where a program is.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    pub fn path(&self, name: &str) -> Result<&Path> {
        let path = self.0.get(name).map(PathBuf::as_path);
        path.with_context(|| format!("{PACKAGE} has no bin target {name}"))
    }
}

/// Build all programs of the package, or none if the package is not there.
///
/// # Errors
///
/// They do not compile; cargo has said why.
pub fn build() -> Result<Programs> {
    if !paths::repo().join("tests/Cargo.toml").exists() {
        return Ok(Programs(BTreeMap::new()));
    }
    cargo::programs("test programs", "tests", &[]).map(Programs)
}
