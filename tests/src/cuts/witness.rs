// SPDX-License-Identifier: GPL-2.0

//! In the virtual machine: telling the witness.

use super::load::disk;
use super::record::Record;
use crate::io::{Buffer, Device};
use anyhow::Result;

/// Sectors from one lane to the next, so that the block layer does not join what two threads write.
const LANE: u64 = 64;

/// The witness's disk. Each thread has a lane of its own.
pub struct Witness {
    device: Device,
    sector: u64,
}

impl Witness {
    /// Opens the lane of whoever starts the others, which is the one behind theirs.
    pub fn open(others: u64) -> Result<Self> {
        let device = Device::open(&disk("witness"))?;
        let sector = (others + 1) * LANE;
        Ok(Self { device, sector })
    }

    /// Another lane.
    pub fn lane(&self, number: u64) -> Result<Self> {
        let (device, sector) = (self.device.again()?, number * LANE);
        Ok(Self { device, sector })
    }

    /// Tells it. When this returns, it was heard.
    pub fn say(&self, record: Record) -> Result<()> {
        let mut sector = Buffer::zeroed(1);
        let text = record.to_string();
        sector[..text.len()].copy_from_slice(text.as_bytes());
        Ok(self.device.write(self.sector, &sector)?)
    }
}
