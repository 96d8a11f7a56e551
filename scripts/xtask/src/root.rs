// SPDX-License-Identifier: GPL-2.0

//! The Debian 13 build root, in which everything runs.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::paths;

/// Written by `scripts/in-root` when the root is complete.
pub const MARKER: &str = "/etc/dm-restore-root";

/// Whether this process runs inside the build root.
#[must_use]
pub fn inside() -> bool {
    Path::new(MARKER).exists()
}

/// Go on inside the build root.
///
/// Outside of it, this replaces the process by the same command inside; it returns only when
/// that failed.
///
/// # Errors
///
/// `scripts/in-root` could not be started.
pub fn enter() -> Result<()> {
    if inside() {
        return Ok(());
    }
    let script = paths::repo().join("scripts/in-root");
    let error = Command::new(&script)
        .args(["cargo", "xtask"])
        .args(env::args_os().skip(1))
        .exec();
    Err(error).with_context(|| format!("cannot run {}", script.display()))
}

/// What identifies the root and its packages; part of the key of all that is made with them.
///
/// # Errors
///
/// The marker cannot be read: the process is outside the root.
pub fn stamp() -> Result<String> {
    let marker =
        std::fs::read_to_string(MARKER).with_context(|| format!("cannot read {MARKER}"))?;
    Ok(marker.trim().to_owned())
}
