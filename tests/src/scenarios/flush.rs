// SPDX-License-Identifier: GPL-2.0

//! Flushes and FUA writes.

use super::cells::{cell, Amount, Bits, Cell, Metadata, Request, Size, State};
use super::{on, trial};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::{maps, wait};
use libtest_mimic::Trial;
use std::thread;
use std::time::Duration;

/// How long a scenario looks at something that must not end. It only matters to a target that is
/// wrong.
const LOOK: Duration = Duration::from_millis(200);

/// What flush and FUA do in each state.
pub fn cells() -> Vec<Cell> {
    let flush =
        |name, state| cell(name, state, Request::Flush, Size::Whole).metadata(Metadata::Any);
    let fua = |name, state, size| {
        cell(name, state, Request::Fua, size)
            .source_written(Amount::Request)
            .metadata(Metadata::Durable)
    };
    vec![
        flush("tracking: flush", State::TrackingMarked),
        flush("unrestored: flush", State::Unrestored),
        flush("restored: flush", State::RestoredMarked),
        fua("tracking: FUA, first touch", State::Tracking, Size::Whole).bits(Bits::SetCdm),
        fua(
            "tracking: FUA, part, first touch",
            State::Tracking,
            Size::Part,
        )
        .bits(Bits::SetCdm),
        fua("unrestored: FUA", State::Unrestored, Size::Whole).bits(Bits::Restored),
        fua("unrestored: FUA, part", State::Unrestored, Size::Part)
            .bits(Bits::Restored)
            .clone_read(Amount::Extent)
            .source_written(Amount::ExtentAndRequest),
        fua("restored: FUA, first touch", State::Restored, Size::Whole).bits(Bits::SetPrm),
        fua(
            "restored: FUA, part, first touch",
            State::Restored,
            Size::Part,
        )
        .bits(Bits::SetPrm),
        fua(
            "restored: FUA, later touch",
            State::RestoredMarked,
            Size::Part,
        )
        .metadata(Metadata::Any),
    ]
}

/// Scenarios of their own.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("flush::waits_for_the_record_of_an_overwrite", flush_waits),
        trial(
            "flush::fua_waits_for_the_record_of_an_earlier_overwrite",
            fua_waits,
        ),
        trial(
            "flush::fua_waits_for_the_record_of_its_own_copy",
            fua_after_copy,
        ),
        trial("flush::what_was_flushed_outlives_a_crash", flushed_outlives),
        trial(
            "flush::a_crash_in_the_middle_of_copying",
            crash_while_copying,
        ),
    ]
}

const EXTENT: u64 = 128;

/// A restore in which extent 1 was just overwritten and no record can be written.
fn with_unrecorded_overwrite(scenario: impl FnOnce(&mut Rig) -> Result<()>) -> Result<()> {
    on(
        Spec::new(Blocks::B512, EXTENT).features("format no_copy"),
        |rig| {
            rig.start_restore()?;
            rig.metadata.hold()?;
            rig.write(EXTENT..2 * EXTENT)?;
            scenario(rig)?;
            let durable = maps::read(&rig.metadata.part)?;
            ensure!(
                !durable.cdm.contains(&1) && durable.prm.contains(&1),
                "the record is not durable"
            );
            rig.check_counts()?;
            rig.check(rig.all())
        },
    )
}

fn flush_waits() -> Result<()> {
    with_unrecorded_overwrite(|rig| {
        let host = rig.host()?;
        let flush = wait::background("flush", move || host.flush());
        flush.wait_submitted()?;
        thread::sleep(LOOK);
        ensure!(
            !flush.is_done(),
            "a flush did not wait for a record that it covers"
        );
        rig.metadata.release()?;
        Ok(flush.join()??)
    })
}

