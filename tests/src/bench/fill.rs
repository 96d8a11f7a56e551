// SPDX-License-Identifier: GPL-2.0

//! Writing to a device before anything is timed.

use crate::io::{Buffer, Device};
use anyhow::{Context, Result};
use std::fs;

const MIB: u64 = super::MIB;

/// Size of a device in sectors.
pub fn sectors(path: &str) -> Result<u64> {
    let folder = crate::stats::sysfs(path)?;
    let size = fs::read_to_string(format!("{folder}/size")).with_context(|| folder.clone())?;
    Ok(size.trim().parse()?)
}

/// Writes all of a device, something else in each MiB.
pub fn whole(path: &str) -> Result<()> {
    range(path, 0, sectors(path)?)
}

/// Writes so many sectors from `start` on.
pub fn range(path: &str, start: u64, length: u64) -> Result<()> {
    let device = Device::open(path)?;
    let mut at = start;
    while at < start + length {
        let count = MIB.min(start + length - at);
        let mut data = Buffer::zeroed(count);
        let seed = u8::try_from((at / MIB) % 251)?;
        data.fill(seed + 1);
        device.write(at, &data).with_context(|| path.to_string())?;
        at += count;
    }
    Ok(device.flush()?)
}

/// Copies pieces, each its start and length in sectors, from one device to the same places of
/// another.
pub fn copy(from: &str, to: &str, pieces: impl IntoIterator<Item = (u64, u64)>) -> Result<()> {
    let (from, to) = (Device::open(from)?, Device::open(to)?);
    for (start, length) in pieces {
        let data = from.read(start..start + length)?;
        to.write(start, &data)
            .with_context(|| to.path().to_string())?;
    }
    Ok(to.flush()?)
}

/// Makes the start of a metadata device blank: targets format only that.
pub fn blank(path: &str) -> Result<()> {
    let device = Device::open(path)?;
    device.write(0, &Buffer::zeroed(MIB.min(sectors(path)?)))?;
    Ok(device.flush()?)
}
