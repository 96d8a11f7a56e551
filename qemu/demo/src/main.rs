// SPDX-License-Identifier: GPL-2.0

//! The demo, inside the virtual machine: `demo-guest prepare`, and after a reboot with the clone
//! attached read-only, `demo-guest restore <payload directory>`.
//!
//! Disks are found by their serials: `source`, `clone`, `metadata`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{bail, Context, Result};

mod clone;
mod damage;
mod database;
mod disk;
mod export;
mod files;
mod load;
mod prepare;
mod report;
mod restore;
mod second_boot;
mod shell;
mod volume;
mod watch;

/// Where the file system is mounted.
const MOUNT: &str = "/mnt";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["prepare"] => prepare::run(),
        ["restore", payload] => {
            let file = Path::new(payload).join(dm_restore_demo::CONTENT_FILE);
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            second_boot::run(&serde_json::from_str(&text)?)
        }
        _ => bail!("usage: demo-guest prepare | restore <payload directory>"),
    }
}
