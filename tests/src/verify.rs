// SPDX-License-Identifier: GPL-2.0

//! That the maps never lie: where a bit is clear, source and clone are the same.

use super::disks::GIB;
use super::io::Device;
use super::maps;
use super::model::Content;
use super::requests::parts;
use super::rig::Rig;
use super::stamps::{self, BLOCK};
use anyhow::{ensure, Result};

impl Rig {
    /// Lets the background copy go and waits for the end of the restore.
    pub fn resume_and_finish(&mut self) -> Result<()> {
        self.message("resume_copy")?;
        self.wait_restored()
    }

    /// After a clean shutdown: compares source and clone wherever the maps call them the same, and
    /// returns how many extents that were.
    pub fn check_maps_against_disks(&self) -> Result<u64> {
        let found = maps::read(&self.metadata.part)?;
        let is_set = |extent: &u64| found.cdm.contains(extent) || found.prm.contains(extent);
        let source = Device::open(&self.source.part.path())?;
        let clone = Device::open_read_only(&self.clone.part.path())?;
        let mut compared = 0;
        for extent in (0..self.tracker.extents()).filter(|extent| !is_set(extent)) {
            if self.was_never_a_copy(extent) {
                continue;
            }
            // Of an extent of 1 GiB only the start: the rest is zeros on both.
            let first = self.extent(extent).start;
            for part in parts(self.extent(extent)).take_while(|part| part.start - first < GIB / 64)
            {
                let read = |device: &Device, at: u64| device.read(at + part.start..at + part.end);
                let ours = read(&source, self.source.part.start)?;
                let theirs = read(&clone, self.clone.part.start)?;
                compare(extent, part.start, &ours, &theirs)?;
            }
            compared += 1;
        }
        Ok(compared)
    }

    /// Source and clone were the same when they were called identical, and are no more: see
    /// [`Rig::create`]. An extent that was never touched holds the source's own content.
    fn was_never_a_copy(&self, extent: u64) -> bool {
        let is_first = |sector| self.tracker.model.at(sector) == Content::Source;
        self.spec.features.iter().any(|word| word == "identical")
            && self.extent(extent).all(is_first)
    }
}

fn compare(extent: u64, start: u64, ours: &[u8], theirs: &[u8]) -> Result<()> {
    let pairs = ours.chunks_exact(BLOCK).zip(theirs.chunks_exact(BLOCK));
    for (sector, (ours, theirs)) in (start..).zip(pairs) {
        ensure!(
            ours == theirs,
            "extent {extent} is called the same, but sector {sector} of the source holds {} and of the clone {}",
            stamps::read(ours),
            stamps::read(theirs)
        );
    }
    Ok(())
}
