// SPDX-License-Identifier: GPL-2.0

//! A file that is rewritten from its start, as a nightly export is: large aligned writes, which
//! cover whole extents and so need no copy from the clone.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};

use crate::files::{fill, Kind};

/// Parts of one MiB that the file has.
pub const PARTS: u64 = 32;
/// Size of a part: bytes.
const PART_BYTES: u64 = 1 << 20;

/// Where the file is.
pub fn path() -> PathBuf {
    Path::new(crate::MOUNT).join("export.raw")
}

fn part(number: u64, version: u64) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    fill(&mut bytes, Kind::Export, version * PARTS + number);
    bytes
}

/// Make the file, version 0.
///
/// # Errors
///
/// As the file system says.
pub fn create() -> Result<()> {
    let file = File::create(path())?;
    for number in 0..PARTS {
        file.write_all_at(&part(number, 0), number * PART_BYTES)?;
    }
    file.sync_all().context("cannot flush the export")
}

/// Overwrite one part with that of another version, durably.
///
/// # Errors
///
/// As the file system says.
pub fn rewrite(number: u64, version: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path())?;
    file.write_all_at(&part(number, version), number * PART_BYTES)?;
    file.sync_data().context("cannot flush the export")
}

/// Check that the first `rewritten` parts are of `version`, and the rest of version 0.
///
/// # Errors
///
/// The file is not as it should be.
pub fn verify(rewritten: u64, version: u64) -> Result<()> {
    let file = File::open(path())?;
    let mut found = vec![0; 1 << 20];
    for number in 0..PARTS {
        file.read_exact_at(&mut found, number * PART_BYTES)?;
        let version = if number < rewritten { version } else { 0 };
        ensure!(
            found == part(number, version),
            "part {number} of the export differs"
        );
    }
    Ok(())
}
