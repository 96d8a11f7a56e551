// SPDX-License-Identifier: GPL-2.0

//! Tables of several lines: one that cannot be resumed leaves the others as they were.

use super::{explained, trial};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::maps::Blocks as Superblocks;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::{dm, wait};
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::one_fails_at_resume", one_fails),
        trial("neighbours::taken_away_after_it_failed", taken_away),
        trial("neighbours::a_message_while_one_resumes", message_between),
    ]
}

/// A mapped device, and slices for a line behind its own.
struct Pair {
    rig: Rig,
    other: Rig,
}

impl Pair {
    fn new() -> Result<Self> {
        let spec = Spec::new(Blocks::B512, 128).features("format no_copy");
        Ok(Self {
            rig: Rig::new(spec.clone())?,
            other: Rig::slices(spec)?,
        })
    }

    /// Loads a table of both lines; the device is suspended then.
    fn load(&self) -> Result<()> {
        let (rig, other) = (&self.rig, &self.other);
        let table = format!(
            "{}\n{} {} restore {} {} {} {} 1 format",
            rig.table("1 no_copy"),
            rig.spec.length,
            other.spec.length,
            other.metadata.path(),
            other.source.path(),
            other.clone.path(),
            other.spec.extent
        );
        dm::ok(&["load", &rig.name, "--table", &table])?;
        rig.suspend()
    }

    /// Crashes with what the first line has on its metadata device, and checks what is found.
    fn crash_and_check(self) -> Result<()> {
        let mut rig = self.rig.crash()?;
        self.other.close()?;
        let mut log = Log::from_now()?;
        check(&mut rig).map_err(|error| explained(error, &rig, &mut log))?;
        rig.shut_down()?;
        rig.check_maps_against_disks()?;
        rig.close()
    }
}

fn check(rig: &mut Rig) -> Result<()> {
    rig.check_counts()?;
    rig.check(rig.all())?;
    rig.resume_and_finish()?;
    rig.check(rig.all())
}

/// The line in front is as suspended as its device, and takes messages for which it must be. When
/// the other one works again, the device is resumed with both.
fn one_fails() -> Result<()> {
    let mut pair = Pair::new()?;
    pair.rig.write(0..8)?;
    pair.load()?;
    pair.other.metadata.break_down()?;
    let ran = dm::run(&["resume", &pair.rig.name])?;
    ensure!(!ran.ok, "a line without metadata was resumed");
    let mut log = Log::from_now()?;
    let begun = pair.rig.message("start_restore");
    begun.map_err(|error| explained(error, &pair.rig, &mut log))?;
    pair.other.metadata.heal()?;
    pair.rig.resume()?;
    pair.rig.tracker.begin_restore();
    pair.rig.write(8..16)?;
    pair.rig.flush()?;
    pair.crash_and_check()
}

/// The line in front never came into use: the next table finds what it had.
fn taken_away() -> Result<()> {
    let mut pair = Pair::new()?;
    pair.rig.write(0..8)?;
    pair.load()?;
    pair.other.metadata.break_down()?;
    let ran = dm::run(&["resume", &pair.rig.name])?;
    ensure!(!ran.ok, "a line without metadata was resumed");
    pair.other.metadata.heal()?;
    pair.rig.start_again("1 no_copy")?;
    pair.rig.check_counts()?;
    pair.rig.check(pair.rig.all())?;
    pair.rig.start_restore()?;
    pair.crash_and_check()
}

/// One line has been asked whether it can be resumed, and the next one takes its time: what a message
/// makes durable now is not the last word on the metadata device.
fn message_between() -> Result<()> {
    let mut pair = Pair::new()?;
    let part = pair.rig.metadata.part.clone();
    let activation = || -> Result<u64> { Ok(Superblocks::open(&part)?.superblock()?.activation) };
    let before = activation()?;
    pair.load()?;
    pair.other.metadata.hold()?;
    let name = pair.rig.name.clone();
    let resuming = wait::background("resume", move || dm::ok(&["resume", &name]));
    let asked = wait::for_condition("the first line is asked", || Ok(activation()? > before));
    let mut log = Log::from_now()?;
    let begun = asked.and_then(|()| pair.rig.message("start_restore"));
    pair.other.metadata.release()?;
    resuming.join()??;
    begun.map_err(|error| explained(error, &pair.rig, &mut log))?;
    pair.rig.tracker.begin_restore();
    pair.rig.write(0..8)?;
    pair.rig.flush()?;
    pair.crash_and_check()
}
