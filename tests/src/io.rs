// SPDX-License-Identifier: GPL-2.0

//! Direct I/O on block devices, one request at a time.

use super::sh;
use anyhow::{Context, Result};
use rustix::fs::FallocateFlags;
use rustix::io::ReadWriteFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut, Range};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

const ALIGN: usize = 4096;
const SECTOR: u64 = 512;
/// What a write of data fits into as one request: the block layer takes 256 pages at a time.
pub const LARGEST_REQUEST: u64 = 2048;

/// Memory that direct I/O accepts.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// Zeros for so many sectors.
    pub fn zeroed(sectors: u64) -> Self {
        let len = (sectors * SECTOR) as usize;
        let bytes = vec![0; len + ALIGN];
        let start = bytes.as_ptr().align_offset(ALIGN);
        Self { bytes, start, len }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// An open block device. Ranges are in sectors.
pub struct Device {
    path: String,
    file: File,
}

impl Device {
    /// Opens a device for direct I/O.
    pub fn open(path: &str) -> Result<Self> {
        Self::open_as(path, true)
    }

    /// Opens a device that cannot be written.
    pub fn open_read_only(path: &str) -> Result<Self> {
        Self::open_as(path, false)
    }

    fn open_as(path: &str, write: bool) -> Result<Self> {
        let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
        let file = OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(direct)
            .open(path)
            .with_context(|| format!("{path} cannot be opened"))?;
        Ok(Self {
            path: path.to_string(),
            file,
        })
    }

    /// A second handle of the same device, for another thread.
    pub fn again(&self) -> Result<Self> {
        Ok(Self {
            path: self.path.clone(),
            file: self.file.try_clone()?,
        })
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads.
    pub fn read(&self, sectors: Range<u64>) -> io::Result<Buffer> {
        let mut buffer = Buffer::zeroed(sectors.end - sectors.start);
        self.file
            .read_exact_at(&mut buffer, sectors.start * SECTOR)?;
        Ok(buffer)
    }

    /// Writes.
    pub fn write(&self, sector: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, sector * SECTOR)
    }

    /// Writes with FUA. The kernel sends a flush after it.
    pub fn write_fua(&self, sector: u64, data: &[u8]) -> io::Result<()> {
        let at = sector * SECTOR;
        let done =
            rustix::io::pwritev2(&self.file, &[IoSlice::new(data)], at, ReadWriteFlags::DSYNC)?;
        if done == data.len() {
            Ok(())
        } else {
            Err(io::Error::other(format!("only {done} bytes written")))
        }
    }

    /// Write zeroes: one request, where the device can.
    pub fn zero(&self, sectors: Range<u64>) -> io::Result<()> {
        let mode = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        let len = sectors.end - sectors.start;
        Ok(rustix::fs::fallocate(
            &self.file,
            mode,
            sectors.start * SECTOR,
            len * SECTOR,
        )?)
    }

    /// Discards.
    pub fn discard(&self, sectors: Range<u64>) -> Result<()> {
        let offset = (sectors.start * SECTOR).to_string();
        let length = ((sectors.end - sectors.start) * SECTOR).to_string();
        sh::ok(
            "blkdiscard",
            &[
                "--force", "--offset", &offset, "--length", &length, &self.path,
            ],
        )
        .map(drop)
    }

    /// Flush.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
