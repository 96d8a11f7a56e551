// SPDX-License-Identifier: GPL-2.0

//! Devices that fail: only the requests that needed them are hurt, it is counted and told, and it
//! goes on when the device is back.
//!
//! The scenarios are named after the rows of the tables in the manual, section *Failing devices*:
//! `faults::clone::gone_at_load` is the row *gone at load* of the clone's table.

mod clone;
mod dropped;
pub mod log;
mod metadata;
mod rows;
mod source;
mod unplugged;
mod waiting;

use super::on;
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::kmsg::{self, Log};
use dm_restore_tests::model::host_data;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::status::Status;
use dm_restore_tests::wait;
use libtest_mimic::Trial;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Those of the tables' rows; [`log`] has its own.
pub fn trials() -> Vec<Trial> {
    [
        clone::trials(),
        source::trials(),
        metadata::trials(),
        dropped::trials(),
        waiting::trials(),
        unplugged::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const EXTENT: u64 = 128;

/// Extents are copied one by one, so that each copy is one request to each device.
fn spec() -> Spec {
    Spec::new(Blocks::B512, EXTENT).core("copy_size", EXTENT)
}

/// The sectors of an extent.
fn extent(number: u64) -> Range<u64> {
    number * EXTENT..(number + 1) * EXTENT
}

/// A few sectors of an extent.
fn part(number: u64) -> Range<u64> {
    number * EXTENT + 16..number * EXTENT + 24
}

/// A write that is expected to fail: nothing is noted about it.
fn try_write(rig: &Rig, sectors: Range<u64>) -> std::io::Result<()> {
    let host = rig.host().map_err(std::io::Error::other)?;
    host.write(sectors.start, &host_data(sectors, 999))
}

/// The same with FUA.
fn try_write_fua(rig: &Rig, sectors: Range<u64>) -> std::io::Result<()> {
    let host = rig.host().map_err(std::io::Error::other)?;
    host.write_fua(sectors.start, &host_data(sectors, 999))
}

/// A restore under way: extent 0 was overwritten whole, extent 1 in part, and both are durable.
fn begin_and_restore_two(rig: &mut Rig) -> Result<()> {
    rig.start_restore()?;
    rig.write(extent(0))?;
    rig.write(part(1))?;
    rig.flush()
}

/// Waits until a copy has stalled at its only bad extent. What it has copied counts when a flush has
/// made it durable, which may be a moment after that.
fn all_else_is_restored(rig: &Rig) -> Result<Status> {
    rig.status_when("all but one extent is restored", |status| {
        status.summary() == "restoring stalled rw"
            && (status.cdm, status.restored) == (1, status.extents - 1)
    })
}

/// A copy that is stalled gets its device back: an event tells that it goes on, another one that it
/// is over, and there are no more.
fn comes_back(rig: &mut Rig, heal: impl FnOnce(&Rig) -> Result<()>) -> Result<()> {
    let before = rig.figures()?;
    let told = rig.event_after(before.events);
    heal(rig)?;
    told.join()??;
    rig.wait_restored()?;
    rig.expect_events(&before, 2)?;
    check_end(rig)
}

/// The end of a restore: bits, content, and the maps on the metadata device are right.
fn check_end(rig: &mut Rig) -> Result<()> {
    rig.check_counts()?;
    rig.check(rig.all())?;
    rig.shut_down()?;
    rig.check_maps_against_disks().map(drop)
}

/// How often something is tried at most in a time of `elapsed` that is tried anew after pauses of
/// 1 s, 2 s, 4 s and so on up to 30 s.
fn tries_within(elapsed: Duration) -> u64 {
    let (mut tries, mut pause, mut at) = (1, 1, 0);
    while at + pause <= elapsed.as_secs() {
        at += pause;
        tries += 1;
        pause = (2 * pause).min(30);
    }
    tries
}

/// Waits until something that fails was tried twice more than the `first` times at once, and
/// checks that it was not tried more often than the back-off allows. `tries` counts them.
fn backs_off(rig: &Rig, since: Instant, first: u64, tries: impl Fn(&Status) -> u64) -> Result<()> {
    let count = || Ok::<_, anyhow::Error>(tries(&rig.status()?));
    wait::for_condition("it was tried again", || Ok(count()? >= first + 2))?;
    let (tries, most) = (count()?, first + tries_within(since.elapsed()));
    let elapsed = since.elapsed();
    ensure!(tries <= most, "{tries} tries in {elapsed:?}, not {most}");
    Ok(())
}

/// Counts what the target logs about a device.
struct LogCount {
    log: Log,
    since: Instant,
}

impl LogCount {
    fn start() -> Result<Self> {
        Ok(Self {
            log: Log::from_now()?,
            since: Instant::now(),
        })
    }

    /// Checks that there was a line, and that there were no more than ten in five seconds, and one
    /// that counts those left out.
    fn check(mut self, rig: &Rig) -> Result<()> {
        let lines = self.log.lines()?;
        let own = |line: &&String| kmsg::of_target(line, rig.number()).is_some();
        let lines = lines.iter().filter(own).count() as u64;
        let periods = self.since.elapsed().as_secs() / 5 + 2;
        ensure!(
            (1..=11 * periods).contains(&lines),
            "{lines} lines in {:?}",
            self.since.elapsed()
        );
        Ok(())
    }
}
