// SPDX-License-Identifier: GPL-2.0

//! Telling devices apart: what is not the recorded device is refused, with the reason, and each way
//! out works.

use super::{on, trial};
use anyhow::{ensure, Result};
use dm_restore_engine::format::BLOCK;
use dm_restore_tests::disks::{Blocks, Part};
use dm_restore_tests::io::Device;
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::maps;
use dm_restore_tests::model::host_data;
use dm_restore_tests::refusal::Reasons;
use dm_restore_tests::rig::{Rig, Spec};
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("identity::exchanged", exchanged),
        trial("identity::exchanged_in_a_restore", exchanged_in_a_restore),
        trial("identity::exchanged_by_a_crash", exchanged_by_a_crash),
        trial(
            "identity::exchanged_after_discards",
            exchanged_after_discards,
        ),
        trial("identity::changed_behind_a_restore", changed_behind),
        trial("identity::older_clone", older_clone),
        trial("identity::lost_superblock", lost_superblock),
        trial("identity::clone_that_was_wiped", wiped_clone),
        trial("identity::clone_that_has_grown", grown),
        trial("identity::clone_that_was_touched", touched_clone),
        trial(
            "identity::clone_that_was_touched_in_a_restore",
            touched_clone_in_a_restore,
        ),
        trial("identity::both_were_changed", both_changed),
        trial("identity::source_that_was_changed", changed_source),
        trial(
            "identity::source_that_was_changed_in_a_restore",
            changed_source_in_a_restore,
        ),
        trial("identity::crash", crash),
        trial("identity::discarded", discarded),
    ]
}

/// A sector that no sample lies in by chance.
const SECTOR: u64 = 1100;

fn spec() -> Spec {
    Spec::new(Blocks::B512, 128).length(8192)
}

fn device(part: &Part) -> Result<Device> {
    Device::open(&part.disk.path(part.blocks))
}

/// Copies all of a part.
fn copy(from: &Part, to: &Part) -> Result<()> {
    let (source, target) = (device(from)?, device(to)?);
    for at in (0..from.sectors).step_by(2048) {
        let end = (at + 2048).min(from.sectors);
        let data = source.read(from.start + at..from.start + end)?;
        target.write(to.start + at, &data)?;
    }
    Ok(target.flush()?)
}

/// Writes to a sector of a part behind the target's back.
fn change(part: &Part, sector: u64) -> Result<()> {
    let at = part.start + sector;
    let device = device(part)?;
    device.write(at, &host_data(at..at + 1, 77))?;
    Ok(device.flush()?)
}

/// A mapped device over a source and its copy, that the host has then written to. The copy is on the
/// disk of sources, since the one of clones cannot be written to.
fn twins() -> Result<Rig> {
    let (one, other) = (
        Rig::slices(spec().features("format identical"))?,
        Rig::slices(spec())?,
    );
    let (source, clone) = (one.source.part.clone(), other.source.part.clone());
    copy(&source, &clone)?;
    let mut rig = with(&one, &source, &clone)?;
    one.close()?;
    other.close()?;
    rig.create()?;
    rig.write(SECTOR..SECTOR + 1)?;
    Ok(rig)
}

/// The same metadata with other devices.
fn with(rig: &Rig, source: &Part, clone: &Part) -> Result<Rig> {
    Rig::assemble(
        rig.spec.clone(),
        source.clone(),
        clone.clone(),
        rig.metadata.part.clone(),
        rig.tracker.clone(),
    )
}

/// These devices are refused.
fn refuses(rig: &Rig, [source, clone]: [&Part; 2], words: &str, must: &str) -> Result<()> {
    let other = with(rig, source, clone)?;
    let mut reasons = Reasons::default();
    let case = format!("words '{words}'");
    reasons.table(&other, &case, &other.table(words), must);
    other.close()?;
    reasons.check(1)
}

fn extents_that_differ(rig: &Rig) -> Result<u64> {
    Ok(maps::read(&rig.metadata.part)?.cdm.len() as u64)
}

