// SPDX-License-Identifier: GPL-2.0

//! A clone that fails.

use super::super::trial;
use super::{
    all_else_is_restored, backs_off, begin_and_restore_two, check_end, comes_back, extent, on,
    part, spec, try_write, try_write_fua, LogCount, EXTENT,
};
use anyhow::{ensure, Result};
use dm_restore_tests::dm;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::rig::Rig;
use libtest_mimic::Trial;
use std::time::Instant;

/// One for each row of the manual's table.
pub fn trials() -> Vec<Trial> {
    let row =
        |name, scenario: fn() -> Result<()>| trial(format!("faults::clone::{name}"), scenario);
    vec![
        row("gone_while_tracking", gone_while_tracking),
        row("gone_at_load", gone_at_load),
        row("gone_at_the_start", gone_at_the_start),
        row("gone_in_the_middle", gone_in_the_middle),
        row("gone_at_the_end", gone_at_the_end),
        row("gone_while_paused", gone_while_paused),
        row("gone_over_a_suspend", gone_over_a_suspend),
        row("gone_for_ever", gone_for_ever),
        row("bad_sector", bad_sector),
        row("bad_sector_written_around", bad_sector_written_around),
        row("bad_sector_overwritten", bad_sector_overwritten),
    ]
}

/// The number of extents of these scenarios' devices.
const EXTENTS: u64 = 9;

/// With the clone gone and the extents from `first` on unrestored: each kind of request, and which
/// of them fail. Three extents are overwritten whole on the way.
fn only_what_needs_the_clone_fails(rig: &mut Rig, first: u64) -> Result<()> {
    let before = rig.status()?;
    let host = rig.host()?;
    let (bad, edge) = (part(first), extent(first).start);
    expect_eio("a redirected read", host.read(bad.clone()))?;
    if first > 0 {
        expect_eio("a read across", host.read(edge - 8..edge + 8))?;
        rig.check(0..edge)?;
    }
    expect_eio("a write to a part", try_write(rig, bad.clone()))?;
    expect_eio("a FUA write to a part", try_write_fua(rig, bad.clone()))?;
    expect_eio("zeroes on a part", host.zero(bad.clone()))?;
    let after = rig.status()?;
    ensure!(
        (before.cdm, before.prm) == (after.cdm, after.prm),
        "{after:?}"
    );

    // Nothing of what follows needs the clone.
    rig.discard(bad)?;
    rig.write(extent(first + 1))?;
    rig.write_fua(extent(first + 2))?;
    rig.zero(extent(first + 3))?;
    for restored in first + 1..first + 4 {
        rig.check(extent(restored))?;
        rig.write(part(restored))?;
        rig.discard(part(restored))?;
        rig.check(extent(restored))?;
    }
    rig.flush()?;
    rig.check_counts()
}

/// While tracking nobody asks for the clone.
fn gone_while_tracking() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.clone.break_down()?;
        let before = rig.figures()?;
        let read = rig.clone.moved()?;
        rig.write(extent(0))?;
        rig.write(part(1))?;
        rig.discard(extent(2))?;
        rig.flush()?;
        rig.check(rig.all())?;
        rig.suspend()?;
        rig.resume()?;
        rig.check_counts()?;
        rig.expect("tracking idle rw")?;
        rig.expect_no_errors(&before)?;
        rig.expect_events(&before, 0)?;
        ensure!(rig.clone.moved()? == read, "the clone was asked");
        Ok(())
    })
}

/// The samples cannot be compared: the table is refused, the live one stays in use.
fn gone_at_load() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        begin_and_restore_two(rig)?;
        rig.clone.break_down()?;
        let before = rig.figures()?;
        let ran = dm::run(&["load", &rig.name, "--table", &rig.table("1 no_copy")])?;
        ensure!(!ran.ok && ran.err.contains("Input/output error"), "{ran:?}");
        rig.expect("restoring paused rw")?;
        rig.expect_events(&before, 0)?;
        rig.check(0..2 * EXTENT)?;
        rig.shut_down()?;
        ensure!(rig.create_with("0").is_err(), "made without a clone");
        drop(dm::run(&["remove", &rig.name])?);
        rig.clone.heal()?;
        rig.create_with("0")?;
        rig.wait_restored()?;
        check_end(rig)
    })
}

fn gone_at_the_start() -> Result<()> {
    on(spec().features("format"), |rig| {
        rig.clone.break_down()?;
        let before = rig.figures()?;
        let told = rig.event_after(before.events);
        rig.start_restore()?;
        told.join()??;
        rig.until("restoring stalled rw")?;
        only_what_needs_the_clone_fails(rig, 0)?;
        rig.expect_all_failed(&before, [true, false, false])?;
        rig.expect_events(&before, 1)?;
        comes_back(rig, |rig| rig.clone.heal())
    })
}

fn gone_in_the_middle() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        begin_and_restore_two(rig)?;
        rig.clone.break_down()?;
        let before = rig.figures()?;
        let told = rig.event_after(before.events);
        rig.message("resume_copy")?;
        told.join()??;
        rig.until("restoring stalled rw")?;
        only_what_needs_the_clone_fails(rig, 2)?;
        rig.expect_all_failed(&before, [true, false, false])?;
        rig.expect_events(&before, 1)?;
        rig.suspend()?;
        rig.resume()?;
        comes_back(rig, |rig| rig.clone.heal())
    })
}

