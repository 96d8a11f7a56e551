// SPDX-License-Identifier: GPL-2.0

//! The module comes and goes, and leaves nothing behind. These scenarios need it to themselves.

use super::trial;
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::kmsg::{self, Log};
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::sh;
use libtest_mimic::Trial;
use std::fs;

/// All of them; the last one looks back at the whole run.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("module::is_not_unloaded_while_in_use", in_use),
        trial("module::says_its_version", version),
        trial("module::is_loaded_and_unloaded_20_times", twenty_times),
        trial("module::leaves_nothing_in_memory", nothing_left),
        trial("kernel_log::is_clean", clean_log),
    ]
}

const MODULE: &str = "dm_restore";

fn load() -> Result<()> {
    sh::ok("insmod", &["/payload/dm-restore.ko"]).map(drop)
}

fn unload() -> Result<()> {
    sh::ok("rmmod", &[MODULE]).map(drop)
}

/// A device with all that it uses: copies, records, waiting writes.
fn use_it() -> Result<()> {
    let mut rig = Rig::new(Spec::new(Blocks::B512, 128).features("format"))?;
    rig.start_restore()?;
    rig.write(1000..1010)?;
    rig.wait_restored()?;
    rig.check(rig.all())?;
    rig.close()
}

fn in_use() -> Result<()> {
    let mut rig = Rig::new(Spec::new(Blocks::B512, 128).features("format"))?;
    let ran = sh::run("rmmod", &[MODULE])?;
    ensure!(!ran.ok && ran.err.contains("in use"), "{ran:?}");
    rig.start_restore()?;
    let ran = sh::run("rmmod", &[MODULE])?;
    ensure!(!ran.ok, "{ran:?}");
    rig.wait_restored()?;
    rig.check(rig.all())?;
    rig.close()
}

/// The module's version is that of its target.
fn version() -> Result<()> {
    let module = sh::ok("modinfo", &["-F", "version", "/payload/dm-restore.ko"])?;
    let loaded = fs::read_to_string("/sys/module/dm_restore/version")?;
    let targets = sh::ok("dmsetup", &["targets"])?;
    let target = targets
        .lines()
        .find_map(|line| line.strip_prefix("restore "));
    let target = target.unwrap_or_default().trim().trim_start_matches('v');
    ensure!(
        !module.is_empty() && module == target && loaded.trim() == target,
        "module {module:?}, loaded {loaded:?}, target {target:?}"
    );
    Ok(())
}

fn twenty_times() -> Result<()> {
    for time in 0..20 {
        unload()?;
        ensure!(!fs::exists("/sys/module/dm_restore")?, "it is still there");
        load()?;
        if time % 5 == 0 {
            use_it()?;
        }
    }
    use_it()?;
    Ok(())
}

/// `slab_nomerge` on the kernel's command line gives each cache a line of its own.
fn nothing_left() -> Result<()> {
    let cmdline = fs::read_to_string("/proc/cmdline")?;
    ensure!(
        cmdline.contains("slab_nomerge"),
        "caches may be merged: {cmdline}"
    );
    use_it()?;
    unload()?;
    let (slabs, ranges) = (
        fs::read_to_string("/proc/slabinfo")?,
        fs::read_to_string("/proc/vmallocinfo")?,
    );
    let left = traces(&slabs).chain(traces(&ranges)).collect::<Vec<_>>();
    let result = left.is_empty();
    load()?;
    ensure!(result, "left behind: {left:?}");
    Ok(())
}

/// Lines that speak of the module. Its own target's name is `restore`.
fn traces(list: &str) -> impl Iterator<Item = String> + '_ {
    let words = ["dm_restore", "dm-restore"];
    list.lines()
        .filter(move |line| words.iter().any(|word| line.contains(word)))
        .map(str::to_string)
}

fn clean_log() -> Result<()> {
    let trouble = kmsg::trouble(&Log::from_start()?.lines()?);
    ensure!(
        trouble.is_empty(),
        "the kernel has complained:\n{}",
        trouble.join("\n")
    );
    Ok(())
}
