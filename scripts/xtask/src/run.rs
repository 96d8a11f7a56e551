// SPDX-License-Identifier: GPL-2.0

//! Running other programs.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{bail, Context, Result};

/// Bytes of a command that a message shows.
const LONGEST: usize = 300;

/// The command as one would type it, for messages.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let mut text = words.join(" ");
    if text.len() > LONGEST {
        let cut = (0..=LONGEST).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(cut.unwrap_or_default());
        text.push_str(" ...");
    }
    text
}

/// The standard output of a command that must succeed.
///
/// # Errors
///
/// The command cannot be started or fails; the error has what it wrote to standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        let stderr = String::from_utf8_lossy(&stderr);
        bail!("{}: {status}\n{}", shown(command), stderr.trim_end());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Run a command with the terminal as its output.
///
/// # Errors
///
/// The command cannot be started or fails.
pub fn visible(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{}: {status}", shown(command));
    }
    Ok(())
}

/// Run a command with its output appended to a log, each line also given to `on_line`.
///
/// # Errors
///
/// The command cannot be started or fails; the error has the end of the log.
pub fn logged(command: &mut Command, log: &Path, on_line: &mut dyn FnMut(&str)) -> Result<()> {
    let file = append(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if let Some(stdout) = child.stdout.take() {
        copy_lines(BufReader::new(stdout), &file, on_line)?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "{}: {status}\n{}\n(all of it: {})",
            shown(command),
            tail(log, 30),
            log.display()
        );
    }
    Ok(())
}

fn append(log: &Path) -> Result<File> {
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))
}

fn copy_lines(mut from: impl BufRead, mut to: &File, on_line: &mut dyn FnMut(&str)) -> Result<()> {
    use std::io::Write;
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        on_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

/// The last `lines` lines of a file, or nothing if it cannot be read.
#[must_use]
pub fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// How many jobs `make` gets: one a processor.
#[must_use]
pub fn jobs() -> String {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    format!("-j{processors}")
}
