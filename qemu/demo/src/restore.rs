// SPDX-License-Identifier: GPL-2.0

//! One protected restore: start it, use the volume at once, watch the copy, measure.

use std::thread;
use std::time::Instant;

use anyhow::{anyhow, ensure, Result};
use dm_restore_demo::{Content, Figures, EXTENT_BYTES};

use crate::database::{Database, Era, DOCUMENTS};
use crate::disk::{by_serial, Stat};
use crate::load::{Done, Load};
use crate::{export, files, report, volume, watch};

/// This part of the delta must still be unrestored when everything has been verified.
const UNRESTORED_PERCENT: u64 = 80;

/// What a restore leaves.
pub struct Outcome {
    /// What it measured.
    pub figures: Figures,
    /// The volume's counters when it began.
    pub began: Stat,
}

/// The counters of all disks at one time.
#[derive(Clone, Copy)]
struct Disks {
    volume: Stat,
    source: Stat,
    clone: Stat,
}

impl Disks {
    fn now() -> Result<Self> {
        Ok(Self {
            volume: Stat::of(volume::PATH)?,
            source: Stat::of(&by_serial("source"))?,
            clone: Stat::of(&by_serial("clone"))?,
        })
    }
}

/// Restore the mounted, damaged volume and prove that it is what the clone holds; `number`
/// counts restores from 1.
///
/// # Errors
///
/// A step failed, or a promise does not hold.
pub fn run(number: u64, expected: &Content) -> Result<Outcome> {
    report::section(&format!("Protected restore {number}"), &why(number));
    volume::unmount()?;
    volume::suspend()?;
    let status = volume::status()?;
    let mut figures = Figures {
        extents: status.extents,
        delta: status.delta,
        held_rate: slow_rate(status.delta),
        ..Figures::default()
    };
    volume::message(&["copy_rate", &figures.held_rate.to_string()])?;
    let clock = Instant::now();
    volume::message(&["start_restore"])?;
    // Samples of the clone have been read by now.
    let before = Disks::now()?;
    volume::resume()?;
    volume::mount()?;

    let load = use_it(number, expected, clock, &mut figures)?;
    measure(&mut figures, before, Disks::now()?)?;
    check_after(number, expected, &load, &mut figures)?;
    Ok(Outcome {
        figures,
        began: before.volume,
    })
}

fn why(number: u64) -> String {
    let first = "ext4 keeps in memory what it believes is on the disk, and a disk must not change \
                 under a mounted file system. So it is unmounted, but only for the moment in which \
                 the volume goes back. ";
    let again = "Unmounted for a moment, as before. ";
    let held = "Until everything is verified the background copy is held to a low rate \
                (`copy_rate`), so that what is shown does not depend on how fast this machine \
                copies; then the limit is lifted.";
    format!("{}{held}", if number == 1 { first } else { again })
}

/// A quarter of a percent of the delta a second: KiB/s. Verifying takes seconds.
fn slow_rate(delta: u64) -> u64 {
    (delta * EXTENT_BYTES / 1024 / 400).max(256)
}

/// Query, write and verify while the copy runs; returns when it is over.
fn use_it(number: u64, expected: &Content, clock: Instant, figures: &mut Figures) -> Result<Done> {
    let database = Database::open()?;
    database.check_document(DOCUMENTS / 2)?;
    figures.first_query_ms = millis(clock);
    report::checked(format!(
        "first correct query {} ms after start_restore",
        figures.first_query_ms
    ));

    let load = Load::start(number);
    let meter = load.meter();
    let delta = figures.delta;
    let watch = thread::spawn(move || watch::until_finished(clock, delta, &meter));

    verify(&database, expected)?;
    figures.verified_ms = millis(clock);
    still_unrestored(figures)?;
    drop(database);

    volume::message(&["copy_rate", "0"])?;
    let whole = watch
        .join()
        .map_err(|_| anyhow!("the watcher panicked"))??;
    figures.whole_ms = u64::try_from(whole.as_millis())?;
    load.stop()
}

/// The clone's content is all there, and nothing later.
fn verify(database: &Database, expected: &Content) -> Result<()> {
    database.check_integrity()?;
    report::checked("PRAGMA integrity_check: ok");
    let mut found = database.content()?;
    // The write load may be making the file larger.
    found.database_bytes = expected.database_bytes;
    ensure!(
        found == *expected,
        "the clone held {expected:?}, now it is {found:?}"
    );
    report::checked(format!("checksum over all rows: {}", found.checksum));
    let later = database.entries(Era::AfterClone)?;
    ensure!(
        later == 0,
        "{later} entries from after the clone are still there"
    );
    files::verify()?;
    report::checked(format!("all {} files are back", files::COUNT));
    Ok(())
}

fn still_unrestored(figures: &mut Figures) -> Result<()> {
    let status = volume::status()?;
    let share = report::percent(status.delta, figures.delta);
    ensure!(
        status.mode == "restoring" && status.delta * 100 >= figures.delta * UNRESTORED_PERCENT,
        "only {share} of the delta was unrestored when everything was verified: {status:?}"
    );
    figures.unrestored_when_verified = status.delta;
    report::checked(format!(
        "all this while {share} of the delta was still unrestored"
    ));
    Ok(())
}

/// Tell copies from the host's own requests by the counters of the disks.
fn measure(figures: &mut Figures, before: Disks, after: Disks) -> Result<()> {
    let volume = after.volume.since(before.volume);
    let source = after.source.since(before.source);
    let clone = after.clone.since(before.clone);
    // Each read of the volume went to the source or to the clone, whole or in parts; copies read
    // the clone and write the source.
    let from_clone = volume.read.checked_sub(source.read);
    let copied = source.written.checked_sub(volume.written);
    let (Some(from_clone), Some(copied)) = (from_clone, copied) else {
        anyhow::bail!("the disks' counters make no sense: {volume:?} {source:?} {clone:?}");
    };
    ensure!(
        clone.read == from_clone + copied,
        "{} bytes were read from the clone, but {from_clone} for the host and {copied} to copy",
        clone.read
    );
    ensure!(
        clone.written == 0 && clone.discarded == 0,
        "the clone was written to"
    );
    figures.clone_host_bytes = from_clone;
    figures.clone_copy_bytes = copied;
    figures.host_write_bytes = volume.written;
    figures.copied = copied / EXTENT_BYTES;
    Ok(())
}

/// The state at the end of a restore: what the host wrote meanwhile is there too.
fn check_after(number: u64, expected: &Content, load: &Done, figures: &mut Figures) -> Result<()> {
    let status = volume::status()?;
    volume::healthy()?;
    ensure!(
        status.restored == figures.delta,
        "{} extents differed, {} were restored",
        figures.delta,
        status.restored
    );
    ensure!(
        figures.copied <= figures.delta,
        "{} extents differed, {} were copied",
        figures.delta,
        figures.copied
    );
    figures.overwritten = figures.delta - figures.copied;
    figures.commits = load.commits;

    volume::forget_cache()?;
    let database = Database::open()?;
    verify(&database, expected)?;
    let entries = database.entries(Era::Restore(number))?;
    ensure!(
        entries == load.commits,
        "{} entries were committed, {entries} are there",
        load.commits
    );
    database.close()?;
    export::verify(load.rewritten, number)?;
    report::checked(format!(
        "all {entries} transactions committed during the copy are there"
    ));
    Ok(())
}

fn millis(clock: Instant) -> u64 {
    u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX)
}
