// SPDX-License-Identifier: GPL-2.0

//! Programs of the workspace that run in the guest.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};
use serde_json::Value;

use crate::paths;
use crate::progress::Step;

/// Build the programs of the package in `dir`, with more words for cargo, and return where they
/// are, by name.
///
/// # Errors
///
/// They do not compile; cargo has said why.
pub fn programs(what: &str, dir: &str, words: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let step = Step::spinner(what);
    // The profile is in the workspace's Cargo.toml.
    let output = Command::new("cargo")
        .args(["build", "--quiet", "--profile", "guest", "--bins"])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--manifest-path")
        .arg(paths::repo().join(dir).join("Cargo.toml"))
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cannot build: {what}");
    }
    step.done();
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(executable).collect())
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
