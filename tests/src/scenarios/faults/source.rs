// SPDX-License-Identifier: GPL-2.0

//! A source that fails.

use super::super::trial;
use super::{
    all_else_is_restored, backs_off, begin_and_restore_two, check_end, comes_back, extent, on,
    part, spec, try_write, try_write_fua, LogCount, EXTENT,
};
use anyhow::{ensure, Result};
use dm_restore_tests::dm;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::io::Device;
use dm_restore_tests::model::host_data;
use dm_restore_tests::rig::Rig;
use dm_restore_tests::wait;
use libtest_mimic::Trial;
use std::time::Instant;

/// One for each row of the manual's table.
pub fn trials() -> Vec<Trial> {
    let row =
        |name, scenario: fn() -> Result<()>| trial(format!("faults::source::{name}"), scenario);
    vec![
        row("gone_while_tracking", gone_while_tracking),
        row("gone_at_the_start", gone_at_the_start),
        row("gone_in_the_middle", gone_in_the_middle),
        row("gone_at_the_end", gone_at_the_end),
        row("gone_for_ever", gone_for_ever),
        row("gone_over_a_suspend", gone_over_a_suspend),
        row("bad_sector_while_tracking", bad_sector_while_tracking),
        row("bad_sector", bad_sector),
        row("bad_sector_written_to", bad_sector_written_to),
        row("flush_fails_while_tracking", flush_fails_while_tracking),
        row("flush_fails", flush_fails),
        row("flush_fails_at_the_end", flush_fails_at_the_end),
        row("flush_fails_with_a_write", flush_fails_with_a_write),
    ]
}

const EXTENTS: u64 = 9;

/// With the source gone: what fails on an extent that the source holds.
fn source_is_gone(rig: &Rig, restored: u64) -> Result<()> {
    expect_eio("a read", rig.host()?.read(part(restored)))?;
    expect_eio("a write", try_write(rig, part(restored)))?;
    expect_eio("a FUA write", try_write_fua(rig, part(restored)))
}

/// With the source gone: on unrestored extents reads go on. Writes fail; of that of a whole extent,
/// which the source may have begun, a mark stays.
fn unrestored_can_be_read(rig: &mut Rig, unrestored: u64) -> Result<()> {
    let before = rig.status()?;
    rig.check(extent(unrestored).start..rig.spec.length)?;
    expect_eio("a write to a part", try_write(rig, part(unrestored)))?;
    let whole = extent(unrestored).start..extent(unrestored).end.min(rig.spec.length);
    expect_eio("a whole write", try_write(rig, whole))?;
    rig.check(extent(unrestored).start..rig.spec.length)?;
    let after = rig.status()?;
    ensure!(
        (after.cdm, after.prm) == (before.cdm, before.prm + 1),
        "{after:?}"
    );
    rig.tracker.prm.insert(unrestored);
    Ok(())
}

/// A first touch that fails leaves its mark: one bit too many.
fn gone_while_tracking() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(extent(0))?;
        rig.source.break_down()?;
        let before = rig.figures()?;
        source_is_gone(rig, 0)?;
        source_is_gone(rig, 1)?;
        rig.tracker.cdm.insert(1);
        expect_eio("a flush", rig.host()?.flush())?;
        rig.expect("tracking idle rw")?;
        rig.check_counts()?;
        rig.expect_all_failed(&before, [false, true, false])?;
        rig.expect_events(&before, 0)?;
        rig.source.heal()?;
        // It tells of what failed behind the last one.
        expect_eio("the next flush", rig.host()?.flush())?;
        rig.flush()?;
        rig.write(part(2))?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn gone_at_the_start() -> Result<()> {
    on(spec().features("format"), |rig| {
        rig.source.break_down()?;
        let before = rig.figures()?;
        let told = rig.event_after(before.events);
        rig.start_restore()?;
        told.join()??;
        rig.until("restoring stalled rw")?;
        unrestored_can_be_read(rig, 0)?;
        expect_eio("a flush", rig.host()?.flush())?;
        rig.expect_all_failed(&before, [false, true, false])?;
        rig.expect_events(&before, 1)?;
        comes_back(rig, |rig| rig.source.heal())
    })
}

fn gone_in_the_middle() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        begin_and_restore_two(rig)?;
        rig.source.break_down()?;
        let before = rig.figures()?;
        let told = rig.event_after(before.events);
        rig.message("resume_copy")?;
        told.join()??;
        rig.until("restoring stalled rw")?;
        source_is_gone(rig, 0)?;
        source_is_gone(rig, 1)?;
        unrestored_can_be_read(rig, 2)?;
        expect_eio("a flush", rig.host()?.flush())?;
        rig.expect_all_failed(&before, [false, true, false])?;
        rig.expect_events(&before, 1)?;
        comes_back(rig, |rig| rig.source.heal())
    })
}