fn exchanged() -> Result<()> {
    let mut rig = twins()?;
    // Where they differ both are sampled from the first load on.
    rig.start_again("0")?;
    rig.shut_down()?;
    let parts = [&rig.clone.part, &rig.source.part];
    for words in ["0", "1 assume_different", "2 assume_same accept_clone"] {
        refuses(&rig, parts, words, EXCHANGED)?;
    }
    rig.create_with("0")?;
    rig.close()
}

fn exchanged_in_a_restore() -> Result<()> {
    let mut rig = twins()?;
    rig.reload("1 no_copy")?;
    rig.start_restore()?;
    rig.shut_down()?;
    let parts = [&rig.clone.part, &rig.source.part];
    for words in ["0", "1 start_over", "2 assume_same accept_clone"] {
        refuses(&rig, parts, words, EXCHANGED)?;
    }
    rig.create_with("1 no_copy")?;
    rig.expect("restoring paused rw")?;
    rig.close()
}

const EXCHANGED: &str = "source and clone are exchanged";

/// The machine crashes in a restore, and devices have other names when it is back. What looks like a clone
/// that was touched is the source.
fn exchanged_by_a_crash() -> Result<()> {
    let mut rig = twins()?;
    rig.write(0..8)?;
    rig.reload("1 no_copy")?;
    rig.start_restore()?;
    crashes(&mut rig)?;
    let parts = [&rig.clone.part, &rig.source.part];
    for words in ["0", "1 accept_clone", "1 start_over", "1 assume_same"] {
        refuses(&rig, parts, words, EXCHANGED)?;
    }
    rig.create_with("1 no_copy")?;
    rig.expect("restoring paused rw")?;
    rig.close()
}

/// What is on the metadata device in use is what a crash leaves. Returned, too.
fn crashes(rig: &mut Rig) -> Result<Vec<u8>> {
    rig.flush()?;
    let blocks = maps::Blocks::open(&rig.metadata.part)?;
    let in_use = blocks.read_all()?;
    rig.shut_down()?;
    blocks.write_all(&in_use)?;
    Ok(in_use)
}

/// Of a source that was discarded as a whole nothing is sampled: the clone tells.
fn exchanged_after_discards() -> Result<()> {
    let mut rig = twins()?;
    rig.discard(rig.all())?;
    rig.write(rig.all())?;
    rig.start_again("0")?;
    rig.shut_down()?;
    let parts = [&rig.clone.part, &rig.source.part];
    for words in ["0", "1 accept_clone", "1 assume_different"] {
        refuses(&rig, parts, words, EXCHANGED)?;
    }
    rig.create_with("0")?;
    rig.close()
}

/// Behind a restore source and clone are the same, so that either has what was recorded of the other. A
/// source that is then changed is called changed.
fn changed_behind() -> Result<()> {
    let mut rig = twins()?;
    rig.start_restore()?;
    rig.wait_restored()?;
    rig.shut_down()?;
    change(&rig.source.part, SECTOR + 1)?;
    let parts = [&rig.source.part, &rig.clone.part];
    refuses(
        &rig,
        parts,
        "0",
        "source does not have the recorded content",
    )?;
    rig.create_with("1 assume_different")?;
    rig.close()
}

/// Yesterday's clone differs from today's in one sector.
fn older_clone() -> Result<()> {
    let spare = Rig::slices(spec())?;
    let mut rig = twins()?;
    let yesterday = spare.source.part.clone();
    copy(&rig.clone.part, &yesterday)?;
    rig.suspend()?;
    copy(&rig.source.part, &rig.clone.part)?;
    rig.message("assume_identical")?;
    rig.resume()?;
    rig.write(0..8)?;
    rig.reload("1 no_copy")?;
    rig.start_restore()?;
    rig.shut_down()?;
    let parts = [&rig.source.part, &yesterday];
    refuses(
        &rig,
        parts,
        "1 no_copy",
        "clone does not have the recorded content",
    )?;
    rig.create_with("1 no_copy")?;
    rig.close()?;
    spare.close()
}

