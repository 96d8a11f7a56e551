// SPDX-License-Identifier: GPL-2.0

//! Reads: from the clone where an extent is unrestored, from the source otherwise.

use super::cells::{cell, Amount, Cell, Request, Size, State};
use super::control::begin_while_held;
use super::{on, trial};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::wait;
use libtest_mimic::Trial;

/// What a read does in each state.
pub fn cells() -> Vec<Cell> {
    let whole = |name, state| cell(name, state, Request::Read, Size::Whole);
    let part = |name, state| cell(name, state, Request::Read, Size::Part);
    vec![
        whole("tracking: read", State::Tracking).source_read(Amount::Request),
        part("tracking: read, part", State::TrackingMarked).source_read(Amount::Request),
        whole("unrestored: read", State::Unrestored).clone_read(Amount::Request),
        part("unrestored: read, part", State::Unrestored).clone_read(Amount::Request),
        whole("restored: read", State::Restored).source_read(Amount::Request),
        part("restored: read after a write", State::RestoredMarked).source_read(Amount::Request),
    ]
}

/// What reads do besides.
pub fn trials() -> Vec<Trial> {
    vec![trial(
        "reads::what_was_read_from_the_clone_is_copied_next",
        promotion,
    )]
}

fn promotion() -> Result<()> {
    const LATE: u64 = 60;
    let spec = Spec::new(Blocks::B512, 128).length(64 * 128);
    let spec = spec.features("format").core("copy_size", 128);
    on(spec.core("copy_jobs", 1), |rig| {
        // The copy of the first extent cannot end: it has nowhere to write.
        rig.source.hold()?;
        let begun = begin_while_held(rig);
        let read = begun.and_then(|()| {
            wait_copying(rig, 1)?;
            rig.check(rig.extent(LATE))?;
            rig.message("copy_jobs 2")?;
            wait_copying(rig, 2)?;
            rig.message("pause_copy")
        });
        rig.source.release()?;
        read?;
        wait_copying(rig, 0)?;
        ensure!(read_from_clone(rig, LATE)? == 0, "it was not copied");
        ensure!(read_from_clone(rig, 1)? > 0, "the one in turn was copied");
        ensure!(rig.status()?.restored == 2, "{:?}", rig.status()?);
        rig.message("resume_copy")?;
        rig.wait_restored()?;
        rig.check(rig.all())
    })
}

fn wait_copying(rig: &Rig, extents: u64) -> Result<()> {
    wait::for_condition("so many extents are being copied", || {
        Ok(rig.status()?.copying == extents)
    })
}

/// Reads an extent, and returns how many sectors of that came from the clone.
fn read_from_clone(rig: &Rig, number: u64) -> Result<u64> {
    let before = rig.moved()?.clone.read;
    rig.check(rig.extent(number))?;
    Ok(rig.moved()?.clone.read - before)
}
