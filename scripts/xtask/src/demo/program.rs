// SPDX-License-Identifier: GPL-2.0

//! The program that runs in the guest.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};
use serde_json::Value;

use crate::paths;
use crate::progress::Step;

/// Build it (SQLite is compiled into it, which takes a minute the first time).
///
/// # Errors
///
/// It does not compile; cargo has said why.
pub fn build() -> Result<PathBuf> {
    let step = Step::spinner("demo program");
    let output = Command::new("cargo")
        .args(["build", "--quiet", "--profile", "guest"])
        .args(["--features", "guest", "--bin", "demo-guest"])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(paths::repo().join("qemu/demo/Cargo.toml"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the demo program does not build");
    }
    step.done();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found = text.lines().filter_map(executable);
    found.next().context("cargo built no demo program")
}

/// One message of cargo, if it is about a program.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some(message.get("executable")?.as_str()?.into())
}
