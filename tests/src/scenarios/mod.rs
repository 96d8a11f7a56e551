// SPDX-License-Identifier: GPL-2.0

//! The scenarios, by subject.

mod cells;
mod discards;
mod flush;
mod harness;
mod reads;
mod writes;

use anyhow::Result;
use libtest_mimic::{Failed, Trial};

/// Scenarios that stand next to each other.
pub fn trials() -> Vec<Trial> {
    let cells = [reads::cells(), writes::cells(), discards::cells(), flush::cells()].concat();
    let mut trials = harness::trials();
    trials.extend(cells::trials(cells));
    trials.extend(flush::trials());
    trials
}

/// Scenarios that must be alone, at the end of a run.
pub fn trials_alone() -> Vec<Trial> {
    Vec::new()
}

/// A scenario as a test.
fn trial(name: impl Into<String>, scenario: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    let name = name.into();
    let watched = name.clone();
    Trial::test(name, move || {
        let _watch = dm_restore_tests::watch::over(&watched);
        scenario().map_err(|error| Failed::from(format!("{error:#}")))
    })
}
