// SPDX-License-Identifier: GPL-2.0

//! Running the system's tools.

use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};
use dm_restore_demo::Event;

use crate::report;

/// Run a command and return what it printed.
///
/// # Errors
///
/// The command cannot be run, or fails; the error has what it said.
pub fn run(words: &[&str]) -> Result<String> {
    let shown = shown(words);
    let (program, arguments) = words.split_first().context("no command")?;
    let output = Command::new(program)
        .args(arguments)
        // There is no udev in the guest: libdevmapper makes the nodes itself.
        .env("DM_DISABLE_UDEV", "1")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}: {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// [`run`], and show the command to whoever watches.
///
/// # Errors
///
/// As [`run`].
pub fn show(words: &[&str]) -> Result<String> {
    report::event(&Event::Command(shown(words)));
    run(words)
}

/// The command as one would type it.
fn shown(words: &[&str]) -> String {
    let quoted = words.iter().map(|word| {
        if word.contains(' ') {
            format!("'{word}'")
        } else {
            (*word).to_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
