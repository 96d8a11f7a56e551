// SPDX-License-Identifier: GPL-2.0

//! The protected volume: a mapped device with one `restore` target.

use std::fs;

use anyhow::{ensure, Context, Result};
use dm_restore_demo::{EXTENT_BYTES, VOLUME_BYTES};

use crate::disk::by_serial;
use crate::shell;

/// Name of the mapped device.
pub const NAME: &str = "vol";

/// Path of the mapped device.
pub const PATH: &str = "/dev/mapper/vol";

/// The words of `dmsetup status` that the demo needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// `tracking` or `restoring`.
    pub mode: String,
    /// Extents that may differ between source and clone.
    pub delta: u64,
    /// Extents of the volume.
    pub extents: u64,
    /// Extents the host has changed since the restore began.
    pub protected: u64,
    /// Extents whose difference is gone since the restore began.
    pub restored: u64,
    /// Failed requests to clone, source and metadata.
    pub errors: u64,
    /// `rw`, `ro` or `fail`.
    pub metadata: String,
}

impl Status {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Start, length and target come first.
        let word = |index: usize| words.get(index + 3).copied();
        let number = |index: usize| word(index)?.parse::<u64>().ok();
        let (delta, extents) = word(3)?.split_once('/')?;
        Some(Self {
            mode: word(0)?.into(),
            delta: delta.parse().ok()?,
            extents: extents.parse().ok()?,
            protected: number(4)?,
            restored: number(5)?,
            errors: number(7)? + number(8)? + number(9)?,
            metadata: (*words.last()?).into(),
        })
    }
}

/// Create the volume; `features` as on the table line, without their count.
///
/// # Errors
///
/// The kernel refuses the table.
pub fn create(features: &[&str]) -> Result<()> {
    let sectors = VOLUME_BYTES / 512;
    let extent = EXTENT_BYTES / 512;
    let [metadata, source, clone] = ["metadata", "source", "clone"].map(by_serial);
    let mut table = format!("0 {sectors} restore {metadata} {source} {clone} {extent}");
    if !features.is_empty() {
        table += &format!(" {} {}", features.len(), features.join(" "));
    }
    shell::show(&["dmsetup", "create", NAME, "--table", &table]).map(drop)
}

/// Send the target a message.
///
/// # Errors
///
/// The target refuses it.
pub fn message(words: &[&str]) -> Result<()> {
    let mut command = vec!["dmsetup", "message", NAME, "0"];
    command.extend(words);
    shell::show(&command).map(drop)
}

/// Suspend: nothing is in flight to source or clone afterwards.
///
/// # Errors
///
/// As `dmsetup suspend`.
pub fn suspend() -> Result<()> {
    shell::show(&["dmsetup", "suspend", NAME]).map(drop)
}

/// Let requests flow again.
///
/// # Errors
///
/// As `dmsetup resume`.
pub fn resume() -> Result<()> {
    shell::show(&["dmsetup", "resume", NAME]).map(drop)
}

/// Remove the volume; the state stays in the metadata.
///
/// # Errors
///
/// As `dmsetup remove`.
pub fn remove() -> Result<()> {
    shell::show(&["dmsetup", "remove", NAME]).map(drop)
}

/// What the target says now.
///
/// # Errors
///
/// There is no volume, or its status cannot be read.
pub fn status() -> Result<Status> {
    let line = shell::run(&["dmsetup", "status", NAME])?;
    Status::parse(&line).with_context(|| format!("cannot read this status: {line}"))
}

/// Check that nothing failed so far.
///
/// # Errors
///
/// A request to clone, source or metadata failed.
pub fn healthy() -> Result<()> {
    let now = status()?;
    ensure!(
        now.errors == 0 && now.metadata == "rw",
        "requests failed: {now:?}"
    );
    Ok(())
}

/// Mount the file system of the volume. `discard`: freed blocks are discarded.
///
/// # Errors
///
/// As mount(8).
pub fn mount() -> Result<()> {
    shell::show(&["mount", "-o", "discard", PATH, crate::MOUNT]).map(drop)
}

/// Unmount it, and forget what the page cache holds of anything.
///
/// # Errors
///
/// As umount(8).
pub fn unmount() -> Result<()> {
    shell::show(&["umount", crate::MOUNT])?;
    forget_cache()
}

/// Drop the page cache, so that what is read next comes from the volume.
///
/// # Errors
///
/// `/proc` cannot be written.
pub fn forget_cache() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the page cache")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_line() {
        let line = "0 4194304 restore restoring copying 128 7/32768 3 5 2 0 1 0 1 no_copy \
                    10 copy_jobs 4 copy_size 2048 copy_rate 0 copy_min_rate 1024 metadata_patience 30 rw";
        let status = Status::parse(line).unwrap();
        assert_eq!(status.mode, "restoring");
        assert_eq!((status.delta, status.extents), (7, 32768));
        assert_eq!(
            (status.protected, status.restored, status.errors),
            (3, 5, 1)
        );
        assert_eq!(status.metadata, "rw");
        assert_eq!(Status::parse("0 8 linear"), None);
    }
}
