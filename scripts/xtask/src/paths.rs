// SPDX-License-Identifier: GPL-2.0

//! Where things are: the clone, its output directory and the cache.

use std::path::{Path, PathBuf};

/// The clone's top directory.
#[must_use]
pub fn repo() -> &'static Path {
    // scripts/xtask -> scripts -> top
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// `build/` in the clone: modules, images of a run, logs.
#[must_use]
pub fn build() -> PathBuf {
    repo().join("build")
}

/// The cache outside the clone: downloads, kernel trees, guest images.
///
/// `scripts/in-root` always sets the variable.
#[must_use]
pub fn cache() -> PathBuf {
    match std::env::var_os("DM_RESTORE_CACHE") {
        Some(dir) => dir.into(),
        None => Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/dm-restore"),
    }
}