/// All but the last extent are restored.
fn gone_at_the_end() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        let last = EXTENTS - 1;
        rig.start_restore()?;
        rig.write(0..extent(last).start)?;
        rig.flush()?;
        rig.source.break_down()?;
        let before = rig.figures()?;
        let told = rig.event_after(before.events);
        rig.message("resume_copy")?;
        told.join()??;
        let status = rig.until("restoring stalled rw")?;
        ensure!((status.cdm, status.restored) == (1, last), "{status:?}");
        source_is_gone(rig, 0)?;
        unrestored_can_be_read(rig, last)?;
        rig.expect_all_failed(&before, [false, true, false])?;
        comes_back(rig, |rig| rig.source.heal())
    })
}

fn gone_for_ever() -> Result<()> {
    on(spec().features("format"), |rig| {
        rig.source.break_down()?;
        let (before, log, since) = (rig.figures()?, LogCount::start()?, Instant::now());
        rig.start_restore()?;
        rig.until("restoring stalled rw")?;
        let of_host = 1000;
        for i in 0..of_host {
            expect_eio("a write to a part", try_write(rig, part(i % EXTENTS)))?;
        }
        backs_off(rig, since, EXTENTS, |status| {
            status.source_errors - before.errors[1] - of_host
        })?;
        rig.expect_all_failed(&before, [false, true, false])?;
        rig.expect_events(&before, 1)?;
        log.check(rig)?;
        rig.suspend()?;
        rig.resume()?;
        rig.shut_down()?;
        rig.create_with("0")?;
        rig.event_after(0).join()??;
        rig.expect("restoring stalled rw")?;
        comes_back(rig, |rig| rig.source.heal())
    })
}

/// What no flush has covered is put back, and the host's next flush tells of it.
fn gone_over_a_suspend() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        begin_and_restore_two(rig)?;
        rig.source.hold()?;
        // Its copy and the write wait with the device, which then fails the flush behind them.
        let write = {
            let host = rig.host()?;
            wait::background("write", move || {
                host.write(extent(3).start, &host_data(extent(3), 999))
            })
        };
        write.wait_submitted()?;
        rig.source.break_flushes()?;
        write.join()??;
        let before = rig.figures()?;
        rig.suspend()?;
        let status = rig.status()?;
        ensure!(status.source_errors > before.errors[1], "{status:?}");
        rig.resume()?;
        ensure!(rig.status()?.cdm == EXTENTS - 2, "{:?}", rig.status()?);
        rig.check(rig.all())?;
        rig.source.heal()?;
        expect_eio("the first flush afterwards", rig.host()?.flush())?;
        rig.flush()?;
        // An extent that was overwritten is still marked as the host's.
        rig.tracker.prm.insert(3);
        rig.resume_and_finish()?;
        check_end(rig)
    })
}

fn bad_sector_while_tracking() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.source.break_sectors(part(3))?;
        let before = rig.figures()?;
        expect_eio("a read", rig.host()?.read(part(3)))?;
        expect_eio("a write", try_write(rig, part(3)))?;
        rig.tracker.cdm.insert(3);
        rig.check(0..part(3).start)?;
        rig.write(part(3).end..extent(3).end)?;
        rig.write(extent(2))?;
        rig.flush()?;
        rig.check_counts()?;
        let status = rig.expect("tracking idle rw")?;
        ensure!(
            status.errors() == [0, before.errors[1] + 2, 0],
            "{status:?}"
        );
        rig.expect_events(&before, 0)?;
        rig.source.heal()?;
        rig.check(rig.all())
    })
}

fn bad_sector() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.source.break_sectors(part(3))?;
        let before = rig.figures()?;
        let stalled = rig.event_after(before.events);
        rig.message("resume_copy")?;
        stalled.join()??;
        let status = all_else_is_restored(rig)?;
        ensure!(
            status.source_errors > 0 && status.clone_errors == 0,
            "{status:?}"
        );
        // It still reads as the clone.
        rig.check(rig.all())?;
        rig.expect_events(&before, 1)?;
        comes_back(rig, |rig| rig.source.heal())
    })
}

