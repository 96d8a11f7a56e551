// SPDX-License-Identifier: GPL-2.0

//! Requests that meet a copy, an overwrite or a record at work. The device that the work is on is
//! suspended, so that the work is at hand for as long as the scenario looks.

use super::{on, trial};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::model::{host_data, Content};
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::wait::{self, Background};
use libtest_mimic::Trial;
use std::io;
use std::ops::Range;
use std::time::Duration;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("meets::a_copy::read_does_not_wait", read_meets_copy),
        trial("meets::a_copy::part_of_an_extent_waits", part_meets_copy),
        trial("meets::a_copy::whole_extent_waits", whole_meets_copy),
        trial("meets::a_copy::discard_waits", discard_meets_copy),
        trial(
            "meets::an_overwrite::read_gets_the_clone",
            read_meets_overwrite,
        ),
        trial(
            "meets::an_overwrite::write_comes_after",
            write_meets_overwrite,
        ),
        trial(
            "meets::an_overwrite::the_copy_passes_it_over",
            copy_meets_overwrite,
        ),
        trial("meets::an_overwrite::that_fails", overwrite_fails),
        trial("meets::a_record::tracking", || {
            first_touch_waits("format identical", false)
        }),
        trial("meets::a_record::restoring", || {
            first_touch_waits("format identical no_copy", true)
        }),
        trial(
            "meets::a_record::that_another_write_waits_for",
            second_touch_waits,
        ),
        trial("meets::records_of_a_time_are_one_batch", one_batch),
        trial(
            "meets::a_copy_for_a_write_ignores_pause_and_rate",
            urgent_copy,
        ),
    ]
}

const EXTENT: u64 = 128;

fn spec() -> Spec {
    Spec::new(Blocks::B512, EXTENT)
        .core("copy_jobs", 1)
        .core("copy_size", EXTENT)
}

/// A restore whose first copy has read extent 0 and cannot write it.
fn with_held_copy(scenario: impl FnOnce(&mut Rig) -> Result<()>) -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.source.hold()?;
        let before = rig.clone.moved()?.read;
        rig.message("resume_copy")?;
        wait::for_condition("a copy has begun", || {
            Ok(rig.clone.moved()?.read >= before + EXTENT && rig.status()?.copying > 0)
        })?;
        scenario(rig)
    })
}

/// The end of such a scenario: every extent was read from the clone at most once.
fn finish_held_copy(rig: &mut Rig, clone_before: u64) -> Result<()> {
    rig.wait_restored()?;
    rig.check_counts()?;
    rig.check(rig.all())?;
    let read = rig.clone.moved()?.read - clone_before;
    ensure!(
        read <= rig.spec.length,
        "an extent was copied twice: {read} sectors read"
    );
    rig.shut_down()?;
    rig.check_maps_against_disks().map(drop)
}

/// A write in a thread of its own.
fn write(rig: &Rig, sectors: Range<u64>, generation: u64) -> Result<Background<io::Result<()>>> {
    let host = rig.host()?;
    Ok(wait::background("write", move || {
        host.write(sectors.start, &host_data(sectors, generation))
    }))
}

/// Waits until a request is with the device and finds it unfinished a little later. A request
/// that must wait waits for ever: how long this looks only matters to a target that is wrong.
fn check_waits<T>(what: &str, request: &Background<T>) -> Result<()> {
    request.wait_submitted()?;
    std::thread::sleep(Duration::from_millis(100));
    ensure!(!request.is_done(), "{what} did not wait");
    Ok(())
}

fn read_meets_copy() -> Result<()> {
    with_held_copy(|rig| {
        rig.check(0..EXTENT)?;
        rig.check(0..3 * EXTENT)?;
        rig.source.release()?;
        rig.wait_restored()?;
        rig.check(rig.all())
    })
}

fn part_meets_copy() -> Result<()> {
    with_held_copy(|rig| {
        let part = write(rig, 5..9, 1)?;
        check_waits("a write that meets a copy", &part)?;
        rig.check(0..EXTENT)?;
        let before = rig.clone.moved()?.read - EXTENT;
        rig.source.release()?;
        part.join()??;
        rig.tracker.written(5..9, Content::Host(1));
        finish_held_copy(rig, before)
    })
}

fn whole_meets_copy() -> Result<()> {
    with_held_copy(|rig| {
        let before = rig.clone.moved()?.read - EXTENT;
        let whole = write(rig, 0..EXTENT, 1)?;
        check_waits("a write that meets a copy", &whole)?;
        rig.source.release()?;
        whole.join()??;
        rig.tracker.written(0..EXTENT, Content::Host(1));
        finish_held_copy(rig, before)
    })
}

fn discard_meets_copy() -> Result<()> {
    with_held_copy(|rig| {
        let before = rig.clone.moved()?.read - EXTENT;
        let host = rig.host()?;
        let discard = wait::background("discard", move || host.discard(0..EXTENT));
        // The request comes from another program; when it is with the device is not known.
        std::thread::sleep(Duration::from_millis(300));
        ensure!(
            !discard.is_done(),
            "a discard that meets a copy did not wait"
        );
        rig.source.release()?;
        discard.join()??;
        rig.tracker.discarded(0..EXTENT);
        finish_held_copy(rig, before)
    })
}

/// A restore in which extent 1 is being overwritten whole, and the write cannot end.
fn with_held_overwrite(
    scenario: impl FnOnce(&mut Rig, Background<io::Result<()>>) -> Result<()>,
) -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.source.hold()?;
        let overwrite = write(rig, EXTENT..2 * EXTENT, 1)?;
        check_waits("an overwrite of a source that is held", &overwrite)?;
        scenario(rig, overwrite)
    })
}

