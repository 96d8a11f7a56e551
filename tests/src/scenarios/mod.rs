// SPDX-License-Identifier: GPL-2.0

//! The scenarios, by subject.

mod block_sizes;
mod cells;
mod control;
mod crossing;
mod discards;
mod documents;
mod faults;
mod filesystems;
mod flush;
mod geometry;
mod given_up;
mod harness;
mod holders;
mod identical;
mod identity;
mod io_load;
mod ioctls;
mod limits;
mod log;
mod meets;
mod module_life;
mod neighbours;
mod page_cache;
mod reads;
mod refusals_metadata;
mod refusals_table;
mod reloads;
mod roles;
mod writes;

use anyhow::{Error, Result};
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::watch;
use libtest_mimic::{Failed, Trial};

/// Scenarios that stand next to each other.
pub fn trials() -> Vec<Trial> {
    let cells = [
        reads::cells(),
        writes::cells(),
        discards::cells(),
        flush::cells(),
    ]
    .concat();
    [
        harness::trials(),
        cells::trials(cells),
        reads::trials(),
        crossing::trials(),
        meets::trials(),
        flush::trials(),
        geometry::trials(),
        control::trials(),
        faults::trials(),
        faults::log::trials(),
        holders::trials(),
        identical::trials(),
        identity::trials(),
        page_cache::trials(),
        io_load::trials(),
        ioctls::trials(),
        limits::trials(),
        log::trials(),
        reloads::trials(),
        neighbours::trials(),
        roles::trials(),
        block_sizes::trials(),
        filesystems::trials(),
        documents::trials(),
        given_up::trials(),
        refusals_table::trials(),
        refusals_metadata::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Scenarios that must be alone, at the end of a run.
pub fn trials_alone() -> Vec<Trial> {
    module_life::trials()
}

/// A scenario as a test.
pub fn trial(
    name: impl Into<String>,
    scenario: impl FnOnce() -> Result<()> + Send + 'static,
) -> Trial {
    let name = name.into();
    let watched = name.clone();
    Trial::test(name, move || {
        let _watch = watch::over(&watched);
        scenario().map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// Runs a scenario on a device of its own. When it fails, what the target and the kernel say is
/// part of the error.
fn on(spec: Spec, scenario: impl FnOnce(&mut Rig) -> Result<()>) -> Result<()> {
    with(Rig::new(spec)?, scenario)
}

/// The same on a device that exists.
fn with(mut rig: Rig, scenario: impl FnOnce(&mut Rig) -> Result<()>) -> Result<()> {
    let mut log = Log::from_now()?;
    match scenario(&mut rig) {
        Ok(()) => rig.close(),
        Err(error) => Err(explained(error, &rig, &mut log)),
    }
}

/// The error with what the target and the kernel say.
pub fn explained(error: Error, rig: &Rig, log: &mut Log) -> Error {
    let status = rig
        .status()
        .map_or_else(|error| format!("{error:#}"), |status| format!("{status:?}"));
    let lines = log.lines().unwrap_or_default();
    let last = lines.len().saturating_sub(8);
    anyhow::anyhow!(
        "{error:#}\n  status: {status}\n  kernel: {}",
        lines[last..].join("\n  kernel: ")
    )
}
