// SPDX-License-Identifier: GPL-2.0

//! The second boot, with the clone attached read-only: work, damage, restore, and once more.

use anyhow::{ensure, Result};
use dm_restore_demo::{Content, Event};

use crate::database::{Database, Era};
use crate::disk::Stat;
use crate::{damage, report, restore, volume};

const ENTRIES_AFTER_CLONE: u64 = 200;
/// The demo has to damage at least this part of the volume.
const DAMAGE_PERCENT: u64 = 30;

/// Run it; `expected` is what the clone holds.
///
/// # Errors
///
/// A step failed, or a promise does not hold.
pub fn run(expected: &Content) -> Result<()> {
    report::section(
        "A reboot, and work goes on",
        "The state of the target survived in its metadata. The hypervisor attaches the clone \
         read-only now. What is written from here on is what a restore takes back.",
    );
    volume::create(&[])?;
    volume::mount()?;
    work()?;

    report::section(
        "Damage",
        "A program goes mad: it overwrites the whole database with noise and removes every file.",
    );
    first_damage()?;
    let first = restore::run(1, expected)?;
    report::event(&Event::Restored(Box::new(first.figures.clone())));

    report::section(
        "Damaged again",
        "The same clone can be used again. The target has tracked what the host wrote since the \
         first restore began (the protected restore map became the clone delta map): only that \
         can differ.",
    );
    let removed = damage::again()?;
    rustix::fs::sync();
    report::fact(format!(
        "the first 384 MiB of the database are noise, {removed} files are gone"
    ));
    let written = Stat::of(volume::PATH)?.since(first.began);
    let second = restore::run(2, expected)?;
    second_is_small(&written, &second.figures, &first.figures)?;
    report::event(&Event::Restored(Box::new(second.figures)));
    finish()
}

fn work() -> Result<()> {
    let database = Database::open()?;
    let first = database.next_entry()?;
    for id in first..first + ENTRIES_AFTER_CLONE {
        database.append(id, Era::AfterClone)?;
    }
    database.close()?;
    let status = volume::status()?;
    ensure!(status.mode == "tracking", "not tracking: {status:?}");
    report::fact(format!(
        "{ENTRIES_AFTER_CLONE} more ledger entries; {} of {} extents differ from the clone",
        status.delta, status.extents
    ));
    Ok(())
}

fn first_damage() -> Result<()> {
    let removed = damage::everything()?;
    rustix::fs::sync();
    let status = volume::status()?;
    let share = report::percent(status.delta, status.extents);
    report::fact(format!(
        "{removed} files are gone, SQLite can no longer read the database"
    ));
    ensure!(
        status.delta * 100 >= status.extents * DAMAGE_PERCENT,
        "only {share} of the extents differ"
    );
    report::fact(format!(
        "{} of {} extents differ from the clone ({share})",
        status.delta, status.extents
    ));
    Ok(())
}

/// The second restore had no more to do than what the host touched since the first began.
fn second_is_small(
    written: &Stat,
    second: &dm_restore_demo::Figures,
    first: &dm_restore_demo::Figures,
) -> Result<()> {
    // A request of n extents touches at most n + 2. Unmounting wrote a little more.
    let unmount = 64;
    let most = (written.written + written.discarded) / dm_restore_demo::EXTENT_BYTES
        + 2 * written.changes
        + unmount;
    ensure!(
        second.delta <= most && second.delta < first.delta,
        "{} extents differed, but the host can only have touched {most}",
        second.delta
    );
    report::checked(format!(
        "the second restore copied {} extents, the first {}",
        second.copied, first.copied
    ));
    Ok(())
}

fn finish() -> Result<()> {
    volume::unmount()?;
    volume::healthy()?;
    let status = volume::status()?;
    report::event(&Event::End {
        marked_extents: status.delta,
    });
    volume::remove()
}