/// All but the last extent are restored.
fn gone_at_the_end() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        let last = EXTENTS - 1;
        rig.start_restore()?;
        rig.write(0..extent(last).start)?;
        rig.flush()?;
        rig.clone.break_down()?;
        let before = rig.figures()?;
        let told = rig.event_after(before.events);
        rig.message("resume_copy")?;
        told.join()??;
        let status = rig.until("restoring stalled rw")?;
        ensure!((status.cdm, status.restored) == (1, last), "{status:?}");
        expect_eio("a redirected read", rig.host()?.read(part(last)))?;
        rig.check(0..extent(last).start)?;
        rig.expect_all_failed(&before, [true, false, false])?;
        comes_back(rig, |rig| rig.clone.heal())
    })
}

/// A copy that is paused does not try.
fn gone_while_paused() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        begin_and_restore_two(rig)?;
        rig.clone.break_down()?;
        let before = rig.figures()?;
        only_what_needs_the_clone_fails(rig, 2)?;
        rig.expect("restoring paused rw")?;
        // Two reads, two writes and the zeroes to a part: each asked once.
        rig.expect_all_failed(&before, [true, false, false])?;
        let failed = rig.status()?.clone_errors - before.errors[0];
        ensure!(failed == 5, "{failed} requests, must be 5");
        rig.expect_events(&before, 0)?;
        rig.clone.heal()?;
        rig.resume_and_finish()?;
        check_end(rig)
    })
}

/// A restore begins without the clone; only who wants to look at it fails.
fn gone_over_a_suspend() -> Result<()> {
    on(spec().features("format"), |rig| {
        rig.suspend()?;
        rig.clone.break_down()?;
        let before = rig.figures()?;
        let ran = rig.try_message("assume_identical")?;
        ensure!(!ran.ok && ran.err.contains("Input/output error"), "{ran:?}");
        rig.check_counts()?;
        rig.expect_all_failed(&before, [true, false, false])?;
        rig.expect_events(&before, 0)?;
        rig.message("start_restore")?;
        let told = rig.event_after(before.events);
        rig.resume()?;
        rig.tracker.begin_restore();
        told.join()??;
        rig.until("restoring stalled rw")?;
        rig.suspend()?;
        rig.resume()?;
        rig.expect_all_failed(&before, [true, false, false])?;
        comes_back(rig, |rig| rig.clone.heal())
    })
}

/// The host's requests fail by thousands, the copy tries less and less often; nothing hangs and the
/// log is not flooded.
fn gone_for_ever() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.clone.break_down()?;
        let log = LogCount::start()?;
        rig.start_restore()?;
        // Reads of the samples have failed by now.
        let (before, since) = (rig.figures()?, Instant::now());
        rig.message("resume_copy")?;
        rig.until("restoring stalled rw")?;
        let host = rig.host()?;
        let of_host = 2000;
        for i in 0..of_host / 2 {
            expect_eio("a redirected read", host.read(part(i % EXTENTS)))?;
            expect_eio("a write to a part", try_write(rig, part(i % EXTENTS)))?;
        }
        // The extents one by one, and then one in each period of the back-off.
        drop(host);
        backs_off(rig, since, EXTENTS, |status| {
            status.clone_errors - before.errors[0] - of_host
        })?;
        rig.expect_all_failed(&before, [true, false, false])?;
        rig.expect_events(&before, 1)?;
        log.check(rig)?;
        rig.suspend()?;
        rig.resume()?;
        rig.shut_down()?;
        rig.clone.heal()?;
        rig.create_with("0")?;
        rig.wait_restored()?;
        check_end(rig)
    })
}

fn bad_sector() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.clone.break_sectors(part(3))?;
        expect_eio("a read of the bad sectors", rig.host()?.read(part(3)))?;
        rig.check(extent(3).start..part(3).start)?;
        rig.check(part(3).end..rig.spec.length)?;
        let before = rig.figures()?;
        let stalled = rig.event_after(before.events);
        rig.message("resume_copy")?;
        stalled.join()??;
        let status = all_else_is_restored(rig)?;
        let [clone, others @ ..] = status.errors();
        ensure!(clone > 0 && others == [0, 0], "{status:?}");
        rig.check(0..extent(3).start)?;
        rig.check(extent(4).start..rig.spec.length)?;
        rig.expect_events(&before, 1)?;
        comes_back(rig, |rig| rig.clone.heal())
    })
}

/// The copy that a write waits for fails: so does the write, and nothing has changed.
fn bad_sector_written_around() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.clone.break_sectors(part(1))?;
        let before = rig.status()?;
        let behind = part(1).end..part(1).end + 8;
        expect_eio(
            "a write beside the bad sectors",
            try_write(rig, behind.clone()),
        )?;
        let after = rig.expect("restoring paused rw")?;
        ensure!(
            (after.cdm, after.prm, after.restored) == (before.cdm, before.prm, 0),
            "{after:?}"
        );
        ensure!(after.errors() == [1, 0, 0], "{after:?}");
        rig.check(part(1).end..extent(1).end)?;
        rig.write(part(0))?;
        rig.clone.heal()?;
        rig.write(behind)?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

/// The way out when the sectors never come back: the host overwrites the extent, and the restore
/// ends.
fn bad_sector_overwritten() -> Result<()> {
    on(spec().features("format"), |rig| {
        rig.clone.break_sectors(part(3))?;
        let before = rig.figures()?;
        let told = rig.event_after(before.events);
        rig.start_restore()?;
        told.join()??;
        all_else_is_restored(rig)?;
        rig.write(extent(3))?;
        rig.wait_restored()?;
        rig.expect("tracking idle rw")?;
        rig.expect_events(&before, 2)?;
        check_end(rig)
    })
}
