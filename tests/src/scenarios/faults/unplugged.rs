// SPDX-License-Identifier: GPL-2.0

//! Disks that are pulled out in the middle of a restore and come back under another number: for
//! device-mapper the old ones stay dead, so the table has to be loaded anew.

use super::super::trial;
use super::{begin_and_restore_two, extent, part, spec, try_write};
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::Disk;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::io::Device;
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
    let path = plug.path();
    let (from, to) = (Device::open_read_only(&slice.path())?, Device::open(&path)?);
    for at in (0..slice.part.sectors).step_by(8) {
        let end = (at + 8).min(slice.part.sectors);
        to.write(at, &from.read(at..end)?)?;
    }
    slice.stand_in = Some(path);
    Ok(plug)
}

fn pulled_out_and_back(disk: Disk) -> Result<()> {
    let mut rig = Rig::slices(spec().features("format no_copy"))?;
    let plug = stand_in(slice(&mut rig, disk))?;
    rig.create()?;
    begin_and_restore_two(&mut rig)?;
    let before = rig.status()?;
    plug.pull_out()?;
    match disk {
        Disk::Clone => {
            expect_eio("a redirected read", rig.host()?.read(part(2)))?;
            rig.check(extent(0))?;
        }
        Disk::Source => {
            expect_eio("a read", rig.host()?.read(part(0)))?;
            rig.check(extent(2))?;
        }
        Disk::Metadata => {
            expect_eio("a write to a part", try_write(&rig, part(2)))?;
            rig.expect("restoring stalled ro")?;
            rig.check(rig.all())?;
        }
    }
    // What comes back must not have the number that device-mapper still knows.
    let other = Plug::new(&format!("{}-other", rig.name), 1)?;
    plug.plug_in()?;
    slice(&mut rig, disk).stand_in = Some(plug.path());
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
    // And once more, for good: it can be taken away.
    plug.pull_out()?;
    drop(other);
    rig.shut_down()?;
    rig.close()
}