/// The first superblock is gone in the first activation: that is no format that was cut off.
fn lost_superblock() -> Result<()> {
    let mut rig = twins()?;
    let blocks = maps::Blocks::open(&rig.metadata.part)?;
    let in_use = blocks.read_all()?;
    rig.shut_down()?;
    blocks.write_all(&in_use)?;
    blocks.write(0, &[0; BLOCK])?;
    let parts = [&rig.source.part, &rig.clone.part];
    for words in ["0", "2 format identical"] {
        refuses(&rig, parts, words, "superblock is damaged")?;
    }
    rig.close()
}

fn grown() -> Result<()> {
    let mut rig = Rig::slices(Spec {
        clone_extra: 2048,
        ..spec().features("format")
    })?;
    let whole = rig.clone.part.clone();
    let small = Part {
        sectors: rig.spec.length,
        ..whole.clone()
    };
    let mut before = with(&rig, &rig.source.part, &small)?;
    before.create()?;
    before.shut_down()?;
    before.close()?;
    let mut log = Log::from_now()?;
    rig.create_with("0")?;
    let lines = log.lines()?;
    let told = |line: &String| line.contains("clone has") && line.contains("when it was recorded");
    ensure!(lines.iter().any(told), "not in the log: {lines:?}");
    rig.shut_down()?;
    // It may shrink, too, as long as it has what is mapped.
    let mut after = with(&rig, &rig.source.part, &small)?;
    after.create_with("0")?;
    after.close()?;
    rig.close()
}

/// Nothing is rolled back to a clone that was written to while the volume was in use.
fn wiped_clone() -> Result<()> {
    let rig = twins()?;
    change(&rig.clone.part, 0)?;
    rig.suspend()?;
    let mut reasons = Reasons::default();
    reasons.message(&rig, "start_restore", "was written to (sector 0)");
    rig.resume()?;
    rig.expect("tracking idle rw")?;
    reasons.check(1)?;
    rig.close()
}

fn touched_clone() -> Result<()> {
    let mut rig = twins()?;
    rig.shut_down()?;
    change(&rig.clone.part, 0)?;
    let parts = [&rig.source.part, &rig.clone.part];
    let must = "clone does not have the recorded content";
    for words in ["0", "1 assume_different", "1 assume_same"] {
        refuses(&rig, parts, words, must)?;
    }
    rig.create_with("1 accept_clone")?;
    rig.expect("tracking idle rw")?;
    let differ = extents_that_differ(&rig)?;
    ensure!(differ == rig.spec.extents(), "{differ} extents differ");
    // It counts once, and what was accepted is recorded.
    rig.start_again("0")?;
    rig.close()
}

fn touched_clone_in_a_restore() -> Result<()> {
    let mut rig = twins()?;
    rig.reload("1 no_copy")?;
    rig.start_restore()?;
    rig.shut_down()?;
    change(&rig.clone.part, 0)?;
    let parts = [&rig.source.part, &rig.clone.part];
    let must = "clone does not have the recorded content";
    for words in ["0", "1 start_over", "1 assume_same"] {
        refuses(&rig, parts, words, must)?;
    }
    let mut log = Log::from_now()?;
    rig.create_with("2 no_copy accept_clone")?;
    rig.expect("restoring paused rw")?;
    starts_over(&rig, &mut log)?;
    rig.close()
}

/// Neither device is what was recorded: each needs its own word.
fn both_changed() -> Result<()> {
    for (restoring, of_source) in [(false, "assume_different"), (true, "start_over")] {
        let mut rig = twins()?;
        if restoring {
            rig.reload("1 no_copy")?;
            rig.start_restore()?;
        }
        rig.shut_down()?;
        change(&rig.source.part, 0)?;
        change(&rig.clone.part, 8)?;
        let parts = [&rig.source.part, &rig.clone.part];
        for words in ["0", &format!("1 {of_source}"), "1 accept_clone"] {
            refuses(&rig, parts, words, "does not have the recorded content")?;
        }
        rig.create_with(&format!("3 no_copy {of_source} accept_clone"))?;
        let differ = extents_that_differ(&rig)?;
        ensure!(differ == rig.spec.extents(), "{differ} extents differ");
        rig.close()?;
    }
    Ok(())
}

