// SPDX-License-Identifier: GPL-2.0

//! Device-mapper, by way of `dmsetup`.

use super::sh::{self, Ran, Started};
use anyhow::{bail, Result};

/// Runs `dmsetup` and returns how it went.
pub fn run(args: &[&str]) -> Result<Ran> {
    sh::run("dmsetup", args)
}

/// Runs `dmsetup`, which must succeed.
pub fn ok(args: &[&str]) -> Result<String> {
    sh::ok("dmsetup", args)
}

/// Starts `dmsetup` and does not wait for it.
pub fn start(args: &[&str]) -> Result<Started> {
    sh::start("dmsetup", args)
}

/// The node of a mapped device.
pub fn path(name: &str) -> String {
    format!("/dev/mapper/{name}")
}

/// A device to make.
pub struct New<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it can only be read.
    pub read_only: bool,
    /// The lines of its table.
    pub table: Vec<String>,
}

/// Makes several devices with one command.
pub fn create_all(devices: &[New<'_>]) -> Result<()> {
    let concise: Vec<String> = devices
        .iter()
        .map(|new| {
            let flag = if new.read_only { "ro" } else { "rw" };
            format!("{},,,{flag},{}", new.name, new.table.join(","))
        })
        .collect();
    ok(&["create", "--concise", &concise.join(";")]).map(drop)
}

/// Loads a table into the device and resumes it. I/O under way waits meanwhile, and what the
/// device has not finished is not waited for.
pub fn swap(name: &str, table: &str) -> Result<()> {
    ok(&["suspend", "--nolockfs", "--noflush", name])?;
    let loaded = ok(&["load", name, "--table", table]);
    ok(&["resume", name])?;
    loaded.map(drop)
}

/// The first of the words behind the target's name in a line of status or table.
pub fn target_words(line: &str, target: &str) -> Result<String> {
    for line in line.lines() {
        let mut words = line.splitn(4, ' ');
        if words.nth(2) == Some(target) {
            return Ok(words.next().unwrap_or_default().to_string());
        }
    }
    bail!("no target {target} in: {line}")
}
