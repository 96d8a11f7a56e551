// SPDX-License-Identifier: GPL-2.0

//! What a block device has moved, as the block layer counted it.

use anyhow::{bail, Context, Result};
use std::fs;
use std::ops::Sub;
use std::os::unix::fs::MetadataExt;

/// Figures since the device exists, or between two instants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Read requests.
    pub reads: u64,
    /// Sectors read.
    pub read: u64,
    /// Write requests, write zeroes and flushes counted.
    pub writes: u64,
    /// Sectors written, by write zeroes too.
    pub written: u64,
    /// Discards.
    pub discards: u64,
    /// Sectors discarded.
    pub discarded: u64,
}

impl Sub for Moved {
    type Output = Moved;
    fn sub(self, before: Moved) -> Moved {
        Moved {
            reads: self.reads - before.reads,
            read: self.read - before.read,
            writes: self.writes - before.writes,
            written: self.written - before.written,
            discards: self.discards - before.discards,
            discarded: self.discarded - before.discarded,
        }
    }
}

/// The folder of a device in sysfs, `/sys/dev/block/<major>:<minor>`.
pub fn sysfs(path: &str) -> Result<String> {
    let number = fs::metadata(path).with_context(|| path.to_string())?.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    Ok(format!("/sys/dev/block/{major}:{minor}"))
}

/// What the device in folder `sysfs` has moved.
pub fn moved(sysfs: &str) -> Result<Moved> {
    let figures = figures(sysfs)?;
    Ok(Moved {
        reads: figures[0],
        read: figures[2],
        writes: figures[4],
        written: figures[6],
        discards: figures[11],
        discarded: figures[13],
    })
}

fn figures(sysfs: &str) -> Result<Vec<u64>> {
    let line = fs::read_to_string(format!("{sysfs}/stat")).with_context(|| sysfs.to_string())?;
    let figures: Vec<u64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    if figures.len() < 15 {
        bail!("{sysfs}/stat is not understood: {line}");
    }
    Ok(figures)
}
