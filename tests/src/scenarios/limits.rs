// SPDX-License-Identifier: GPL-2.0

//! Limits of the mapped device: its preferences are the source's, whatever the clone prefers.

use super::{trial, with};
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::rig::{Rig, Slice, Spec};
use dm_restore_tests::stats;
use libtest_mimic::Trial;
use std::fs;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![trial("limits::preferences_are_the_sources", preferences)]
}

/// What a device prefers, in files of its folder in sysfs; and the one limit that reads of a clone
/// have to keep and that this one shares with the source.
const PREFERENCES: [&str; 7] = [
    "queue/optimal_io_size",
    "queue/minimum_io_size",
    "queue/chunk_sectors",
    "queue/physical_block_size",
    "queue/logical_block_size",
    "queue/max_sectors_kb",
    "alignment_offset",
];

/// The optimal size of the source's I/O in sectors, and that of many USB bridges.
const SOURCE: u64 = 2048;
const BRIDGE: u64 = 65535;

fn preferences() -> Result<()> {
    let length = 65 * SOURCE;
    let clone = length.next_multiple_of(BRIDGE);
    let spec = Spec {
        clone_extra: clone - length,
        ..Spec::new(Blocks::B512, 128)
            .length(length)
            .features("format no_copy")
    };
    let mut rig = Rig::slices(spec)?;
    prefer(&rig.source, SOURCE)?;
    prefer(&rig.clone, BRIDGE)?;
    let smaller = format!("{}/queue/max_sectors_kb", sysfs(&rig.clone)?);
    fs::write(&smaller, "64").context(smaller)?;
    rig.create()?;
    with(rig, |rig| {
        let (source, clone) = (read(&sysfs(&rig.source)?)?, read(&sysfs(&rig.clone)?)?);
        let mapped = read(&stats::sysfs(&rig.path())?)?;
        for ((file, mapped), (source, clone)) in PREFERENCES
            .iter()
            .zip(mapped)
            .zip(source.iter().zip(&clone))
        {
            ensure!(
                mapped == *source,
                "{file} is {mapped}; source {source}, clone {clone}"
            );
        }
        ensure!(source[0] != clone[0], "they prefer the same");
        // The kernel reads two such pieces ahead. (For striped devices dmsetup sets another figure.)
        let ahead = fs::read_to_string(format!(
            "{}/queue/read_ahead_kb",
            stats::sysfs(&rig.path())?
        ))?;
        ensure!(ahead.trim() == SOURCE.to_string(), "read-ahead {ahead}");
        rig.start_restore()?;
        rig.check(0..64)
    })
}

/// Makes a slice a striped device of one stripe, which prefers I/O of that many sectors.
fn prefer(slice: &Slice, sectors: u64) -> Result<()> {
    let part = &slice.part;
    let table = format!(
        "0 {} striped 1 {sectors} {} {}",
        part.sectors,
        part.disk.path(part.blocks),
        part.start
    );
    dm::swap(&slice.name, &table)
}

fn sysfs(slice: &Slice) -> Result<String> {
    stats::sysfs(&dm::path(&slice.name))
}

fn read(sysfs: &str) -> Result<Vec<String>> {
    let value = |file: &&str| {
        let path = format!("{sysfs}/{file}");
        let text = fs::read_to_string(&path).context(path)?;
        Ok(text.trim().to_string())
    };
    PREFERENCES.iter().map(value).collect()
}
