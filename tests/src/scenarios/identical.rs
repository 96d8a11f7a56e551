// SPDX-License-Identifier: GPL-2.0

//! `assume_identical` and `format identical`: what is believed is on the disks, and was compared.

use super::{on, trial, with};
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::{self, Blocks};
use dm_restore_tests::dm;
use dm_restore_tests::io::Device;
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::maps;
use dm_restore_tests::model::Content;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::sh;
use dm_restore_tests::stamps::Writer;
use libtest_mimic::Trial;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// All of them.
pub fn trials() -> Vec<Trial> {
    let new =
        |name: &str, scenario: fn() -> Result<()>| trial(format!("identical::{name}"), scenario);
    vec![
        new("a_clone_of_something_else_is_refused", something_else),
        new("one_sector_that_was_touched_is_enough", one_sector),
        new("format_is_refused", format_refused),
        new("a_copy_in_the_page_cache_is_written", born_in_page_cache),
        new("a_copy_from_old_pages_is_refused", stale_page_cache),
        new("both_disks_are_flushed", flushed),
        new("a_flush_that_fails_refuses", flush_fails),
    ]
}

const EXTENT: u64 = 128;

fn spec() -> Spec {
    Spec::new(Blocks::B512, EXTENT)
}

/// Suspends, sends it, and resumes.
fn assume(rig: &Rig) -> Result<sh::Ran> {
    rig.suspend()?;
    let ran = rig.try_message("assume_identical");
    rig.resume()?;
    ran
}

/// It must be refused with this error, the log must say this, and nothing may change.
fn refused(rig: &Rig, error: &str, told: &str) -> Result<()> {
    rig.suspend()?;
    let refused = (|| {
        let metadata = maps::Blocks::open(&rig.metadata.part)?;
        let (before, blocks) = (rig.status()?, metadata.read_all()?);
        let mut log = Log::from_now()?;
        let ran = rig.try_message("assume_identical")?;
        ensure!(!ran.ok && ran.err.contains(error), "{ran:?}");
        let lines = log.lines()?;
        let is_told = lines.iter().any(|line| line.contains(told));
        ensure!(is_told, "the log does not say '{told}': {lines:#?}");
        let mut after = rig.status()?;
        (after.source_errors, after.clone_errors) = (before.source_errors, before.clone_errors);
        ensure!(after == before, "refused, but {after:?} was {before:?}");
        ensure!(metadata.read_all()? == blocks, "metadata was written");
        Ok(())
    })();
    rig.resume()?;
    refused
}

fn something_else() -> Result<()> {
    on(spec().features("format"), |rig| {
        refused(
            rig,
            "Invalid argument",
            "source and clone differ in sector 0",
        )?;
        rig.check_counts()?;
        rig.fill_source(Writer::Clone)?;
        rig.tracker.model.set(rig.all(), Content::Clone);
        let ran = assume(rig)?;
        ensure!(ran.ok, "{ran:?}");
        rig.tracker.cdm.clear();
        rig.check_counts()
    })
}

/// Wherever in the extent it is.
fn one_sector() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.fill_source(Writer::Clone)?;
        rig.tracker.model.set(rig.all(), Content::Clone);
        for sector in [5 * EXTENT + 77, 2 * EXTENT + 1] {
            rig.write(sector..sector + 1)?;
            let told = format!("source and clone differ in sector {sector}");
            refused(rig, "Invalid argument", &told)?;
            rig.check_counts()?;
        }
        rig.check(rig.all())
    })
}

fn format_refused() -> Result<()> {
    for sector in [0, 3 * EXTENT + 5] {
        let rig = Rig::slices(spec().features("format identical"))?;
        // The rig has made them the same.
        let source = Device::open(&rig.source.path())?;
        let data = dm_restore_tests::model::host_data(sector..sector + 1, 1);
        source.write(sector, &data)?;
        drop(source);
        let words = rig.spec.optional_words();
        let mut log = Log::from_now()?;
        let made = dm::run(&["create", &rig.name, "--table", &rig.table(&words)])?;
        drop(dm::run(&["remove", &rig.name])?);
        ensure!(
            !made.ok && made.err.contains("Invalid argument"),
            "{made:?}"
        );
        let lines = log.lines()?;
        for told in [
            format!("source and clone differ in sector {sector}"),
            "source and clone are not identical".to_string(),
        ] {
            let is_told = lines.iter().any(|line| line.contains(&told));
            ensure!(is_told, "the log does not say '{told}': {lines:#?}");
        }
        let metadata = maps::Blocks::open(&rig.metadata.part)?.read_all()?;
        ensure!(metadata.iter().all(|byte| *byte == 0), "it was formatted");
        rig.close()?;
    }
    Ok(())
}

