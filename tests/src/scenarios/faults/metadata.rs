// SPDX-License-Identifier: GPL-2.0

//! A metadata device that fails.

use super::super::{trial, with};
use super::unplugged::stand_in;
use super::{check_end, extent, on, part, try_write, LogCount, EXTENT};
use anyhow::{anyhow, ensure, Context, Result};
use dm_restore_engine::format::layout::Layout;
use dm_restore_engine::format::superblock::Superblock;
use dm_restore_engine::format::{BLOCK, BLOCK_SECTORS};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::io::Device;
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::maps;
use dm_restore_tests::model::{host_data, Content};
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::slice::Slice;
use dm_restore_tests::wait;
use libtest_mimic::Trial;
use std::ops::Range;

/// The metadata device is given up after a second.
fn spec() -> Spec {
    super::spec().core("metadata_patience", 1)
}

/// It is never given up while the device is in use.
fn patient() -> Spec {
    super::spec().core("metadata_patience", 3600)
}

/// One for each row of the manual's table.
pub fn trials() -> Vec<Trial> {
    let row =
        |name, scenario: fn() -> Result<()>| trial(format!("faults::metadata::{name}"), scenario);
    vec![
        row("gone_for_a_moment", gone_for_a_moment),
        row("gone_for_a_checkpoint", gone_for_a_checkpoint),
        row("gone_while_tracking", gone_while_tracking),
        row("gone_and_suspended", gone_and_suspended),
        row("gone_at_load", gone_at_load),
        row("gone_at_the_start", gone_at_the_start),
        row("gone_in_the_middle", gone_in_the_middle),
        row("gone_at_the_end", gone_at_the_end),
        row("gone_for_a_flush", gone_for_a_flush),
        row("gone_for_ever", gone_for_ever),
        row("gone_over_a_suspend", gone_over_a_suspend),
        row("gone_at_the_resume", gone_at_the_resume),
        row("bad_sector", bad_sector),
        row("error_once", error_once),
    ]
}

/// The metadata mode has become what `words` say, with one event.
fn becomes(rig: &Rig, words: &str, cause: impl FnOnce(&Rig) -> Result<()>) -> Result<()> {
    let before = rig.figures()?;
    let told = rig.event_after(before.events);
    cause(rig)?;
    told.join()??;
    rig.until(words)?;
    rig.expect_all_failed(&before, [false, false, true])?;
    rig.expect_events(&before, 1)
}

/// A write of the host that has to wait for the metadata device.
fn waiting_write(rig: &Rig, sectors: Range<u64>) -> Result<wait::Background<std::io::Result<()>>> {
    let host = rig.host()?;
    let data = host_data(sectors.clone(), 999);
    Ok(wait::background("a first touch", move || {
        host.write(sectors.start, &data)
    }))
}

/// Waits until the metadata device was tried a few times.
fn is_tried(rig: &Rig) -> Result<()> {
    let before = rig.status()?.metadata_errors;
    rig.status_when("the metadata device is tried again", |status| {
        status.metadata_errors >= before + 3
    })?;
    Ok(())
}

fn only_metadata_failed(rig: &Rig) -> Result<()> {
    let [clone, source, metadata] = rig.status()?.errors();
    ensure!(
        (clone, source) == (0, 0) && metadata > 0,
        "{:?}",
        rig.status()?
    );
    Ok(())
}

/// What waits for the metadata device, while reads and marked writes go on, and nothing else is to be
/// seen. Then it is back.
fn comes_back(rig: &mut Rig, waiting: wait::Background<std::io::Result<()>>) -> Result<()> {
    is_tried(rig)?;
    rig.check(extent(2).start..rig.spec.length)?;
    rig.write(part(0))?;
    rig.flush()?;
    rig.expect("tracking idle rw")?;
    ensure!(!waiting.is_done(), "the first touch has not waited");
    rig.metadata.heal()?;
    waiting.join()??;
    rig.expect("tracking idle rw")?;
    Ok(())
}

