// SPDX-License-Identifier: GPL-2.0

//! A crash of the machine, as far as one can be had without one: what is on the disks at an
//! instant is taken up by another device. Nothing that a disk has accepted is lost.

use super::disks::{self, Part};
use super::forge;
use super::io::Device;
use super::maps::Blocks;
use super::requests::parts;
use super::rig::Rig;
use anyhow::Result;

impl Rig {
    /// Crashes: shuts this device down and makes another one over the same source and what was
    /// on the metadata device before. Only while nothing is copied in the background.
    pub fn crash(mut self) -> Result<Rig> {
        self.metadata.hold()?;
        let copy = copy_metadata(&self.metadata.part);
        self.metadata.release()?;
        let copy = copy?;
        self.shut_down()?;
        let (spec, tracker) = (self.spec.clone(), self.tracker.clone());
        let (source, clone) = (self.source.part.clone(), self.clone.part.clone());
        self.close()?;
        revive(spec, source, clone, copy, tracker)
    }

    /// Crashes in the middle of anything: source and metadata are both taken as they are at one
    /// instant, and this device goes on. The copy has another UUID.
    pub fn crash_copy(&self) -> Result<Rig> {
        // The source first: what is on the metadata device later must not need anything that is
        // not on the source yet.
        self.source.hold()?;
        let held = self.metadata.hold();
        let copies = held.and_then(|()| {
            Ok((
                copy_data(&self.source.part)?,
                copy_metadata(&self.metadata.part)?,
            ))
        });
        self.metadata.release()?;
        self.source.release()?;
        let (source, metadata) = copies?;
        let blocks = Blocks::open(&metadata)?;
        blocks.write_all(&forge::renamed(blocks.read_all()?, 0))?;
        revive(
            self.spec.clone(),
            source,
            self.clone.part.clone(),
            metadata,
            self.tracker.clone(),
        )
    }
}

fn revive(
    spec: super::rig::Spec,
    source: Part,
    clone: Part,
    metadata: Part,
    tracker: super::tracker::Tracker,
) -> Result<Rig> {
    let mut rig = Rig::assemble(spec, source, clone, metadata, tracker)?;
    rig.create()?;
    Ok(rig)
}

/// Copies metadata to a fresh part of the same disk.
pub fn copy_metadata(from: &Part) -> Result<Part> {
    let to = disks::take_metadata(from.blocks, from.sectors)?;
    Blocks::open(&to)?.write_all(&Blocks::open(from)?.read_all()?)?;
    Ok(to)
}

fn copy_data(from: &Part) -> Result<Part> {
    let (to, _) = disks::take_data(from.blocks, from.sectors, false)?;
    let disk = Device::open(&from.path())?;
    for part in parts(0..from.sectors) {
        let data = disk.read(from.start + part.start..from.start + part.end)?;
        disk.write(to.start + part.start, &data)?;
    }
    Ok(to)
}
