// SPDX-License-Identifier: GPL-2.0

//! Devices that fail: only the requests that needed them are hurt, it is counted and told, and it
//! goes on when the device is back.

use super::{on, trial};
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::model::host_data;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::status::Status;
use dm_restore_tests::wait::{self, Background};
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("faults::clone::bad_extent_is_passed_over", bad_clone_extent),
        trial("faults::clone::gone_and_back", clone_gone),
        trial(
            "faults::clone::copy_for_a_write_fails",
            copy_for_write_fails,
        ),
        trial(
            "faults::source::bad_extent_is_passed_over",
            bad_source_extent,
        ),
        trial("faults::source::flush_fails", flush_fails),
        trial(
            "faults::source::flush_of_copies_fails",
            flush_of_copies_fails,
        ),
        trial(
            "faults::metadata::gone_while_tracking",
            metadata_gone_tracking,
        ),
        trial(
            "faults::metadata::gone_while_restoring",
            metadata_gone_restoring,
        ),
        trial("faults::metadata::gone_for_a_flush", flush_without_metadata),
        trial(
            "faults::metadata::gone_for_a_mode_record",
            mode_record_fails,
        ),
    ]
}

const EXTENT: u64 = 128;

fn spec() -> Spec {
    Spec::new(Blocks::B512, EXTENT)
}

/// Waits until the status is as wanted.
fn status_when(rig: &Rig, what: &str, is: impl Fn(&Status) -> bool) -> Result<Status> {
    let mut last = None;
    let found = wait::until(what, || {
        let status = rig.status()?;
        let wanted = is(&status);
        last = Some(status.clone());
        Ok(wanted.then_some(status))
    });
    found.with_context(|| format!("last was {last:?}"))
}

/// `dmsetup wait` for the next event.
fn next_event(rig: &Rig) -> Result<Background<Result<String>>> {
    let info = dm::ok(&[
        "info",
        "--columns",
        "--noheadings",
        "--options",
        "events",
        &rig.name,
    ])?;
    let (name, number) = (rig.name.clone(), info.trim().to_string());
    Ok(wait::background("dmsetup wait", move || {
        dm::ok(&["wait", &name, &number])
    }))
}

fn bad_clone_extent() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.clone.break_sectors(3 * EXTENT + 8..3 * EXTENT + 16)?;
        expect_eio(
            "a read of the bad sectors",
            rig.host()?.read(3 * EXTENT + 8..3 * EXTENT + 16),
        )?;
        rig.check(3 * EXTENT..3 * EXTENT + 8)?;
        rig.check(0..3 * EXTENT)?;
        let stalled = next_event(rig)?;
        rig.message("resume_copy")?;
        stalled.join()??;
        let status = status_when(rig, "all but one extent are restored", |status| {
            status.cdm == 1
        })?;
        ensure!(
            status.restored == rig.spec.extents() - 1 && status.clone_errors > 0,
            "{status:?}"
        );
        let status = status_when(rig, "the copy is stalled", |status| {
            status.activity == "stalled"
        })?;
        ensure!(
            (status.source_errors, status.metadata_errors) == (0, 0),
            "{status:?}"
        );
        rig.check(4 * EXTENT..rig.spec.length)?;
        rig.clone.heal()?;
        rig.wait_restored()?;
        rig.check_counts()?;
        rig.check(rig.all())?;
        rig.shut_down()?;
        rig.check_maps_against_disks().map(drop)
    })
}

fn clone_gone() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.write(0..EXTENT)?;
        rig.clone.break_down()?;
        let stalled = next_event(rig)?;
        rig.message("resume_copy")?;
        stalled.join()??;
        let status = status_when(rig, "the copy is stalled", |status| {
            status.activity == "stalled"
        })?;
        ensure!(
            status.clone_errors > 0 && status.mode == "restoring",
            "{status:?}"
        );
        // The host goes on where the clone is not needed, also with whole extents.
        rig.check(0..EXTENT)?;
        rig.write(2 * EXTENT..3 * EXTENT)?;
        rig.check(2 * EXTENT..3 * EXTENT)?;
        rig.flush()?;
        let recovered = next_event(rig)?;
        rig.clone.heal()?;
        recovered.join()??;
        rig.wait_restored()?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn copy_for_write_fails() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.clone.break_sectors(EXTENT..EXTENT + 8)?;
        let before = rig.status()?;
        expect_eio(
            "a write whose copy fails",
            rig.host()?
                .write(EXTENT + 64, &host_data(EXTENT + 64..EXTENT + 72, 1)),
        )?;
        let after = rig.status()?;
        ensure!(
            (after.cdm, after.prm, after.restored) == (before.cdm, before.prm, 0),
            "{after:?}"
        );
        ensure!(
            after.clone_errors > 0,
            "the error is not counted: {after:?}"
        );
        rig.check(EXTENT + 8..2 * EXTENT)?;
        rig.write(0..8)?;
        rig.clone.heal()?;
        rig.write(EXTENT + 64..EXTENT + 72)?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn bad_source_extent() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.source.break_sectors(3 * EXTENT + 8..3 * EXTENT + 16)?;
        let stalled = next_event(rig)?;
        rig.message("resume_copy")?;
        stalled.join()??;
        let status = status_when(rig, "all but one extent are restored", |status| {
            status.cdm == 1
        })?;
        ensure!(
            status.source_errors > 0 && status.clone_errors == 0,
            "{status:?}"
        );
        // It still reads as the clone.
        rig.check(rig.all())?;
        rig.source.heal()?;
        rig.wait_restored()?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn flush_fails() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(0..8)?;
        rig.source.break_writes()?;
        expect_eio("a flush", rig.host()?.flush())?;
        rig.source.heal()?;
        rig.flush()?;
        rig.check(rig.all())
    })
}

