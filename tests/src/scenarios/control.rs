// SPDX-License-Identifier: GPL-2.0

//! What a user steers and sees: status, pause, rates, events, messages out of turn, table round
//! trip.

use super::{on, trial};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::model::Content;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::stamps::Writer;
use dm_restore_tests::wait;
use libtest_mimic::Trial;
use std::time::Instant;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("control::status_before_the_first_resume", unloaded),
        trial("control::status_through_a_restore", through_a_restore),
        trial("control::pause_and_resume", pause_and_resume),
        trial("control::no_copy_waits_for_resume_copy", no_copy),
        trial("control::rate_is_a_ceiling", rate_is_a_ceiling),
        trial("control::core_args_by_message", core_args_by_message),
        trial("control::table_can_be_loaded_again", table_round_trip),
        trial("control::event_at_the_end", event_at_the_end),
        trial("control::restore_of_nothing", restore_of_nothing),
        trial("control::messages_out_of_turn", messages_out_of_turn),
        trial("control::assume_identical", assume_identical),
        trial("control::assume_different", assume_different),
        trial(
            "control::format_and_identical_leave_old_metadata_alone",
            old_metadata,
        ),
        trial("control::state_outlives_the_device", state_outlives),
        trial("control::reload_in_the_middle", reload_in_the_middle),
        trial(
            "control::a_second_restore_copies_what_was_written_since",
            second_restore,
        ),
        trial("control::write_cache_is_advertised", write_cache),
    ]
}

fn spec() -> Spec {
    Spec::new(Blocks::B512, 128)
}

fn unloaded() -> Result<()> {
    let mut rig = Rig::slices(spec().features("format no_copy").core("copy_jobs", 7))?;
    let words = rig.spec.optional_words();
    dm::ok(&["create", &rig.name, "--notable"])?;
    dm::ok(&["load", &rig.name, "--table", &rig.table(&words)])?;
    let line = dm::target_words(&dm::ok(&["status", "--inactive", &rig.name])?, "restore")?;
    ensure!(
        line == "unloaded idle 128 0/0 0 0 0 0 0 0 1 no_copy 10 copy_jobs 7 copy_size 2048 copy_rate 0 copy_min_rate 1024 metadata_patience 30 rw",
        "{line}"
    );
    dm::ok(&["remove", &rig.name])?;
    rig.create()?;
    rig.close()
}

fn through_a_restore() -> Result<()> {
    on(
        spec()
            .features("format")
            .core("copy_jobs", 1)
            .core("copy_size", 128),
        |rig| {
            let extents = rig.spec.extents();
            let status = rig.status()?;
            ensure!(
                (&*status.mode, &*status.activity) == ("tracking", "idle"),
                "{status:?}"
            );
            ensure!(
                (status.cdm, status.extents, status.prm, status.extent)
                    == (extents, extents, 0, 128),
                "{status:?}"
            );
            rig.source.hold()?;
            let begun = begin_while_held(rig);
            let status = wait::until("a copy runs", || {
                let status = rig.status()?;
                Ok((status.copying > 0).then_some(status))
            });
            rig.source.release()?;
            begun?;
            let status = status?;
            ensure!(
                (&*status.mode, &*status.activity) == ("restoring", "copying"),
                "{status:?}"
            );
            ensure!(
                (status.cdm, status.restored, status.copying) == (extents, 0, 1),
                "{status:?}"
            );
            rig.wait_restored()?;
            let status = rig.status()?;
            ensure!(
                (&*status.mode, &*status.activity) == ("tracking", "idle"),
                "{status:?}"
            );
            ensure!(
                (status.cdm, status.prm, status.restored, status.copying) == (0, 0, extents, 0),
                "{status:?}"
            );
            rig.check(rig.all())
        },
    )
}

/// A suspension flushes the source: it is held only in between.
pub(super) fn begin_while_held(rig: &mut Rig) -> Result<()> {
    rig.source.release()?;
    rig.suspend()?;
    let begun = rig.message("start_restore");
    rig.source.hold()?;
    rig.resume()?;
    begun?;
    rig.tracker.begin_restore();
    Ok(())
}

/// Extents of 4 KiB, copied one by one: many steps, so that there is something to interrupt.
fn many_steps() -> Spec {
    Spec::new(Blocks::B512, 8)
        .length(8 * 1024)
        .core("copy_jobs", 1)
        .core("copy_size", 8)
}

fn pause_and_resume() -> Result<()> {
    on(
        many_steps().features("format").core("copy_rate", 512),
        |rig| {
            rig.start_restore()?;
            wait::for_condition("something is restored", || Ok(rig.status()?.restored > 0))?;
            rig.message("pause_copy")?;
            let paused = paused_at(rig)?;
            rig.message("copy_rate 0")?;
            std::thread::sleep(std::time::Duration::from_millis(300));
            let later = rig.status()?;
            ensure!(
                later.restored == paused && later.activity == "paused",
                "it went on from {paused}: {later:?}"
            );
            rig.check(rig.all())?;
            rig.message("resume_copy")?;
            rig.wait_restored()?;
            rig.check_counts()?;
            rig.check(rig.all())
        },
    )
}