fn fua_waits() -> Result<()> {
    with_unrecorded_overwrite(|rig| {
        let (host, sectors) = (rig.host()?, EXTENT + 3..EXTENT + 5);
        let (data, content) = rig.tracker.model.next_write(sectors.clone());
        let (mapped, source) = (rig.mapped_moved()?, rig.source.moved()?);
        let start = sectors.start;
        let fua = wait::background("FUA write", move || host.write_fua(start, &data));
        wait::for_condition("the data is on the source", || {
            Ok((rig.source.moved()? - source).written == 2)
        })?;
        thread::sleep(LOOK);
        // The kernel's own flush behind a FUA write would wait as well: only what is counted as
        // written shows that the write itself does.
        let written = (rig.mapped_moved()? - mapped).written;
        ensure!(
            !fua.is_done() && written == 0,
            "a FUA write did not wait for an earlier record"
        );
        rig.metadata.release()?;
        fua.join()??;
        rig.tracker.written(sectors, content);
        Ok(())
    })
}

/// A FUA write to a part of an unrestored extent needs the record that the copy has queued.
fn fua_after_copy() -> Result<()> {
    on(
        Spec::new(Blocks::B512, EXTENT).features("format no_copy"),
        |rig| {
            rig.start_restore()?;
            rig.metadata.slow_down(800)?;
            let (host, sectors) = (rig.host()?, EXTENT + 3..EXTENT + 5);
            let (data, content) = rig.tracker.model.next_write(sectors.clone());
            let (mapped, start) = (rig.mapped_moved()?, sectors.start);
            let fua = wait::background("FUA write", move || host.write_fua(start, &data));
            wait::for_condition("the FUA write is acknowledged", || {
                Ok((rig.mapped_moved()? - mapped).written > 0)
            })?;
            let durable = maps::read(&rig.metadata.part)?;
            ensure!(
                !durable.cdm.contains(&1) && durable.prm.contains(&1),
                "acknowledged, and after a crash the extent would read as the clone"
            );
            fua.join()??;
            rig.tracker.written(sectors, content);
            rig.check(rig.all())
        },
    )
}

/// Every kind of change, flushed, then a crash: all of it is there.
fn flushed_outlives() -> Result<()> {
    let mut rig = Rig::new(Spec::new(Blocks::B512, EXTENT).features("format no_copy"))?;
    rig.start_restore()?;
    rig.write(0..EXTENT)?;
    rig.write(2 * EXTENT + 1..2 * EXTENT + 9)?;
    rig.zero(3 * EXTENT..4 * EXTENT)?;
    rig.write(4 * EXTENT + 100..6 * EXTENT + 7)?;
    rig.flush()?;
    rig.write(0..8)?;
    rig.write_fua(64..72)?;
    let mut rig = rig.crash()?;
    rig.check_counts()?;
    rig.check(rig.all())?;
    rig.resume_and_finish()?;
    rig.check(rig.all())?;
    rig.shut_down()?;
    rig.check_maps_against_disks()?;
    rig.close()
}

/// At instants of a running copy: what the disks hold is a restore that can go on.
fn crash_while_copying() -> Result<()> {
    let spec = Spec::new(Blocks::B512, 8)
        .length(8 * 512)
        .core("copy_size", 16)
        .core("copy_jobs", 2);
    on(spec.features("format").core("copy_rate", 1024), |rig| {
        rig.start_restore()?;
        for round in 0..4u64 {
            wait::for_condition("the copy is further", || {
                Ok(rig.status()?.restored > 60 * (round + 1))
            })?;
            rig.write(4000 - 100 * round..4004 - 100 * round)?;
            rig.flush()?;
            let mut after = rig.crash_copy()?;
            after.check(after.all())?;
            after.message("copy_rate 0")?;
            after.wait_restored()?;
            after.check_counts()?;
            after.check(after.all())?;
            after.shut_down()?;
            after.check_maps_against_disks()?;
            after.close()?;
        }
        rig.message("copy_rate 0")?;
        rig.wait_restored()?;
        rig.check(rig.all())
    })
}