/// A rig whose clone is a device that can be written, and its path.
fn writable_clone() -> Result<(Rig, String)> {
    let spec = spec().features("format no_copy").length(8 * EXTENT);
    let (source, _) = disks::take_data(Blocks::B512, spec.length, false)?;
    let (clone, _) = disks::take_data(Blocks::B512, spec.length, false)?;
    let mut rig = Rig::over(spec, source, clone)?;
    let name = format!("{}-copy", rig.name);
    dm::ok(&["create", &name, "--table", &rig.clone.part.line(0)])?;
    let path = dm::path(&name);
    rig.clone.stand_in = Some(path.clone());
    rig.create()?;
    Ok((rig, path))
}

/// Ends with the device that was the clone.
fn end(rig: Rig, path: &str) -> Result<()> {
    rig.close()?;
    dm::ok(&["remove", "--retry", path]).map(drop)
}

/// Whether both disks hold the same, read past all caches.
fn are_same(rig: &Rig) -> Result<bool> {
    let read = |part: &disks::Part| -> Result<_> {
        let disk = Device::open(&part.disk.path(part.blocks))?;
        Ok(disk.read(part.start..part.start + rig.spec.length)?)
    };
    Ok(read(&rig.source.part)?[..] == read(&rig.clone.part)?[..])
}

/// The target holds the clone open, so `dd` is not the last to close it, and nobody syncs.
fn born_in_page_cache() -> Result<()> {
    let (rig, path) = writable_clone()?;
    with_copy(rig, &path, |rig| {
        let source = rig.source.path();
        rig.suspend()?;
        let assumed = sh::shell(&format!(
            "dd if={source} of={path} bs=64k iflag=direct status=none"
        ))
        .and_then(|_| rig.message("assume_identical"));
        rig.resume()?;
        assumed?;
        ensure!(are_same(rig)?, "the clone's disk does not hold the copy");
        rig.tracker.cdm.clear();
        rig.check_counts()
    })
}

/// Whoever has read the source before keeps what it held, and the copy is made from that.
fn stale_page_cache() -> Result<()> {
    let (rig, path) = writable_clone()?;
    with_copy(rig, &path, |rig| {
        let source = rig.source.path();
        let reader = File::open(&source)?;
        reader.read_exact_at(&mut [0; 4096], 3 * EXTENT * 512)?;
        let sector = 3 * EXTENT + 2;
        rig.write(sector..sector + 1)?;
        let copy = |flags: &str| {
            let line = format!("dd if={source} of={path} bs=64k {flags} status=none");
            sh::shell(&line).context("dd")
        };
        copy("conv=fsync")?;
        let told = format!("source and clone differ in sector {sector}");
        refused(rig, "Invalid argument", &told)?;
        rig.check_counts()?;
        copy("iflag=direct conv=fsync")?;
        let ran = assume(rig)?;
        ensure!(ran.ok, "{ran:?}");
        ensure!(are_same(rig)?, "accepted, but the disks differ");
        Ok(())
    })
}

fn with_copy(rig: Rig, path: &str, scenario: impl FnOnce(&mut Rig) -> Result<()>) -> Result<()> {
    let mut rig = rig;
    let mut log = Log::from_now()?;
    match scenario(&mut rig) {
        Ok(()) => end(rig, path),
        Err(error) => {
            let error = super::explained(error, &rig, &mut log);
            drop(rig);
            let _ = dm::run(&["remove", "--retry", path]);
            Err(error)
        }
    }
}

/// A clone that can only be read gets a flush, and no data.
fn flushed() -> Result<()> {
    on(spec().features("format identical"), |rig| {
        rig.fill_source(Writer::Clone)?;
        let before = rig.moved()?;
        let ran = assume(rig)?;
        ensure!(ran.ok, "{ran:?}");
        let clone = rig.clone.moved()? - before.clone;
        let moved = (clone.writes, clone.written, clone.discards);
        ensure!(moved == (1, 0, 0), "no flush of the clone alone: {clone:?}");
        let source = rig.source.moved()? - before.source;
        ensure!(source.writes >= 1 && source.written == 0, "{source:?}");
        Ok(())
    })
}

fn flush_fails() -> Result<()> {
    let rig = Rig::new(spec().features("format identical"))?;
    with(rig, |rig| {
        rig.fill_source(Writer::Clone)?;
        rig.clone.break_flushes()?;
        let flushes = refused(rig, "Input/output error", "clone flush failed");
        rig.clone.heal()?;
        flushes?;
        let ran = assume(rig)?;
        ensure!(ran.ok, "{ran:?}");
        Ok(())
    })
}
