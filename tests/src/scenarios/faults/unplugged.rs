// SPDX-License-Identifier: GPL-2.0

//! Disks that are pulled out in the middle of a restore and come back as others: for device-mapper
//! the old ones stay dead, so the table has to be loaded anew.

use super::super::{trial, with};
use super::{begin_and_restore_two, extent, part, spec, try_write};
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::Disk;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::io::{Device, LARGEST_REQUEST};
use dm_restore_tests::plug::Plug;
use dm_restore_tests::rig::{Rig, Slice};
use libtest_mimic::Trial;

/// One for each device.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("faults::clone::unplugged_and_back", || {
            pulled_out_and_back(Disk::Clone)
        }),
        trial("faults::source::unplugged_and_back", || {
            pulled_out_and_back(Disk::Source)
        }),
        trial("faults::metadata::unplugged_and_back", || {
            pulled_out_and_back(Disk::Metadata)
        }),
    ]
}

fn slice(rig: &mut Rig, disk: Disk) -> &mut Slice {
    match disk {
        Disk::Source => &mut rig.source,
        Disk::Clone => &mut rig.clone,
        Disk::Metadata => &mut rig.metadata,
    }
}

/// A disk that stands in for a slice, with its content.
pub fn stand_in(slice: &mut Slice) -> Result<Plug> {
    let plug = Plug::new(&slice.name, slice.part.sectors)?;
    copy(&slice.path(), &plug, slice.part.sectors)?;
    slice.stand_in = Some(plug.path());
    Ok(plug)
}

fn copy(from: &str, to: &Plug, sectors: u64) -> Result<()> {
    let (from, to) = (Device::open_read_only(from)?, Device::open(&to.path())?);
    for at in (0..sectors).step_by(LARGEST_REQUEST as usize) {
        to.write(at, &from.read(at..(at + LARGEST_REQUEST).min(sectors))?)?;
    }
    Ok(())
}

fn pulled_out_and_back(disk: Disk) -> Result<()> {
    let spec = spec()
        .features("format no_copy")
        .core("metadata_patience", 1);
    let mut rig = Rig::slices(spec)?;
    let plug = stand_in(slice(&mut rig, disk))?;
    rig.create()?;
    begin_and_restore_two(&mut rig)?;
    with(rig, |rig| {
        let (before, dead) = (rig.status()?, plug.number()?);
        plug.pull_out()?;
        only_this_disk_fails(rig, disk)?;
        let back = comes_back_as_another(slice(rig, disk), &plug, dead)?;
        rig.reload("1 no_copy").context("reload")?;
        let status = rig.expect("restoring paused rw")?;
        ensure!(
            (status.cdm, status.restored) == (before.cdm, before.restored),
            "{before:?}, {status:?}"
        );
        rig.check(rig.all())?;
        rig.resume_and_finish()?;
        rig.check_counts()?;
        rig.check(rig.all())?;
        // Once more, and for good: it can be taken away.
        back.pull_out()?;
        rig.shut_down()
    })
}

fn only_this_disk_fails(rig: &Rig, disk: Disk) -> Result<()> {
    match disk {
        Disk::Clone => {
            expect_eio("a redirected read", rig.host()?.read(part(2)))?;
            rig.check(extent(0))
        }
        Disk::Source => {
            expect_eio("a read", rig.host()?.read(part(0)))?;
            rig.check(extent(2))
        }
        Disk::Metadata => {
            // The copy for it is made, but its mark cannot be.
            expect_eio("a write to a part", try_write(rig, part(2)))?;
            rig.expect("restoring stalled ro")?;
            rig.check(rig.all())
        }
    }
}

/// The disk is there again, under another name and number: device-mapper still knows the old ones.
fn comes_back_as_another(slice: &mut Slice, plug: &Plug, dead: u64) -> Result<Plug> {
    plug.plug_in()?;
    let other = |end| Plug::new(&format!("{}-{end}", slice.name), slice.part.sectors);
    let mut back = other("back")?;
    // Most often the first disk has its number again; not if another test has given up a lower one.
    if back.number()? == dead {
        back = other("back-again")?;
    }
    copy(&plug.path(), &back, slice.part.sectors)?;
    slice.stand_in = Some(back.path());
    Ok(back)
}
