// SPDX-License-Identifier: GPL-2.0

//! What the kernel keeps of the mapped device's old content when a restore begins: nobody reads it
//! again, and it is not written over the clone's.

use super::{on, trial};
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::io::Buffer;
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::mapping::Mapping;
use dm_restore_tests::model::{host_data, Content};
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::wait;
use libtest_mimic::Trial;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// All of them.
pub fn trials() -> Vec<Trial> {
    // The second is no multiple of a page, so that pages are read in pieces of 512 bytes.
    let lengths = [1024, 1024 + 65];
    let mut trials = Vec::new();
    for length in lengths {
        let name = |what: &str| format!("starts::{what}_{length}");
        trials.push(trial(name("a_reader_sees_the_clone"), move || {
            reader(length)
        }));
        trials.push(trial(name("a_read_that_waits_sees_the_clone"), move || {
            reader_that_waits(length)
        }));
    }
    trials.extend([
        trial("starts::what_is_mapped_is_the_clones", mapped),
        trial("starts::dirty_pages_refuse_the_start", dirty),
        trial("starts::another_table_shows_the_source", other_table),
    ]);
    trials
}

fn spec(length: u64) -> Spec {
    Spec::new(Blocks::B512, 128)
        .length(length)
        .features("format no_copy")
}

/// Some sectors in the middle, and the last.
const SOME: Range<u64> = 100..116;

/// Reads through the page cache.
fn read(file: &File, sectors: Range<u64>) -> Result<Buffer> {
    let mut buffer = Buffer::zeroed(sectors.end - sectors.start);
    file.read_exact_at(&mut buffer, sectors.start * 512)?;
    Ok(buffer)
}

fn cached(rig: &Rig) -> Result<File> {
    File::options().read(true).open(rig.path()).context("open")
}

/// What is read through the page cache is what must be there.
fn check(rig: &Rig, file: &File) -> Result<()> {
    for sectors in [SOME, rig.spec.length - 1..rig.spec.length] {
        let found = read(file, sectors.clone())?;
        rig.tracker.model.check(sectors, &found)?;
    }
    Ok(())
}

/// The device stays open: else its cache would go with the last one who closes it.
fn reader(length: u64) -> Result<()> {
    on(spec(length), |rig| {
        let file = cached(rig)?;
        check(rig, &file).context("before")?;
        rig.start_restore()?;
        check(rig, &file).context("after the start")?;
        rig.resume_and_finish()?;
        check(rig, &file).context("after the end")?;
        rig.check(rig.all())
    })
}

/// It has come while the device was suspended: its page is locked until the resume.
fn reader_that_waits(length: u64) -> Result<()> {
    on(spec(length), |rig| {
        let file = cached(rig)?;
        rig.suspend()?;
        let other = cached(rig)?;
        let waiting = wait::background("a read", move || read(&other, SOME));
        waiting.wait_submitted()?;
        ensure!(!waiting.is_done(), "the read was answered");
        let begun = rig.message("start_restore");
        rig.resume()?;
        begun?;
        rig.tracker.begin_restore();
        rig.tracker.model.check(SOME, &waiting.join()??)?;
        check(rig, &file)
    })
}

fn mapped() -> Result<()> {
    on(spec(1024), |rig| {
        let mut mapping = Mapping::read_only(&rig.path(), SOME)?;
        mapping.touch()?;
        rig.start_restore()?;
        let found = mapping.read()?;
        rig.tracker.model.check(SOME, &found)
    })
}

const DIRTY: &str = "cached pages are not written";

fn dirty() -> Result<()> {
    on(spec(1024), |rig| {
        let file = OpenOptions::new().read(true).write(true).open(rig.path())?;
        // While it is suspended nothing can write the pages back.
        rig.suspend()?;
        let data = host_data(96..104, 1);
        let refused = (|| {
            file.write_all_at(&data, 96 * 512)?;
            for message in ["start_restore", "start_restore force"] {
                let (before, mut log) = (rig.status()?, Log::from_now()?);
                let ran = rig.try_message(message)?;
                ensure!(!ran.ok && ran.err.contains("busy"), "{message}: {ran:?}");
                let lines = log.lines()?;
                let told = lines.iter().any(|line| line.contains(DIRTY));
                ensure!(told, "{message}: the log does not say why: {lines:#?}");
                let after = rig.status()?;
                ensure!(after == before, "{message}: {after:?}, was {before:?}");
            }
            Ok(())
        })();
        rig.resume()?;
        refused?;
        file.sync_all()?;
        rig.device()?.read(96..104).context("what was written")?;
        rig.start_restore()?;
        rig.check(rig.all())?;
        let found = read(&file, SOME)?;
        rig.tracker.model.check(SOME, &found)
    })
}

/// In the middle of a restore another table shows the bare source, before and afterwards.
fn other_table() -> Result<()> {
    on(spec(1024), |rig| {
        rig.start_restore()?;
        rig.shut_down()?;
        let linear = format!("0 {} linear {} 0", rig.spec.length, rig.source.path());
        dm::ok(&["create", &rig.name, "--table", &linear])?;
        let shown = (|| {
            let file = cached(rig)?;
            read(&file, SOME)?;
            rig.reload("1 no_copy")?;
            check(rig, &file)?;
            dm::swap(&rig.name, &linear)?;
            rig.tracker.model.set(rig.all(), Content::Source);
            check(rig, &file)
        })();
        dm::ok(&["remove", "--retry", &rig.name])?;
        shown
    })
}
