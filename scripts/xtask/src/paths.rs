// SPDX-License-Identifier: GPL-2.0

//! Where things are: the clone, its output directory and the cache.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// cargo says at run time which clone it runs for: clones share the directory with their builds.
static REPO: LazyLock<PathBuf> = LazyLock::new(|| {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    let here = here.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    // scripts/xtask or tests -> top: where the workspace is.
    let top = here.ancestors().find(|dir| dir.join("Kbuild").exists());
    top.map_or_else(|| here.clone(), Path::to_path_buf)
});

/// The clone's top directory.
#[must_use]
pub fn repo() -> &'static Path {
    &REPO
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
