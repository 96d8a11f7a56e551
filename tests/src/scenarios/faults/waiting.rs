// SPDX-License-Identifier: GPL-2.0

//! Devices that take seconds to answer, or do not answer at all for a while: what needs them waits,
//! nothing fails, and whatever waits goes on when they answer.

use super::super::trial;
use super::{begin_and_restore_two, check_end, extent, on, part, spec};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Disk;
use dm_restore_tests::dm;
use dm_restore_tests::model::host_data;
use dm_restore_tests::rig::{Rig, Slice};
use dm_restore_tests::wait::{self, Background};
use libtest_mimic::Trial;
use std::ops::Range;
use std::time::Duration;

/// Two for each device.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("faults::clone::slow", || slow(Disk::Clone, 2000)),
        trial("faults::source::slow", || slow(Disk::Source, 1200)),
        trial("faults::metadata::slow", || slow(Disk::Metadata, 1000)),
        trial("faults::clone::silent", || silent(Disk::Clone)),
        trial("faults::source::silent", || silent(Disk::Source)),
        trial("faults::metadata::silent", || silent(Disk::Metadata)),
    ]
}

fn slice(rig: &Rig, disk: Disk) -> &Slice {
    match disk {
        Disk::Source => &rig.source,
        Disk::Clone => &rig.clone,
        Disk::Metadata => &rig.metadata,
    }
}

/// Each request to the device takes long.
fn slow(disk: Disk, milliseconds: u64) -> Result<()> {
    on(
        spec().features("format no_copy").core("copy_jobs", 9),
        |rig| {
            begin_and_restore_two(rig)?;
            slice(rig, disk).slow_down(milliseconds)?;
            let before = rig.figures()?;
            rig.write(part(2))?;
            rig.write(extent(3))?;
            rig.flush()?;
            rig.check(extent(1).start..extent(5).end)?;
            rig.resume_and_finish()?;
            rig.expect("tracking idle rw")?;
            rig.expect_no_errors(&before)?;
            rig.expect_events(&before, 1)?;
            slice(rig, disk).heal()?;
            check_end(rig)
        },
    )
}

/// Long enough for what must not end, most of the time; never too long for what must wait.
const SILENCE: Duration = Duration::from_secs(2);

/// Runs something that must wait for the device.
fn waits_for<T: Send + 'static>(
    slice: &Slice,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    slice.hold()?;
    let waiting = wait::background(what, work);
    std::thread::sleep(SILENCE);
    let early = waiting.is_done();
    slice.release()?;
    let done = waiting.join()?;
    ensure!(!early, "{what} did not wait");
    Ok(done)
}

fn write(rig: &Rig, sectors: Range<u64>) -> Result<Background<std::io::Result<()>>> {
    let host = rig.host()?;
    Ok(wait::background("write", move || {
        host.write(sectors.start, &host_data(sectors, 999))
    }))
}

/// The device does not answer for seconds, while requests need it, and while the mapped device is
/// suspended, reloaded and removed.
fn silent(disk: Disk) -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        begin_and_restore_two(rig)?;
        let before = rig.figures()?;
        needed_by_requests(rig, disk)?;
        rig.expect_no_errors(&before)?;
        // Nothing is in flight: the clone is not needed for a suspension, the others are: the metadata
        // always, the source unless it is left alone (`--noflush`).
        if disk == Disk::Clone {
            rig.clone.hold()?;
            rig.suspend()?;
            rig.resume()?;
            rig.clone.release()?;
        }
        let (name, table) = (rig.name.clone(), rig.table("1 no_copy"));
        let load = move |words: &[&str]| {
            dm::ok(&["load", &name, "--table", &table])?;
            dm::ok(&[&["suspend", "--nolockfs"], words, &[&name]].concat())?;
            dm::ok(&["resume", &name])
        };
        if disk == Disk::Source {
            rig.source.hold()?;
            load(&["--noflush"])?;
            rig.source.release()?;
        }
        waits_for(slice(rig, disk), "a reload", move || load(&[]))??;
        rig.expect("restoring paused rw")?;
        rig.check(rig.all())?;
        removed_while_copying(rig, disk)?;
        rig.create_with("0")?;
        rig.wait_restored()?;
        rig.flush()?;
        check_end(rig)
    })
}

/// A request that needs the device waits, and so does a suspension; what does not need it goes on.
fn needed_by_requests(rig: &mut Rig, disk: Disk) -> Result<()> {
    let sectors = extent(5);
    let host = rig.host()?;
    let slice = slice(rig, disk);
    slice.hold()?;
    // A write to a part needs all three, the clone first.
    let blocked = match disk {
        Disk::Metadata => wait::background("flush", move || {
            host.write(sectors.start, &host_data(sectors, 999))?;
            host.flush()
        }),
        _ => write(rig, part(5))?,
    };
    blocked.wait_submitted()?;
    match disk {
        Disk::Clone => rig.check(0..extent(2).start)?,
        Disk::Source => rig.check(extent(2).start..extent(5).start)?,
        Disk::Metadata => rig.check(0..extent(5).start)?,
    }
    rig.status()?;
    let name = rig.name.clone();
    let suspend = wait::background("dmsetup suspend", move || {
        dm::ok(&["suspend", "--nolockfs", &name])
    });
    std::thread::sleep(SILENCE);
    let early = blocked.is_done() || suspend.is_done();
    slice.release()?;
    blocked.join()??;
    suspend.join()??;
    rig.resume()?;
    ensure!(!early, "a request or the suspension did not wait");
    let content = dm_restore_tests::model::Content::Host(999);
    let written = if disk == Disk::Metadata {
        extent(5)
    } else {
        part(5)
    };
    rig.tracker.written(written, content);
    rig.check_counts()
}

/// The device is removed while copies are under way that get no answer.
fn removed_while_copying(rig: &mut Rig, disk: Disk) -> Result<()> {
    slice(rig, disk).hold()?;
    rig.message("resume_copy")?;
    if disk == Disk::Metadata {
        rig.status_when("something is copied", |status| status.cdm < 6)?;
    } else {
        rig.status_when("a copy is under way", |status| status.copying > 0)?;
    }
    let name = rig.name.clone();
    rig.let_go();
    let remove = wait::background("dmsetup remove", move || {
        dm::ok(&["remove", "--retry", &name])
    });
    std::thread::sleep(SILENCE);
    let early = remove.is_done();
    slice(rig, disk).release()?;
    remove.join()??;
    ensure!(!early, "the removal did not wait");
    rig.was_removed();
    Ok(())
}
