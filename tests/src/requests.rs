// SPDX-License-Identifier: GPL-2.0

//! Requests of the host on a rig, with what must become of them noted. Sectors count from the
//! target's start.

use super::io::{Device, LARGEST_REQUEST};
use super::model::Content;
use super::rig::Rig;
use anyhow::{Context, Result};
use std::ops::Range;

/// A device, seen from where the target starts.
pub struct Host {
    device: Device,
    start: u64,
}

impl Host {
    fn at(&self, sectors: &Range<u64>) -> Range<u64> {
        self.start + sectors.start..self.start + sectors.end
    }

    /// Reads.
    pub fn read(&self, sectors: Range<u64>) -> std::io::Result<super::io::Buffer> {
        self.device.read(self.at(&sectors))
    }

    /// Writes.
    pub fn write(&self, sector: u64, data: &[u8]) -> std::io::Result<()> {
        self.device.write(self.start + sector, data)
    }

    /// Writes with FUA.
    pub fn write_fua(&self, sector: u64, data: &[u8]) -> std::io::Result<()> {
        self.device.write_fua(self.start + sector, data)
    }

    /// Write zeroes.
    pub fn zero(&self, sectors: Range<u64>) -> std::io::Result<()> {
        self.device.zero(self.at(&sectors))
    }

    /// Discards.
    pub fn discard(&self, sectors: Range<u64>) -> Result<()> {
        self.device.discard(self.at(&sectors))
    }

    /// Flush.
    pub fn flush(&self) -> std::io::Result<()> {
        self.device.flush()
    }
}

impl Rig {
    /// A handle for requests whose outcome is not noted, also for other threads.
    pub fn host(&self) -> Result<Host> {
        Ok(Host {
            device: self.device()?.again()?,
            start: self.spec.table_start,
        })
    }

    /// Every sector of the device.
    pub fn all(&self) -> Range<u64> {
        0..self.spec.length
    }

    /// The sectors of an extent.
    pub fn extent(&self, extent: u64) -> Range<u64> {
        self.tracker.sectors_of(extent)
    }

    /// Reads and compares with what must be there.
    pub fn check(&self, sectors: Range<u64>) -> Result<()> {
        let host = self.host()?;
        for part in parts(sectors) {
            let data = host
                .read(part.clone())
                .with_context(|| format!("read of {part:?}"))?;
            self.tracker.model.check(part, &data)?;
        }
        Ok(())
    }

    /// Writes.
    pub fn write(&mut self, sectors: Range<u64>) -> Result<()> {
        let (data, content) = self.tracker.model.next_write(sectors.clone());
        self.host()?
            .write(sectors.start, &data)
            .with_context(|| format!("write of {sectors:?}"))?;
        self.tracker.written(sectors, content);
        Ok(())
    }

    /// Writes with FUA.
    pub fn write_fua(&mut self, sectors: Range<u64>) -> Result<()> {
        let (data, content) = self.tracker.model.next_write(sectors.clone());
        let done = self.host()?.write_fua(sectors.start, &data);
        done.with_context(|| format!("FUA write of {sectors:?}"))?;
        self.tracker.written(sectors, content);
        Ok(())
    }

    /// Write zeroes.
    pub fn zero(&mut self, sectors: Range<u64>) -> Result<()> {
        self.host()?
            .zero(sectors.clone())
            .with_context(|| format!("zeroes on {sectors:?}"))?;
        self.tracker.written(sectors, Content::Zero);
        Ok(())
    }

    /// Discards.
    pub fn discard(&mut self, sectors: Range<u64>) -> Result<()> {
        self.host()?.discard(sectors.clone())?;
        self.tracker.discarded(sectors);
        Ok(())
    }

    /// Flush.
    pub fn flush(&self) -> Result<()> {
        self.host()?.flush().context("flush")
    }

    /// Checks that the target counts as many bits as must be set. Only while nothing is copied in
    /// the background.
    pub fn check_counts(&self) -> Result<()> {
        let status = self.status()?;
        let expected = (self.tracker.cdm.len() as u64, self.tracker.prm.len() as u64);
        anyhow::ensure!(
            (status.cdm, status.prm) == expected,
            "bits set in (CDM, PRM) are {:?}, must be {expected:?}: {status:?}",
            (status.cdm, status.prm)
        );
        Ok(())
    }
}

/// `sectors` in pieces that fit into one request.
pub fn parts(sectors: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = sectors.end;
    sectors
        .step_by(LARGEST_REQUEST as usize)
        .map(move |at| at..(at + LARGEST_REQUEST).min(end))
}
