// SPDX-License-Identifier: GPL-2.0

//! Running commands.

use anyhow::{bail, Context, Result};
use std::process::{Command, Output, Stdio};

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code was 0.
    pub ok: bool,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a command and returns how it went. Device-mapper nodes are made without udev.
pub fn run(program: &str, args: &[&str]) -> Result<Ran> {
    let output = Command::new(program)
        .args(args)
        .env("DM_DISABLE_UDEV", "1")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} cannot be run"))?;
    Ok(ran(output))
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_string();
    Ran {
        ok: output.status.success(),
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// Runs a command that must succeed and returns its standard output.
pub fn ok(program: &str, args: &[&str]) -> Result<String> {
    let ran = run(program, args)?;
    if !ran.ok {
        bail!(
            "{program} {} failed: {} {}",
            args.join(" "),
            ran.err,
            ran.out
        );
    }
    Ok(ran.out)
}

/// Runs a line of shell that must succeed and returns its standard output.
pub fn shell(line: &str) -> Result<String> {
    ok("bash", &words(line))
}

/// What `bash` is given for a line of shell.
pub fn words(line: &str) -> [&str; 4] {
    ["-euo", "pipefail", "-c", line]
}
