// SPDX-License-Identifier: GPL-2.0

//! Suspends and reloads in the middle of a restore that the host writes in.

use super::{on, trial};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::{sh, wait};
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "reloads::under_load_in_the_middle",
            under_load_in_the_middle,
        ),
        trial("reloads::a_message_to_the_old_table", message_to_the_old),
        trial("reloads::another_metadata_device", other_metadata),
        trial("reloads::a_table_loaded_long_ago", loaded_long_ago),
    ]
}

/// How often the table is replaced, at least: it goes on while there is load.
const RELOADS: u64 = 8;
/// Length of the volume: 32 MiB.
const LENGTH: u64 = 32 << 11;
/// A copy that the reloads interrupt, and that does not end before they do.
const RATE: u64 = 64;

/// fio checks what it has written while tables come and go, with and without flushing suspends.
/// Not a restored extent is lost on the way, and no request fails.
fn under_load_in_the_middle() -> Result<()> {
    let spec = Spec::new(Blocks::B512, 128).length(LENGTH);
    let spec = spec.core("copy_rate", RATE).core("copy_min_rate", 0);
    on(spec.features("format"), |rig| {
        rig.start_restore()?;
        let line = format!(
            "fio --name=load --filename={} --direct=1 --ioengine=libaio --iodepth=8 --numjobs=1 \
             --rw=randwrite --bsrange=512-64k --size=16m --verify=crc32c --verify_fatal=1 \
             --verify_backlog=32 --randseed=7 --minimal",
            rig.path()
        );
        let load = wait::background("fio", move || sh::shell(&line));
        let reloaded = reload_again_and_again(rig, &load);
        load.join()??;
        reloaded?;
        rig.message("copy_rate 0")?;
        wait::for_condition("the restore is over", || {
            Ok(rig.status()?.mode == "tracking")
        })?;
        let status = rig.status()?;
        ensure!(status.errors() == [0; 3], "{status:?}");
        // Behind fio's part nobody wrote: that is the clone's.
        rig.tracker.finish_restore();
        rig.check(LENGTH / 2..LENGTH)?;
        rig.shut_down()?;
        rig.check_maps_against_disks().map(drop)
    })
}

fn reload_again_and_again<T>(rig: &Rig, load: &wait::Background<T>) -> Result<()> {
    let mut restored = 0;
    for reload in 0.. {
        if reload >= RELOADS && load.is_done() {
            break;
        }
        let jobs = 1 + reload % 4;
        let words = format!("0 6 copy_jobs {jobs} copy_rate {RATE} copy_min_rate 0");
        dm::ok(&["load", &rig.name, "--table", &rig.table(&words)])?;
        if reload % 2 == 0 {
            rig.suspend()?;
        } else {
            dm::ok(&["suspend", "--nolockfs", "--noflush", &rig.name])?;
        }
        rig.resume()?;
        let status = rig.status()?;
        ensure!(status.mode == "restoring", "{status:?}");
        ensure!(status.core["copy_jobs"] == jobs, "{status:?}");
        ensure!(
            status.restored >= restored,
            "{restored} extents were restored before: {status:?}"
        );
        restored = status.restored;
    }
    Ok(())
}

/// While a new table waits, a message that changes what is on the metadata device is refused: the
/// new table knows nothing of it.
fn message_to_the_old() -> Result<()> {
    let spec = Spec::new(Blocks::B512, 128).features("format identical");
    on(spec, |rig| {
        rig.write(0..8)?;
        dm::ok(&[
            "load",
            &rig.name,
            "--table",
            &rig.table("2 assume_different no_copy"),
        ])?;
        refused(rig, "start_restore")?;
        rig.suspend()?;
        refused(rig, "start_restore")?;
        refused(rig, "assume_identical")?;
        // What lasts until the next table only is the old one's affair.
        for message in ["pause_copy", "resume_copy", "copy_jobs 2"] {
            rig.message(message)?;
        }
        rig.resume()?;
        rig.tracker.cdm = (0..rig.spec.extents()).collect();
        rig.check_counts()?;
        ensure!(rig.status()?.core["copy_jobs"] == 4, "{:?}", rig.status()?);
        rig.start_restore()?;
        rig.check(rig.all())?;
        // A table that is thrown away waits no more.
        rig.resume_and_finish()?;
        dm::ok(&["load", &rig.name, "--table", &rig.table("0")])?;
        rig.suspend()?;
        refused(rig, "assume_identical")?;
        dm::ok(&["clear", &rig.name])?;
        rig.message("assume_identical")?;
        rig.resume()?;
        rig.check(rig.all())
    })
}

/// The same with a new table over other metadata: it is the source that would not be rolled back.
fn other_metadata() -> Result<()> {
    let spec = Spec::new(Blocks::B512, 128).features("format");
    let other = Rig::slices(spec.clone())?;
    on(spec, |rig| {
        let own = rig.metadata.path();
        let table = rig
            .table("2 format no_copy")
            .replace(&own, &other.metadata.path());
        dm::ok(&["load", &rig.name, "--table", &table])?;
        rig.suspend()?;
        refused(rig, "start_restore")?;
        rig.resume()?;
        rig.start_restore()?;
        rig.check(rig.all())
    })?;
    other.close()
}

fn refused(rig: &Rig, message: &str) -> Result<()> {
    let mut log = Log::from_now()?;
    let ran = rig.try_message(message)?;
    ensure!(
        !ran.ok && ran.err.contains("Device or resource busy"),
        "{message}: {ran:?}"
    );
    let lines = log.lines()?;
    ensure!(
        lines
            .iter()
            .any(|line| line.contains(rig.number()) && line.contains("resume the device first")),
        "{message}: {lines:?}"
    );
    Ok(())
}

/// A table that was loaded and not taken, because its resume has failed or was forgotten, is taken by a
/// resume that nobody meant for it. It finds the state of that time, and words that count once do no harm.
fn loaded_long_ago() -> Result<()> {
    for words in ["2 format identical", "1 assume_different"] {
        on(
            Spec::new(Blocks::B512, 128).features("format no_copy"),
            |rig| {
                rig.start_restore()?;
                rig.write(0..8)?;
                dm::ok(&["load", &rig.name, "--table", &rig.table(words)])?;
                rig.resume_and_finish()?;
                rig.write(300..308)?;
                rig.flush()?;
                rig.suspend()?;
                rig.resume()?;
                rig.expect("tracking idle rw")?;
                if words.contains("assume_different") {
                    rig.tracker.cdm = (0..rig.spec.extents()).collect();
                }
                rig.check_counts()?;
                rig.check(rig.all())?;
                rig.start_again("0")?;
                rig.check_counts()?;
                rig.check(rig.all())
            },
        )?;
    }
    Ok(())
}