/// Waits until nothing is copied any more; returns how much is restored.
fn paused_at(rig: &Rig) -> Result<u64> {
    wait::until("the copies under way have ended", || {
        let status = rig.status()?;
        ensure!(
            status.mode == "restoring",
            "there was nothing to pause: {status:?}"
        );
        Ok((status.copying == 0 && status.activity == "paused").then_some(status.restored))
    })
}

fn no_copy() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        let clone = rig.start_restore()?.clone;
        std::thread::sleep(std::time::Duration::from_millis(300));
        let status = rig.status()?;
        ensure!(
            (&*status.activity, status.restored) == ("paused", 0),
            "{status:?}"
        );
        ensure!(
            (rig.clone.moved()? - clone).read == 0,
            "something was copied"
        );
        rig.resume_and_finish()?;
        rig.check(rig.all())
    })
}

/// How fast a copy is can only be too high: a slow machine makes it lower.
fn rate_is_a_ceiling() -> Result<()> {
    const RATE: u64 = 512;
    on(
        many_steps().features("format").core("copy_rate", RATE),
        |rig| {
            let start = Instant::now();
            rig.start_restore()?;
            wait::for_condition("1 MiB is restored", || Ok(rig.status()?.restored >= 256))?;
            let restored = rig.status()?.restored * 4;
            let may = (start.elapsed().as_millis() as u64 * RATE).div_ceil(1000);
            // What may go at once at the start is not agreed; it must be less than what this copies.
            ensure!(
                restored <= may + 512,
                "{restored} KiB were restored in a time for {may} KiB"
            );
            rig.message("copy_rate 0")?;
            rig.wait_restored()?;
            rig.check(rig.all())
        },
    )
}

fn core_args_by_message() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        let values = [
            ("copy_jobs", 64),
            ("copy_size", 65536),
            ("copy_rate", u64::from(u32::MAX)),
            ("copy_min_rate", 0),
            ("metadata_patience", 3600),
        ];
        for (key, value) in values {
            rig.message(&format!("{key} {value}"))?;
            ensure!(
                rig.status()?.core.get(key) == Some(&value),
                "{key}: {:?}",
                rig.status()?
            );
        }
        rig.message("copy_jobs 1")?;
        rig.message("copy_size 8")?;
        rig.start_restore()?;
        rig.resume_and_finish()?;
        rig.check(rig.all())
    })
}

fn table_round_trip() -> Result<()> {
    let spec = Spec {
        table_start: 64,
        ..spec().features("format no_copy no_discard_passdown")
    };
    on(spec, |rig| {
        rig.message("copy_rate 77")?;
        let table = dm::ok(&["table", &rig.name])?;
        let words = dm::target_words(&table, "restore")?;
        ensure!(
            words.ends_with(" 128 2 no_copy no_discard_passdown 10 copy_jobs 4 copy_size 2048 copy_rate 77 copy_min_rate 1024 metadata_patience 30"),
            "{words}"
        );
        rig.suspend()?;
        dm::ok(&["load", &rig.name, "--table", &table])?;
        rig.resume()?;
        ensure!(
            dm::ok(&["table", &rig.name])? == table,
            "the table loaded again is another"
        );
        rig.check(0..128)
    })
}

fn event_at_the_end() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        let waiting = rig.event_after(rig.events()?);
        rig.message("resume_copy")?;
        waiting.join()??;
        let status = rig.status()?;
        ensure!(
            status.mode == "tracking" && status.cdm == 0,
            "the event came early: {status:?}"
        );
        rig.tracker.finish_restore();
        rig.check(rig.all())
    })
}

fn restore_of_nothing() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        let before = rig.events()?;
        rig.start_restore()?;
        let status = rig.status()?;
        ensure!(
            (&*status.mode, status.cdm, status.prm, status.restored) == ("tracking", 0, 0, 0),
            "{status:?}"
        );
        ensure!(rig.events()? > before, "no event told of its end");
        rig.check(rig.all())
    })
}

/// A message that must be refused with the given words of the C library, and change nothing.
fn refused(rig: &Rig, message: &str, reason: &str) -> Result<()> {
    let before = rig.status()?;
    let ran = rig.try_message(message)?;
    ensure!(
        !ran.ok && ran.err.contains(reason),
        "{message} must fail with '{reason}': {ran:?}"
    );
    ensure!(
        rig.status()? == before,
        "{message} was refused, but changed something"
    );
    Ok(())
}

