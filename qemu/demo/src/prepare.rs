// SPDX-License-Identifier: GPL-2.0

//! The first boot: a volume with a database, and its clone.

use std::time::Instant;

use anyhow::{ensure, Result};
use dm_restore_demo::{Content, Event};

use crate::database::{Database, DOCUMENTS};
use crate::{clone, export, files, report, shell, volume};

/// Run it.
///
/// # Errors
///
/// A step failed.
pub fn run() -> Result<()> {
    report::section(
        "A volume and its database",
        "A production volume: ext4 with an SQLite database and some files, all written through \
         the `restore` target.",
    );
    volume::create(&["format"])?;
    // All of its tables now: ext4 would go on writing them in the background.
    let eager = "lazy_itable_init=0,lazy_journal_init=0";
    shell::show(&[
        "mkfs.ext4",
        "-q",
        "-E",
        eager,
        "-i",
        "65536",
        "-J",
        "size=16",
        volume::PATH,
    ])?;
    volume::mount()?;
    let content = fill()?;

    report::section(
        "The clone",
        "A full copy on another disk. While the volume is suspended nothing is written, and ext4 \
         is frozen, so the copy is consistent. `assume_identical` tells the target: from now on \
         it remembers each extent that changes.",
    );
    make_clone()?;

    let delta = volume::status()?.delta;
    volume::unmount()?;
    volume::healthy()?;
    report::fact(format!("extents that differ from the clone now: {delta}"));
    volume::remove()?;
    report::event(&Event::Cloned(content));
    Ok(())
}

/// Make the database and the files, and record what they hold as it is read back.
fn fill() -> Result<Content> {
    let clock = Instant::now();
    Database::create()?;
    files::create()?;
    export::create()?;
    let seconds = clock.elapsed().as_secs_f64();
    volume::forget_cache()?;
    let database = Database::open()?;
    let content = database.content()?;
    ensure!(
        content.documents == DOCUMENTS,
        "the database has {} documents",
        content.documents
    );
    database.close()?;
    report::fact(format!(
        "database of {} with {} documents and {} ledger entries, {} files: {seconds:.1} s",
        report::mib(content.database_bytes),
        content.documents,
        content.entries,
        content.files
    ));
    report::fact(format!("checksum over all rows: {}", content.checksum));
    Ok(content)
}

fn make_clone() -> Result<()> {
    volume::suspend()?;
    let clock = Instant::now();
    clone::copy_source()?;
    let seconds = clock.elapsed().as_secs_f64();
    volume::message(&["assume_identical"])?;
    volume::resume()?;
    report::fact(format!(
        "{} copied past the page cache: {seconds:.1} s",
        report::mib(dm_restore_demo::VOLUME_BYTES)
    ));
    Ok(())
}
