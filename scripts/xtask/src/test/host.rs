// SPDX-License-Identifier: GPL-2.0

//! What runs on the host: `cargo test`, and suites that boot machines themselves.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::libtest::{Reader, Tally};
use super::programs::Programs;
use super::suites::Suite;
use crate::guest::Guest;
use crate::setup::HandedDown;
use crate::{debug, paths, run};

/// Every unit, property and doc test of the workspace.
///
/// # Errors
///
/// The log cannot be written.
pub fn workspace(filter: &str) -> Result<Tally> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    if !filter.is_empty() {
        cargo.arg(filter);
    }
    let log = paths::build().join("test/host.log");
    let reader = Reader::new("host tests", true);
    follow(reader, cargo.current_dir(paths::repo()), &log, filter)
}

/// The models of what rests on atomics, in every order: a build of its own, because the whole engine
/// gets other atomics.
///
/// # Errors
///
/// The log cannot be written.
pub fn races(filter: &str) -> Result<Tally> {
    if !"races".contains(filter) {
        return Ok(Tally::default());
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--package", "dm-restore-engine", "--lib"]);
    cargo.args(["--no-fail-fast", "races::"]);
    cargo.env("RUSTFLAGS", "--cfg loom");
    cargo.env("CARGO_TARGET_DIR", paths::cache().join("target/loom"));
    let log = paths::build().join("test/races.log");
    let reader = Reader::new("races", true);
    follow(reader, cargo.current_dir(paths::repo()), &log, "")
}

/// A suite whose program runs on the host.
///
/// # Errors
///
/// There is no such program, or the log cannot be written.
pub fn suite(
    suite: &Suite,
    guest: &Guest,
    module: Option<&Path>,
    programs: &Programs,
    filter: &str,
) -> Result<Tally> {
    let dir = paths::build().join("test").join(&suite.name);
    fs::create_dir_all(&dir)?;
    let mut program = Command::new("timeout");
    let limit = suite.timeout * u64::from(debug::slowness(&guest.release));
    program.args(["--foreground", "--signal=KILL", &limit.to_string()]);
    program.arg(programs.path(suite.bin.as_deref().unwrap_or_default())?);
    program.args(suite.arguments(filter));
    let handed_down = HandedDown {
        guest: guest.clone(),
        module: module.context("there is no module")?.to_owned(),
        dir: dir.clone(),
    };
    handed_down.give(&mut program);
    let reader = Reader::new(&suite.name, false);
    follow(reader, &mut program, &dir.join("output.log"), "")
}

/// Run a test program and count. With a filter, running nothing is no failure.
fn follow(mut reader: Reader, command: &mut Command, log: &Path, filter: &str) -> Result<Tally> {
    let _ = fs::remove_file(log);
    let failed = run::logged(command, log, &mut |line| reader.line(line)).err();
    let complaint = match failed {
        // The failures have been counted and shown.
        Some(_) if reader.failed() => {
            reader.show(&format!("(all of it: {})", log.display()));
            None
        }
        Some(error) => Some(format!("{error:#}")),
        None => None,
    };
    if complaint.is_none() && !filter.is_empty() && reader.silent() {
        return Ok(Tally::default());
    }
    Ok(reader.finish(complaint))
}