fn read_meets_overwrite() -> Result<()> {
    with_held_overwrite(|rig, overwrite| {
        rig.check(rig.all())?;
        rig.source.release()?;
        overwrite.join()??;
        rig.tracker.written(EXTENT..2 * EXTENT, Content::Host(1));
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn write_meets_overwrite() -> Result<()> {
    with_held_overwrite(|rig, overwrite| {
        let clone = rig.clone.moved()?.read;
        let later = write(rig, EXTENT + 7..EXTENT + 9, 2)?;
        check_waits("a write that meets an overwrite", &later)?;
        rig.source.release()?;
        overwrite.join()??;
        later.join()??;
        rig.tracker.written(EXTENT..2 * EXTENT, Content::Host(1));
        rig.tracker
            .written(EXTENT + 7..EXTENT + 9, Content::Host(2));
        rig.check_counts()?;
        rig.check(rig.all())?;
        let read = rig.clone.moved()?.read - clone;
        // By the check: all but the overwritten extent.
        let unrestored = rig.spec.length - EXTENT;
        ensure!(
            read == unrestored,
            "an overwritten extent was copied: {read} sectors read, not {unrestored}"
        );
        Ok(())
    })
}

fn copy_meets_overwrite() -> Result<()> {
    with_held_overwrite(|rig, overwrite| {
        let clone = rig.clone.moved()?.read;
        rig.message("resume_copy")?;
        wait::for_condition("a copy has begun", || Ok(rig.status()?.copying > 0))?;
        rig.source.release()?;
        overwrite.join()??;
        rig.tracker.written(EXTENT..2 * EXTENT, Content::Host(1));
        rig.wait_restored()?;
        let read = rig.clone.moved()?.read - clone;
        ensure!(
            read == rig.spec.length - EXTENT,
            "{read} sectors were copied, the overwritten extent too?"
        );
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn overwrite_fails() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.source.break_sectors(EXTENT + 20..EXTENT + 28)?;
        let before = rig.status()?;
        expect_eio(
            "an overwrite",
            rig.host()?.write(EXTENT, &host_data(EXTENT..2 * EXTENT, 1)),
        )?;
        // It may land later: so the extent stays unrestored, and counts as touched.
        let after = wait::until("the touch is recorded", || {
            let status = rig.status()?;
            Ok((status.prm > before.prm).then_some(status))
        })?;
        ensure!(
            (after.cdm, after.prm) == (before.cdm, before.prm + 1),
            "other bits have changed: {after:?}"
        );
        ensure!(
            after.source_errors > 0,
            "the error is not counted: {after:?}"
        );
        // Also where it had come through.
        rig.check(rig.all())?;
        rig.source.heal()?;
        rig.resume_and_finish()?;
        rig.check(rig.all())
    })
}

/// Until its bit is durable, a first touch must not be on the source.
fn first_touch_waits(features: &str, restore: bool) -> Result<()> {
    on(spec().features(features), |rig| {
        if restore {
            rig.write(0..8)?;
            rig.start_restore()?;
        }
        rig.metadata.hold()?;
        let source = rig.source.moved()?;
        let touch = write(rig, EXTENT..EXTENT + 8, 9)?;
        check_waits("a first touch", &touch)?;
        let written = (rig.source.moved()? - source).written;
        ensure!(
            written == 0,
            "{written} sectors were written before the record"
        );
        rig.check(EXTENT..2 * EXTENT)?;
        rig.metadata.release()?;
        touch.join()??;
        rig.tracker.written(EXTENT..EXTENT + 8, Content::Host(9));
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

/// A bit is seen by other requests only when it is durable.
fn second_touch_waits() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.metadata.hold()?;
        let source = rig.source.moved()?;
        let first = write(rig, 0..8, 1)?;
        check_waits("a first touch", &first)?;
        let second = write(rig, 64..72, 2)?;
        check_waits("a second touch before the record of the first", &second)?;
        let written = (rig.source.moved()? - source).written;
        ensure!(
            written == 0,
            "{written} sectors were written before the record"
        );
        rig.metadata.release()?;
        first.join()??;
        second.join()??;
        rig.tracker.written(0..8, Content::Host(1));
        rig.tracker.written(64..72, Content::Host(2));
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn one_batch() -> Result<()> {
    // No neighbours: those that come one after the other are a sequence, ahead of which more is marked.
    let first = |nth: u64| 2 * nth * EXTENT;
    let spec = spec().length(16 * EXTENT).features("format identical");
    on(spec, |rig| {
        rig.metadata.hold()?;
        let before = rig.metadata.moved()?;
        let start = |nth| write(rig, first(nth)..first(nth) + 8, 1);
        let writes: Vec<_> = (0..8).map(start).collect::<Result<_>>()?;
        for write in &writes {
            check_waits("a first touch", write)?;
        }
        rig.metadata.release()?;
        for write in writes {
            write.join()??;
        }
        let written = (rig.metadata.moved()? - before).written;
        // The first to come goes alone; all the others gather behind it.
        ensure!(
            written <= 2 * 8,
            "8 first touches took {written} sectors of metadata, not two blocks"
        );
        (0..8).for_each(|nth| {
            rig.tracker
                .written(first(nth)..first(nth) + 8, Content::Host(1))
        });
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn urgent_copy() -> Result<()> {
    on(spec().features("format").core("copy_rate", 1), |rig| {
        rig.start_restore()?;
        rig.message("pause_copy")?;
        for extent in 0..rig.tracker.extents() {
            let first = rig.extent(extent).start;
            rig.write(first..first + 1)?;
        }
        wait::for_condition("every extent is restored", || {
            Ok(rig.status()?.mode == "tracking")
        })?;
        rig.tracker.finish_restore();
        rig.check_counts()?;
        rig.check(rig.all())
    })
}
