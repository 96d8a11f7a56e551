// SPDX-License-Identifier: GPL-2.0

//! Disks that acknowledge writes and forget them. What a disk forgets and admits at the next flush
//! is nobody's loss. What it never admits is found if anything that was written later tells of it,
//! and else by nobody: these scenarios show where the line is.

use super::super::trial;
use super::{check_end, extent, on, part, spec, try_write_fua};
use anyhow::{ensure, Context, Result};
use dm_restore_engine::format::layout::{Layout, SUPERBLOCKS};
use dm_restore_engine::format::BLOCK_SECTORS;
use dm_restore_tests::crash::copy_metadata;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::maps::Blocks;
use dm_restore_tests::model::{host_data, Content};
use dm_restore_tests::refusal::Reasons;
use dm_restore_tests::rig::Rig;
use libtest_mimic::Trial;

/// One for each row of the manual's tables.
pub fn trials() -> Vec<Trial> {
    let row = |name, scenario: fn() -> Result<()>| trial(format!("faults::{name}"), scenario);
    vec![
        row("source::drops_writes_and_tells", source_tells),
        row("source::drops_and_tells_by_a_write", source_tells_by_fua),
        row("source::drops_writes", source_lies),
        row("metadata::drops_writes_and_tells", metadata_tells),
        row("metadata::drops_a_journal_block", journal_block),
        row("metadata::drops_a_map_block", map_block),
        row("metadata::drops_a_superblock", superblock),
        row("metadata::drops_everything", everything),
    ]
}

/// A write whose acknowledgement means nothing.
fn write_in_vain(rig: &Rig, sectors: std::ops::Range<u64>) -> Result<()> {
    Ok(rig.host()?.write(sectors.start, &host_data(sectors, 999))?)
}

/// Copies and writes that the source has dropped are undone when a flush fails.
fn source_tells() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.source.drop_writes_and_tell()?;
        write_in_vain(rig, part(1))?;
        write_in_vain(rig, extent(3))?;
        expect_eio("a flush", rig.host()?.flush())?;
        let status = rig.status()?;
        ensure!(
            status.cdm == status.extents && status.source_errors > 0,
            "{status:?}"
        );
        rig.check(rig.all())?;
        rig.source.heal()?;
        // The target may have tried a flush of its own meanwhile: the host is told by one more.
        drop(rig.host()?.flush());
        // The marks of the writes stay.
        rig.tracker.prm.extend([1, 3]);
        rig.resume_and_finish()?;
        check_end(rig)
    })
}

/// On a disk without FUA such a write is a write and a flush, and bears the flush's error.
fn source_tells_by_fua() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.write(extent(5))?;
        rig.flush()?;
        rig.source.drop_writes_and_tell_at(part(5))?;
        write_in_vain(rig, extent(3))?;
        expect_eio("a FUA write", try_write_fua(rig, part(5)))?;
        let status = rig.status()?;
        ensure!(
            status.cdm == status.extents - 1 && status.source_errors > 0,
            "{status:?}"
        );
        rig.source.heal()?;
        expect_eio("the next flush", rig.host()?.flush())?;
        rig.check(rig.all())?;
        // The marks of the writes stay.
        rig.tracker.prm.extend([3, 5]);
        rig.resume_and_finish()?;
        check_end(rig)
    })
}

/// Nothing tells that the copy came to nothing. Who learns of it by other means can repeat it.
fn source_lies() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.source.drop_writes()?;
        let before = rig.figures()?;
        rig.resume_and_finish()?;
        rig.expect("tracking idle rw")?;
        rig.expect_no_errors(&before)?;
        rig.source.heal()?;
        rig.tracker.model.set(rig.all(), Content::Source);
        rig.check(rig.all()).context("it was not dropped")?;

        rig.start_again("2 assume_different no_copy")?;
        rig.tracker.cdm = (0..rig.spec.extents()).collect();
        rig.start_restore()?;
        rig.resume_and_finish()?;
        check_end(rig)
    })
}

/// The superblock is written behind a flush. If that fails, it is not written, and what it would
/// have named is not needed.
fn metadata_tells() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(part(0))?;
        rig.metadata.drop_writes_and_tell()?;
        let before = rig.figures()?;
        rig.suspend()?;
        rig.resume()?;
        rig.expect("tracking idle ro")?;
        rig.expect_events(&before, 1)?;
        rig.check(rig.all())?;
        rig.metadata.heal()?;
        rig.reload("0")?;
        rig.expect("tracking idle rw")?;
        rig.check_counts()
    })
}

/// What would be found after a crash at this instant.
fn image(rig: &Rig) -> Result<Vec<u8>> {
    let copy = copy_metadata(&rig.metadata.part)?;
    Blocks::open(&copy)?.read_all()
}

/// Shuts down, which writes everything anew and so makes up for what was dropped; then the crash
/// is tried: what it would have left is refused for this reason.
fn made_up_for_or_refused(rig: &mut Rig, crashed: &[u8], reason: &str) -> Result<()> {
    rig.start_again("0").context("after a clean shutdown")?;
    rig.check_counts()?;
    rig.check(rig.all())?;
    rig.shut_down()?;
    refused(rig, crashed, reason)
}

fn refused(rig: &mut Rig, metadata: &[u8], reason: &str) -> Result<()> {
    Blocks::open(&rig.metadata.part)?.write_all(metadata)?;
    let mut reasons = Reasons::default();
    reasons.table(rig, reason, &rig.table("0"), reason);
    reasons.check(1)
}

/// Later blocks name the one before them.
fn journal_block() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(part(0))?;
        rig.metadata.drop_writes()?;
        rig.write(part(1))?;
        rig.metadata.heal()?;
        rig.write(part(2))?;
        let crashed = image(rig)?;
        made_up_for_or_refused(
            rig,
            &crashed,
            "journal has a damaged block before valid ones",
        )
    })
}

/// The slot table has its checksum.
fn map_block() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(part(0))?;
        let first = Layout::new(rig.spec.extents()).map(0, 0) * BLOCK_SECTORS;
        rig.metadata
            .drop_writes_to(first..rig.metadata.part.sectors)?;
        rig.shut_down()?;
        rig.metadata.heal()?;
        let left = image(rig)?;
        refused(rig, &left, "map block is damaged")
    })
}

/// Superblocks are written in turn and number themselves.
fn superblock() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(part(0))?;
        rig.metadata
            .drop_writes_to(0..SUPERBLOCKS * BLOCK_SECTORS)?;
        rig.suspend()?;
        rig.metadata.heal()?;
        rig.resume()?;
        let crashed = image(rig)?;
        made_up_for_or_refused(rig, &crashed, "superblocks do not follow one another")
    })
}

/// If nothing of what came later is there either, an older state is found, and it is complete:
/// nobody can tell. Who learns of it by other means must say so.
fn everything() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(part(0))?;
        rig.flush()?;
        rig.metadata.drop_writes()?;
        rig.write(part(1))?;
        rig.flush()?;
        rig.check_counts()?;
        rig.shut_down()?;
        rig.metadata.heal()?;
        rig.create_with("0")?;
        let status = rig.expect("tracking idle rw")?;
        ensure!(status.cdm == 1, "the lost mark is there: {status:?}");
        rig.check(rig.all())?;
        rig.start_again("2 assume_different no_copy")?;
        rig.tracker.cdm = (0..rig.spec.extents()).collect();
        rig.check_counts()?;
        rig.start_restore()?;
        rig.resume_and_finish()?;
        check_end(rig)
    })
}