fn messages_out_of_turn() -> Result<()> {
    const BUSY: &str = "Device or resource busy";
    const ALREADY: &str = "Operation already in progress";
    on(spec().features("format no_copy"), |rig| {
        refused(rig, "start_restore", BUSY)?;
        refused(rig, "assume_identical", BUSY)?;
        rig.start_restore()?;
        refused(rig, "start_restore", ALREADY)?;
        refused(rig, "assume_identical", BUSY)?;
        rig.suspend()?;
        refused(rig, "start_restore", ALREADY)?;
        refused(rig, "assume_identical", BUSY)?;
        rig.resume()?;
        // These are allowed at any time.
        for message in ["pause_copy", "pause_copy", "resume_copy", "resume_copy"] {
            rig.message(message)?;
        }
        rig.wait_restored()?;
        refused(rig, "start_restore", BUSY)?;
        rig.check(rig.all())
    })
}

fn assume_identical() -> Result<()> {
    on(spec().features("format"), |rig| {
        rig.fill_source(Writer::Clone)?;
        rig.tracker.model.set(rig.all(), Content::Clone);
        rig.suspend()?;
        rig.message("assume_identical")?;
        rig.resume()?;
        rig.tracker.cdm.clear();
        rig.check_counts()?;
        rig.write(130..140)?;
        rig.check_counts()?;
        rig.start_again("0")?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn assume_different() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.check_counts()?;
        rig.start_again("2 assume_different no_copy")?;
        rig.tracker.cdm = (0..rig.spec.extents()).collect();
        rig.check_counts()?;
        let table = dm::ok(&["table", &rig.name])?;
        ensure!(
            !table.contains("assume_different"),
            "the table would fill the map again: {table}"
        );
        rig.start_restore()?;
        rig.check(rig.all())
    })
}

fn old_metadata() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.write(0..1)?;
        rig.start_again("2 format identical")?;
        rig.check_counts()?;
        rig.start_again("1 format")?;
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn state_outlives() -> Result<()> {
    on(many_steps().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.write(8..16)?;
        rig.write(800..803)?;
        rig.start_again("1 no_copy")?;
        rig.check_counts()?;
        let status = rig.status()?;
        ensure!(
            (&*status.mode, status.restored) == ("restoring", 2),
            "{status:?}"
        );
        rig.check(rig.all())?;
        rig.resume_and_finish()?;
        rig.start_again("0")?;
        let status = rig.status()?;
        ensure!(
            (&*status.mode, status.restored) == ("tracking", rig.spec.extents()),
            "{status:?}"
        );
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn reload_in_the_middle() -> Result<()> {
    on(
        many_steps().features("format").core("copy_rate", 256),
        |rig| {
            rig.start_restore()?;
            wait::for_condition("something is restored", || Ok(rig.status()?.restored > 0))?;
            rig.write(4000..4100)?;
            rig.reload("1 no_copy 2 copy_jobs 3")?;
            let status = rig.status()?;
            ensure!(
                (&*status.mode, &*status.activity) == ("restoring", "paused"),
                "{status:?}"
            );
            ensure!(
                status.core["copy_jobs"] == 3 && status.core["copy_rate"] == 0,
                "{status:?}"
            );
            rig.check(rig.all())?;
            rig.suspend()?;
            rig.resume()?;
            rig.check(rig.all())?;
            rig.resume_and_finish()?;
            rig.check_counts()?;
            rig.check(rig.all())
        },
    )
}

fn second_restore() -> Result<()> {
    on(spec().features("format no_copy"), |rig| {
        rig.start_restore()?;
        rig.write(0..5)?;
        rig.resume_and_finish()?;
        rig.write(300..301)?;
        rig.check_counts()?;
        let clone = rig.clone.moved()?;
        rig.message("pause_copy")?;
        rig.start_restore()?;
        let status = rig.status()?;
        ensure!(
            (status.cdm, status.prm, status.restored) == (2, 0, 0),
            "{status:?}"
        );
        rig.check(rig.all())?;
        let read = (rig.clone.moved()? - clone).read;
        rig.resume_and_finish()?;
        let copied = (rig.clone.moved()? - clone).read - read;
        ensure!(
            copied == 2 * 128,
            "the second restore copied {copied} sectors"
        );
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

/// Otherwise the block layer strips flushes before the target sees them.
fn write_cache() -> Result<()> {
    on(spec().features("format"), |rig| {
        let queue = format!("{}/queue", dm_restore_tests::stats::sysfs(&rig.path())?);
        for (file, must) in [("write_cache", "write back"), ("fua", "1")] {
            let found = std::fs::read_to_string(format!("{queue}/{file}"))?;
            ensure!(found.trim() == must, "{file} is '{}'", found.trim());
        }
        Ok(())
    })
}
