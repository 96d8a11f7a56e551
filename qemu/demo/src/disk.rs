// SPDX-License-Identifier: GPL-2.0

//! Disks: where they are, and how much the kernel says went through them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use rustix::fs::{major, minor};

/// The path of the virtio disk with this serial.
#[must_use]
pub fn by_serial(serial: &str) -> String {
    format!("/dev/disk/by-id/virtio-{serial}")
}

/// What `/sys/block/*/stat` counts: bytes and requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stat {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Bytes discarded.
    pub discarded: u64,
    /// Write and discard requests.
    pub changes: u64,
}

impl Stat {
    /// The counters of a block device since boot.
    ///
    /// # Errors
    ///
    /// There is no such device, or its statistics are not as documented.
    pub fn of(device: &str) -> Result<Self> {
        let node = fs::metadata(device).with_context(|| format!("no device {device}"))?;
        let (major, minor) = (major(node.rdev()), minor(node.rdev()));
        let file = format!("/sys/dev/block/{major}:{minor}/stat");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let words: Vec<u64> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let word = |index: usize| {
            let word = words.get(index).copied();
            word.with_context(|| format!("{file}: no word {index}"))
        };
        // Documentation/block/stat.rst; sectors are 512 bytes.
        Ok(Self {
            read: word(2)? * 512,
            written: word(6)? * 512,
            discarded: word(13)? * 512,
            changes: word(4)? + word(11)?,
        })
    }

    /// What happened between `earlier` and now.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            read: self.read - earlier.read,
            written: self.written - earlier.written,
            discarded: self.discarded - earlier.discarded,
            changes: self.changes - earlier.changes,
        }
    }
}