/// Everything is unrestored again, and the log says so.
fn starts_over(rig: &Rig, log: &mut Log) -> Result<()> {
    let differ = extents_that_differ(rig)?;
    ensure!(
        differ == rig.spec.extents(),
        "{differ} extents are unrestored"
    );
    let lines = log.lines()?;
    let told = |line: &String| line.contains("the restore starts over");
    ensure!(lines.iter().any(told), "not in the log: {lines:?}");
    Ok(())
}

fn changed_source() -> Result<()> {
    let must = "source does not have the recorded content";
    for (words, differ) in [("1 assume_different", None), ("1 assume_same", Some(1))] {
        let mut rig = twins()?;
        rig.shut_down()?;
        change(&rig.source.part, SECTOR + 1)?;
        let parts = [&rig.source.part, &rig.clone.part];
        refuses(&rig, parts, "0", must)?;
        refuses(&rig, parts, "1 accept_clone", must)?;
        let wrong_word = "start_over is refused while tracking";
        refuses(&rig, parts, "1 start_over", wrong_word)?;
        rig.create_with(words)?;
        let found = extents_that_differ(&rig)?;
        let all = rig.spec.extents();
        ensure!(found == differ.unwrap_or(all), "{words}: {found} differ");
        rig.start_again("0")?;
        rig.close()?;
    }
    Ok(())
}

fn changed_source_in_a_restore() -> Result<()> {
    let must = "source does not have the recorded content";
    for words in ["start_over", "assume_same"] {
        let mut rig = twins()?;
        rig.reload("1 no_copy")?;
        rig.start_restore()?;
        rig.shut_down()?;
        change(&rig.source.part, 0)?;
        let parts = [&rig.source.part, &rig.clone.part];
        refuses(&rig, parts, "0", must)?;
        let wrong_word = "assume_different is refused while restoring";
        refuses(&rig, parts, "1 assume_different", wrong_word)?;
        let mut log = Log::from_now()?;
        rig.create_with(&format!("2 no_copy {words}"))?;
        rig.expect("restoring paused rw")?;
        if words == "start_over" {
            starts_over(&rig, &mut log)?;
        } else {
            ensure!(
                extents_that_differ(&rig)? == 1,
                "{words} has changed the map"
            );
        }
        rig.close()?;
    }
    let mut rig = twins()?;
    rig.shut_down()?;
    let parts = [&rig.source.part, &rig.clone.part];
    refuses(
        &rig,
        parts,
        "1 start_over",
        "start_over is refused while tracking",
    )?;
    rig.close()
}

/// What a crash leaves is taken up, though the host has written where samples were taken.
fn crash() -> Result<()> {
    let mut rig = twins()?;
    rig.start_again("0")?;
    rig.write(SECTOR..SECTOR + 1)?;
    rig.write(0..8)?;
    let in_use = crashes(&mut rig)?;
    rig.create_with("0")?;
    rig.shut_down()?;
    // Where no bit is set nobody has written.
    maps::Blocks::open(&rig.metadata.part)?.write_all(&in_use)?;
    change(&rig.source.part, rig.spec.length - 1)?;
    let parts = [&rig.source.part, &rig.clone.part];
    refuses(
        &rig,
        parts,
        "0",
        "source does not have the recorded content",
    )?;
    rig.close()
}

/// What a discard has met may read differently later.
fn discarded() -> Result<()> {
    on(spec().features("format"), |rig| {
        rig.discard(0..8)?;
        rig.shut_down()?;
        change(&rig.source.part, 0)?;
        rig.create_with("0")
    })
}