/// A path that fails over: nothing fails.
fn gone_for_a_moment() -> Result<()> {
    on(patient().features("format identical"), |rig| {
        rig.write(part(0))?;
        let before = rig.figures()?;
        let mut log = Log::from_now()?;
        rig.metadata.break_down()?;
        let waiting = waiting_write(rig, part(1))?;
        comes_back(rig, waiting)?;
        rig.tracker.written(part(1), Content::Host(999));
        only_metadata_failed(rig)?;
        rig.expect_events(&before, 0)?;
        let lines = log.lines()?;
        for words in ["metadata device fails", "metadata device works again"] {
            let own = format!("{}: {words}", rig.number());
            let count = lines.iter().filter(|line| line.contains(&own)).count();
            ensure!(count == 1, "{count} times '{words}': {lines:#?}");
        }
        rig.check_counts()?;
        rig.start_again("0")?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

/// The flushes of a checkpoint fail for a while, and what they should have covered may be lost: it is
/// all written anew.
fn gone_for_a_checkpoint() -> Result<()> {
    const TOUCHES: u64 = 200;
    let spec = Spec::new(Blocks::B512, 8)
        .length(8 * 4 * TOUCHES)
        .core("metadata_patience", 3600)
        .features("format identical");
    on(spec, |rig| {
        rig.write(part_of_small(0))?;
        let before = rig.figures()?;
        rig.metadata.break_flushes()?;
        // Each is a journal block. At a half of the journal's room a checkpoint comes.
        let host = rig.host()?;
        let waiting = wait::background("first touches", move || {
            (1..TOUCHES).try_for_each(|i| {
                let sectors = part_of_small(i);
                host.write(sectors.start, &host_data(sectors, 999))
            })
        });
        is_tried(rig)?;
        rig.write(part_of_small(0))?;
        rig.flush()?;
        let ran = rig.try_message("start_restore")?;
        ensure!(!ran.ok && ran.err.contains("busy"), "{ran:?}");
        ensure!(!waiting.is_done(), "no first touch has waited");
        rig.metadata.heal()?;
        waiting.join()??;
        for i in 1..TOUCHES {
            rig.tracker.written(part_of_small(i), Content::Host(999));
        }
        rig.expect("tracking idle rw")?;
        only_metadata_failed(rig)?;
        rig.expect_events(&before, 0)?;
        rig.check_counts()?;
        rig.start_again("0")?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

/// Sectors of every fourth extent of 8 sectors, never one behind another.
fn part_of_small(number: u64) -> Range<u64> {
    number * 32..number * 32 + 8
}

/// Whoever suspends the device does not wait for the whole patience.
fn gone_and_suspended() -> Result<()> {
    on(patient().features("format identical"), |rig| {
        rig.write(part(0))?;
        rig.metadata.break_down()?;
        let waiting = waiting_write(rig, part(1))?;
        is_tried(rig)?;
        let before = rig.figures()?;
        rig.suspend()?;
        rig.expect("tracking idle ro")?;
        rig.expect_events(&before, 1)?;
        expect_eio("a first touch", waiting.join()?)?;
        rig.resume()?;
        rig.write(part(0))?;
        rig.check(rig.all())?;
        rig.metadata.heal()?;
        rig.reload("0")?;
        rig.expect("tracking idle rw")?;
        rig.write(part(1))?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

/// First touches fail, everything else goes on; a reload puts it right.
fn gone_while_tracking() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(part(0))?;
        rig.metadata.break_down()?;
        let source = rig.source.moved()?;
        becomes(rig, "tracking idle ro", |rig| {
            expect_eio("a first touch", try_write(rig, part(1)))
        })?;
        ensure!(
            (rig.source.moved()? - source).written == 0,
            "it is on the source all the same"
        );
        rig.write(extent(0))?;
        rig.flush()?;
        rig.check(rig.all())?;
        rig.metadata.heal()?;
        expect_eio("a first touch before a reload", try_write(rig, part(1)))?;
        rig.suspend()?;
        let ran = rig.try_message("start_restore")?;
        rig.resume()?;
        ensure!(
            !ran.ok && ran.err.contains("Read-only file system"),
            "{ran:?}"
        );
        rig.reload("0")?;
        rig.expect("tracking idle rw")?;
        rig.write(part(1))?;
        // The touch that failed may have landed: one bit too many.
        rig.check(rig.all())
    })
}

/// No table can be made; none is damaged by the attempt.
fn gone_at_load() -> Result<()> {
    let mut rig = Rig::slices(spec().features("format"))?;
    for broken in [
        Slice::break_down,
        // Can be read, so that the first resume fails.
        Slice::break_writes,
    ] {
        broken(&rig.metadata)?;
        ensure!(rig.create().is_err(), "made without metadata");
        dm::run(&["remove", "--retry", &rig.name])?;
        rig.metadata.heal()?;
    }
    rig.create()?;
    rig.start_restore()?;
    rig.wait_restored()?;
    check_end(&mut rig)?;
    rig.close()
}

/// Whether a failed mode record has landed is unknown: reads go on, writes fail, until a reload
/// finds out.
fn gone_at_the_start() -> Result<()> {
    on(patient().features("format no_copy"), |rig| {
        rig.suspend()?;
        rig.metadata.break_down()?;
        becomes(rig, "tracking idle fail", |rig| {
            let ran = rig.try_message("start_restore")?;
            ensure!(!ran.ok, "a restore that is not durable has begun");
            Ok(())
        })?;
        rig.resume()?;
        rig.expect("tracking idle fail")?;
        rig.check(rig.all())?;
        expect_eio("a write", try_write(rig, part(0)))?;
        rig.metadata.heal()?;
        rig.reload("1 no_copy")?;
        rig.expect("tracking idle rw")?;
        rig.check(rig.all())?;
        rig.start_restore()?;
        rig.check(rig.all())
    })
}

/// What needs a record fails; what was flushed before is there after the reload.
fn gone_in_the_middle() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.write(part(0))?;
        rig.flush()?;
        rig.metadata.break_down()?;
        becomes(rig, "restoring stalled ro", |rig| {
            expect_eio("a first touch", try_write(rig, part(1)))
        })?;
        expect_eio("an overwrite", try_write(rig, extent(2)))?;
        rig.check(0..EXTENT)?;
        rig.check(extent(3).start..rig.spec.length)?;
        rig.write(16..24)?;
        rig.metadata.heal()?;
        rig.reload("1 no_copy")?;
        rig.expect("restoring paused rw")?;
        rig.check(rig.all())?;
        rig.resume_and_finish()?;
        rig.check(rig.all())
    })
}

/// It is unknown whether the restore is over: reads go on, writes fail, until a reload finds out.
fn gone_at_the_end() -> Result<()> {
    // One copy for all, so that its record comes with that of the end.
    on(
        Spec::new(Blocks::B512, EXTENT)
            .features("format no_copy")
            .core("metadata_patience", 1),
        |rig| {
            rig.start_restore()?;
            rig.metadata.break_down()?;
            becomes(rig, "restoring idle fail", |rig| rig.message("resume_copy"))?;
            rig.check(rig.all())?;
            expect_eio("a write", try_write(rig, part(0)))?;
            expect_eio("a flush", rig.host()?.flush())?;
            rig.metadata.heal()?;
            rig.reload("0")?;
            rig.wait_restored()?;
            rig.expect("tracking idle rw")?;
            check_end(rig)
        },
    )
}

/// A flush fails when the records of what it covers cannot be made durable.
fn gone_for_a_flush() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.metadata.break_down()?;
        becomes(rig, "restoring stalled ro", |rig| {
            rig.host()?.write(0, &host_data(extent(0), 1))?;
            expect_eio("a flush with a record to commit", rig.host()?.flush())
        })?;
        rig.tracker.written(extent(0), Content::Host(1));
        rig.check(rig.all())
    })
}

