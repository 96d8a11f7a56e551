// SPDX-License-Identifier: GPL-2.0

//! The programs of the package in `tests/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};
use serde_json::Value;

use crate::paths;
use crate::progress::Step;

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
    let manifest = paths::repo().join("tests/Cargo.toml");
    if !manifest.exists() {
        return Ok(Programs(BTreeMap::new()));
    }
    let step = Step::spinner("test programs");
    // The profile is in the workspace's Cargo.toml.
    let output = Command::new("cargo")
        .args(["build", "--quiet", "--profile", "guest", "--bins"])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(manifest)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the test programs do not build");
    }
    step.done();
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Programs(text.lines().filter_map(executable).collect()))
}

/// One message of cargo, if it is about a program.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_cargo() {
        let program =
            r#"{"reason":"compiler-artifact","target":{"name":"io"},"executable":"/t/io"}"#;
        assert_eq!(executable(program), Some(("io".into(), "/t/io".into())));
        let library = r#"{"reason":"compiler-artifact","target":{"name":"l"},"executable":null}"#;
        assert_eq!(executable(library), None);
    }
}