/// Neither a write to a part nor an overwrite changes anything: the extent stays the clone's.
fn bad_sector_written_to() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.source.break_sectors(part(3))?;
        let before = rig.status()?;
        let behind = part(3).end..part(3).end + 8;
        expect_eio("a write beside the bad sectors", try_write(rig, behind))?;
        expect_eio("an overwrite", try_write(rig, extent(3)))?;
        let after = rig.expect("restoring paused rw")?;
        ensure!(
            (after.cdm, after.prm, after.restored) == (before.cdm, before.prm + 1, 0),
            "{after:?}"
        );
        // The device may have begun the overwrite.
        rig.tracker.prm.insert(3);
        ensure!(after.errors() == [0, 2, 0], "{after:?}");
        rig.check(rig.all())?;
        rig.write(extent(2))?;
        rig.source.heal()?;
        rig.resume_and_finish()?;
        check_end(rig)
    })
}

fn flush_fails_while_tracking() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(part(0))?;
        rig.source.break_flushes()?;
        let before = rig.figures()?;
        expect_eio("a flush", rig.host()?.flush())?;
        rig.write(part(1))?;
        rig.check(rig.all())?;
        let status = rig.expect("tracking idle rw")?;
        ensure!(status.errors() == [0, 1, 0], "{status:?}");
        rig.expect_events(&before, 0)?;
        rig.source.heal()?;
        // That one said nothing about what was written since.
        expect_eio("the next flush", rig.host()?.flush())?;
        rig.flush()?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

/// Copies that no flush has made durable are not restored: when the flush fails they are copied
/// again, and what the host wrote stays.
fn flush_fails() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.write(extent(1))?;
        rig.flush()?;
        rig.write(extent(3))?;
        rig.source.break_writes()?;
        expect_eio("a flush", rig.host()?.flush())?;
        rig.source.heal()?;
        // The target may have tried a flush of its own meanwhile: the host is told by one more.
        drop(rig.host()?.flush());
        // What was flushed stays; the extent behind the failed flush may be either, but not both.
        rig.check(0..extent(3).start)?;
        rig.check(extent(4).start..rig.spec.length)?;
        // The host's answer to a failed flush: write again.
        rig.write(extent(3))?;
        rig.resume_and_finish()?;
        rig.flush()?;
        rig.check(rig.all())?;
        rig.start_again("0")?;
        check_end(rig)
    })
}

/// Everything is copied, but the flush behind it fails: nothing of it counts.
fn flush_fails_at_the_end() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        begin_and_restore_two(rig)?;
        rig.source.break_flushes()?;
        let (before, since) = (rig.figures()?, Instant::now());
        let clone = rig.clone.moved()?;
        let told = rig.event_after(before.events);
        rig.message("resume_copy")?;
        told.join()??;
        rig.until("restoring stalled rw")?;
        rig.check(rig.all())?;
        // One flush at the end, one more at once, and then one in each period of the back-off.
        backs_off(rig, since, 2, |status| {
            status.source_errors - before.errors[1]
        })?;
        let copied = (rig.clone.moved()? - clone).read;
        ensure!(
            copied <= 2 * rig.spec.length,
            "copied again and again, though no flush succeeds: {copied} sectors"
        );
        let status = rig.status()?;
        ensure!(status.cdm == EXTENTS - 2, "{status:?}");
        rig.expect_events(&before, 1)?;
        comes_back(rig, |rig| rig.source.heal())
    })
}

/// A snapshot whose changes are kept on the mapped device commits by one write with flush and FUA,
/// as journals of file systems do. Device-mapper forgets the flush's error.
fn flush_fails_with_a_write() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.zero(extent(0))?;
        let snapshot = format!("{}-snapshot", rig.name);
        let (origin, changes) = (rig.clone.path(), rig.path());
        let table = format!("0 {EXTENT} snapshot {origin} {changes} P 8");
        dm::ok(&["create", &snapshot, "--table", &table])?;
        let device = Device::open(&dm::path(&snapshot))?;
        device.write(0, &host_data(0..8, 1))?;
        rig.source.break_flushes()?;
        let behind = device.write(8, &host_data(8..16, 1));
        drop(device);
        rig.source.heal()?;
        dm::ok(&["remove", "--retry", &snapshot])?;
        expect_eio("a commit whose flush has failed", behind)?;
        ensure!(rig.status()?.source_errors > 0, "{:?}", rig.status()?);
        // A write of this kind to a block device is followed by a flush: the next one tells of the loss.
        let next = rig.host()?.write_fua(part(5).start, &host_data(part(5), 1));
        expect_eio("the next flush", next)?;
        // Told once.
        rig.write_fua(part(5))?;
        rig.flush()?;
        rig.check(extent(5).start..rig.spec.length)
    })
}