/// Nothing is tried again when the patience is over: the attempts for one journal block are all.
fn gone_for_ever() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(part(0))?;
        rig.metadata.break_down()?;
        let (before, log) = (rig.figures()?, LogCount::start()?);
        for i in 0..1000 {
            expect_eio("a first touch", try_write(rig, part(1 + i % 8)))?;
        }
        rig.expect("tracking idle ro")?;
        rig.suspend()?;
        rig.resume()?;
        rig.expect_all_failed(&before, [false, false, true])?;
        let failed = rig.status()?.metadata_errors - before.errors[2];
        // At once, after 50, 100, 200 and 400 ms, and at the end.
        ensure!((2..=6).contains(&failed), "{failed} requests");
        rig.expect_events(&before, 1)?;
        log.check(rig)?;
        rig.shut_down()?;
        ensure!(rig.create_with("0").is_err(), "made without metadata");
        drop(dm::run(&["remove", &rig.name])?);
        rig.metadata.heal()?;
        rig.create_with("0")?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

/// The suspension comes to its end; what could not be written is missing until a reload.
fn gone_over_a_suspend() -> Result<()> {
    on(patient().features("format identical"), |rig| {
        rig.write(part(0))?;
        rig.metadata.break_down()?;
        becomes(rig, "tracking idle ro", |rig| rig.suspend())?;
        rig.resume()?;
        rig.expect("tracking idle ro")?;
        rig.write(part(0))?;
        rig.flush()?;
        expect_eio("a first touch", try_write(rig, part(1)))?;
        rig.check(rig.all())?;
        rig.metadata.heal()?;
        rig.reload("0")?;
        rig.expect("tracking idle rw")?;
        rig.check_counts()?;
        rig.write(part(1))?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

/// Gone while suspended: the host's reads are not held up for that. It cannot write: the metadata says
/// that the shutdown was clean, and what the source holds then is compared at the next load.
fn gone_at_the_resume() -> Result<()> {
    on(patient().features("format identical"), |rig| {
        rig.write(part(0))?;
        rig.suspend()?;
        rig.metadata.break_down()?;
        becomes(rig, "tracking idle ro", |rig| rig.resume())?;
        rig.check(rig.all())?;
        expect_eio("a write", try_write(rig, part(0)))?;
        rig.flush()?;
        expect_eio("a first touch", try_write(rig, part(1)))?;
        rig.metadata.heal()?;
        rig.reload("0")?;
        rig.expect("tracking idle rw")?;
        rig.check_counts()?;
        rig.write(part(1))?;
        rig.check(rig.all())
    })
}

/// Where the next journal block goes, in sectors, when nothing was recorded since the resume.
fn next_journal_block(rig: &Rig, superblock: &Superblock) -> Range<u64> {
    let block = Layout::new(rig.spec.extents()).journal(superblock.tail);
    block * BLOCK_SECTORS..(block + 1) * BLOCK_SECTORS
}

/// A block of the journal cannot be written.
fn bad_sector() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        let superblock = maps::read(&rig.metadata.part)?.superblock;
        rig.metadata
            .break_sectors(next_journal_block(rig, &superblock))?;
        becomes(rig, "tracking idle ro", |rig| {
            expect_eio("a first touch", try_write(rig, part(1)))
        })?;
        rig.check(rig.all())?;
        rig.metadata.heal()?;
        rig.reload("0")?;
        rig.write(part(1))?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

/// A write that fails once is repeated: it is counted, and that is all.
fn error_once() -> Result<()> {
    let mut rig = Rig::slices(spec().features("format identical"))?;
    let plug = stand_in(&mut rig.metadata)?;
    rig.create()?;
    let blocks = Device::open_read_only(&plug.path())?.read(0..2 * BLOCK_SECTORS)?;
    let (first, second) = blocks.split_at(BLOCK);
    let superblock = Superblock::find(first.try_into()?, second.try_into()?, || true)
        .map_err(|refusal| anyhow!("{refusal:?}"))?
        .context("not formatted")?;
    plug.fail_once(next_journal_block(&rig, &superblock))?;
    with(rig, |rig| {
        let before = rig.figures()?;
        rig.write(part(1))?;
        let status = rig.expect("tracking idle rw")?;
        ensure!(status.errors() == [0, 0, 1], "{status:?}");
        rig.expect_events(&before, 0)?;
        rig.check_counts()?;
        rig.start_again("0")?;
        rig.check_counts()?;
        rig.check(rig.all())?;
        rig.shut_down()
    })
}