/// Copies that no flush has made durable are not restored: when the flush fails they are copied
/// again, and what the host wrote stays.
fn flush_of_copies_fails() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.write(EXTENT..2 * EXTENT)?;
        rig.flush()?;
        rig.write(3 * EXTENT..4 * EXTENT)?;
        rig.source.break_writes()?;
        expect_eio("a flush", rig.host()?.flush())?;
        rig.source.heal()?;
        // The target may have tried a flush of its own meanwhile: the host is told by one more.
        drop(rig.host()?.flush());
        // What was flushed stays; the extent behind the failed flush may be either, but not both.
        rig.check(0..3 * EXTENT)?;
        rig.check(4 * EXTENT..rig.spec.length)?;
        // The host's answer to a failed flush: write again.
        rig.write(3 * EXTENT..4 * EXTENT)?;
        rig.resume_and_finish()?;
        rig.flush()?;
        rig.check(rig.all())?;
        rig.start_again("0")?;
        rig.check(rig.all())?;
        rig.shut_down()?;
        rig.check_maps_against_disks().map(drop)
    })
}

/// First touches fail, everything else goes on; a reload puts it right.
fn metadata_gone_tracking() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(0..8)?;
        rig.metadata.break_down()?;
        let changed = next_event(rig)?;
        let source = rig.source.moved()?;
        expect_eio(
            "a first touch",
            rig.host()?.write(EXTENT, &host_data(EXTENT..EXTENT + 8, 9)),
        )?;
        changed.join()??;
        ensure!(
            (rig.source.moved()? - source).written == 0,
            "it is on the source all the same"
        );
        let status = rig.status()?;
        ensure!(
            status.metadata_mode == "ro" && status.metadata_errors > 0,
            "{status:?}"
        );
        rig.write(8..16)?;
        rig.flush()?;
        rig.check(rig.all())?;
        rig.metadata.heal()?;
        expect_eio(
            "a first touch before a reload",
            rig.host()?.write(EXTENT, &host_data(EXTENT..EXTENT + 8, 9)),
        )?;
        rig.suspend()?;
        let ran = rig.try_message("start_restore")?;
        rig.resume()?;
        ensure!(
            !ran.ok && ran.err.contains("Read-only file system"),
            "{ran:?}"
        );
        rig.reload("0")?;
        ensure!(rig.status()?.metadata_mode == "rw", "{:?}", rig.status()?);
        rig.write(EXTENT..EXTENT + 8)?;
        rig.check(rig.all())
    })
}

/// What needs a record fails; what was flushed before is there after the reload.
fn metadata_gone_restoring() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.write(0..8)?;
        rig.flush()?;
        rig.metadata.break_down()?;
        let touch = rig.host()?.write(EXTENT, &host_data(EXTENT..EXTENT + 8, 9));
        expect_eio("a first touch", touch)?;
        let status = status_when(rig, "metadata is read-only", |status| {
            status.metadata_mode == "ro"
        })?;
        ensure!(status.metadata_errors > 0, "{status:?}");
        let overwrite = rig
            .host()?
            .write(2 * EXTENT, &host_data(2 * EXTENT..3 * EXTENT, 9));
        expect_eio("an overwrite", overwrite)?;
        rig.check(0..EXTENT)?;
        rig.check(3 * EXTENT..rig.spec.length)?;
        rig.write(16..24)?;
        rig.metadata.heal()?;
        rig.reload("1 no_copy")?;
        ensure!(rig.status()?.metadata_mode == "rw", "{:?}", rig.status()?);
        rig.check(rig.all())?;
        rig.resume_and_finish()?;
        rig.check(rig.all())
    })
}

/// A flush fails when the records of what it covers cannot be made durable.
fn flush_without_metadata() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.metadata.break_down()?;
        rig.write(EXTENT..2 * EXTENT)?;
        expect_eio("a flush with a record to commit", rig.host()?.flush())?;
        let status = status_when(rig, "metadata is read-only", |status| {
            status.metadata_mode == "ro"
        })?;
        ensure!(status.metadata_errors > 0, "{status:?}");
        rig.check(rig.all())
    })
}

/// Whether a failed mode record has landed is unknown: reads go on, writes fail, until a reload
/// finds out.
fn mode_record_fails() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.suspend()?;
        rig.metadata.break_down()?;
        let ran = rig.try_message("start_restore")?;
        rig.resume()?;
        ensure!(!ran.ok, "a restore that is not durable has begun");
        let status = rig.status()?;
        ensure!(status.metadata_mode == "fail", "{status:?}");
        rig.check(rig.all())?;
        expect_eio("a write", rig.host()?.write(0, &host_data(0..8, 9)))?;
        rig.metadata.heal()?;
        rig.reload("1 no_copy")?;
        let status = rig.status()?;
        ensure!(
            (&*status.metadata_mode, &*status.mode) == ("rw", "tracking"),
            "{status:?}"
        );
        rig.check(rig.all())?;
        rig.start_restore()?;
        rig.check(rig.all())
    })
}
