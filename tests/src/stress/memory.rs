// SPDX-License-Identifier: GPL-2.0

//! A volume whose source is a disk of memory: it completes requests in the context of their submitter,
//! where the kernel may be preempted.

use crate::bench::brd::Disks;
use crate::disks::{self, Part};
use crate::io::Device;
use crate::requests::parts;
use crate::rig::{Rig, Spec};
use anyhow::{Context, Result};

/// A rig over a disk of memory, which must outlive it. One at a time.
///
/// # Errors
///
/// The disk, or the mapped device, cannot be made.
pub fn rig(spec: Spec) -> Result<(Rig, Disks)> {
    let (source, clone) = disks::take_data(spec.blocks, spec.length, false)?;
    let memory = Disks::new(1, source.start + source.sectors)?;
    let on_memory = Part {
        in_memory: true,
        ..source.clone()
    };
    let (from, to) = (
        Device::open(&source.path())?,
        Device::open(&on_memory.path())?,
    );
    for part in parts(source.start..source.start + source.sectors) {
        to.write(part.start, &from.read(part)?)?;
    }
    let mut rig = Rig::over(spec, on_memory, clone)?;
    rig.create().context("mapped device")?;
    Ok((rig, memory))
}
