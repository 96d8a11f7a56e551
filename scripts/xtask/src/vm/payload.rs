// SPDX-License-Identifier: GPL-2.0

//! The payload: a small read-only disk with the files of one run and the command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::config::{create_disk, Config};
use crate::run;

/// What the machine says before it runs its command.
pub const UP: &str = "@up";

/// Make the payload's image: an ext4 file system with the files and `command`.
pub fn make(config: &Config) -> Result<()> {
    let staging = config.dir.join("payload");
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    fs::create_dir_all(&staging)?;
    let mut bytes = 0;
    for (name, from) in &config.payload {
        bytes += place(from, &staging.join(name))?;
    }
    let up = if config.terminal {
        String::new()
    } else {
        format!("echo {UP}\n")
    };
    fs::write(staging.join("command"), format!("{up}{}\n", config.command))?;
    let image = config.payload_image();
    create_disk(
        &image,
        (bytes / 4 * 5).next_multiple_of(1 << 20) + (8 << 20),
    )?;
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "4096"]);
    mke2fs.args(["-O", "^has_journal", "-m", "0", "-d"]);
    run::output(mke2fs.arg(&staging).arg(&image))?;
    fs::remove_dir_all(&staging)?;
    Ok(())
}

fn place(from: &Path, to: &Path) -> Result<u64> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    let bytes = fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    let mode = fs::metadata(from)?.permissions().mode();
    fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o444))?;
    Ok(bytes)
}
