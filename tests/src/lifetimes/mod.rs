// SPDX-License-Identifier: GPL-2.0

//! What is used after it was given away: completions linger there, until all that they could use has
//! been taken away, if nothing waits for them. KASAN and lockdep are the judges, so this needs the
//! debug kernel; its module can linger.
//!
//! The disks are of memory: they complete in the thread that submits, which may be preempted and
//! holds up nobody else. What is to complete in a thread of its own goes through dm-delay.

mod linger;

use crate::scenarios::trial;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::bench::brd::Disks;
use dm_restore_tests::dm;
use dm_restore_tests::io::{Buffer, Device};
use dm_restore_tests::kmsg::{self, Log};
use dm_restore_tests::{sh, wait};
use libtest_mimic::Trial;
use linger::Linger;
use std::fs;

/// All of them. Each uses the disks and the module alone.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("lifetimes::a_bio_given_away", || clean(bio_given_away)),
        trial("lifetimes::the_module_unloaded", || clean(unloaded)),
        trial("lifetimes::lanes_and_isolation", || clean(isolated)),
    ]
}

const DISK: u64 = 32768;
const EXTENT: u64 = 128;
const LENGTH: u64 = 64 * EXTENT;
const SOURCE: &str = "/dev/ram0";
const CLONE: &str = "/dev/ram1";
const METADATA: &str = "/dev/ram2";
const NAME: &str = "life";

/// A scenario after which the kernel has nothing to complain of. It is asked at the end, since what
/// the scenario sees is the same either way.
fn clean(scenario: fn() -> Result<()>) -> Result<()> {
    let mut log = Log::from_now()?;
    let disks = Disks::new(3, DISK)?;
    let result = scenario();
    if result.is_err() {
        // For the next one, which needs the disks.
        let _ = dm::ok(&["remove_all"]);
    }
    drop(disks);
    let trouble = kmsg::trouble(&log.lines()?);
    ensure!(trouble.is_empty(), "{}\n{result:?}", trouble.join("\n"));
    result
}

/// An overwrite ends in dm-delay's thread, which leaves it to the worker and lingers. The worker
/// answers it; its host closes the device and removes it, which waits for that thread.
fn bio_given_away() -> Result<()> {
    let slow = "life-source";
    dm::ok(&["create", slow, "--table", &slow_writes(0, LENGTH, SOURCE)])?;
    create(METADATA, &dm::path(slow), "2 format no_copy")?;
    start_restore()?;
    let linger = Linger::at(&[linger::GAVE_AWAY])?;
    let write = wait::background("the overwrite", || {
        let device = Device::open(&dm::path(NAME))?;
        device.write(0, &Buffer::zeroed(EXTENT))?;
        anyhow::Ok(())
    });
    linger.begins(linger::GAVE_AWAY)?;
    dm::ok(&["message", NAME, "0", "copy_rate", "0"])?; // Wakes the worker.
    write.join()??;
    ensure!(linger.times()? == 0, "who gave it away holds up the answer");
    remove()?;
    let times = linger.times()?;
    linger.is_over()?; // If it was not: what it uses then is for KASAN.
    ensure!(times == 1, "removed under a thread that uses it");
    dm::ok(&["remove", "--retry", slow]).map(drop)
}

/// The journal block of a first touch ends in dm-delay's thread, which tells the worker and lingers,
/// with the last reference to the line, so that removing the device waits for it. It lingers again when
/// it has let go of everything: only unloading the module waits for that.
fn unloaded() -> Result<()> {
    let slow = "life-metadata";
    let journal = 16..16 + 256 * 8;
    let table = [
        format!("0 {} linear {METADATA} 0", journal.start),
        slow_writes(journal.start, journal.end - journal.start, METADATA),
        format!(
            "{} {} linear {METADATA} {0}",
            journal.end,
            DISK - journal.end
        ),
    ];
    dm::ok(&["create", slow, "--table", &table.join("\n")])?;
    create(&dm::path(slow), SOURCE, "2 format identical")?;
    let linger = Linger::at(&[linger::TOLD, linger::LET_GO])?;
    Device::open(&dm::path(NAME))?.write(0, &Buffer::zeroed(1))?;
    linger.begins(linger::TOLD)?;
    remove()?;
    let times = linger.times()?;
    ensure!(times == 1, "{times} threads have lingered by then");
    sh::ok("rmmod", &["dm_restore"])?;
    sh::ok("insmod", &["/payload/dm-restore.ko"])?;
    dm::ok(&["remove", "--retry", slow]).map(drop)
}

/// Copies go side by side, on processors that are chosen while one of them is isolated: lockdep sees
/// how the choice is made.
fn isolated() -> Result<()> {
    let isolated = fs::read_to_string("/sys/devices/system/cpu/isolated")?;
    ensure!(!isolated.trim().is_empty(), "no processor is isolated");
    create(METADATA, SOURCE, "1 format")?;
    start_restore()?;
    wait::for_condition("the restore is over", || {
        Ok(dm::ok(&["status", NAME])?.contains(" tracking "))
    })?;
    remove()
}

/// A line of a table for a part of a disk where writes, and nothing else, take their time: they do not
/// end before the thread that submits them is done with that, else it would be the one that ends them.
fn slow_writes(start: u64, sectors: u64, disk: &str) -> String {
    format!("{start} {sectors} delay {disk} {start} 0 {disk} {start} 200 {disk} {start} 0")
}

fn create(metadata: &str, source: &str, features: &str) -> Result<()> {
    let table = format!("0 {LENGTH} restore {metadata} {source} {CLONE} {EXTENT} {features} 0");
    dm::ok(&["create", NAME, "--table", &table])
        .map(drop)
        .context("mapped device")
}

fn start_restore() -> Result<()> {
    dm::ok(&["suspend", "--nolockfs", NAME])?;
    dm::ok(&["message", NAME, "0", "start_restore"])?;
    dm::ok(&["resume", NAME]).map(drop)
}

fn remove() -> Result<()> {
    dm::ok(&["remove", "--retry", NAME]).map(drop)
}
