// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask bench-scaling`: how cost grows with the volume, with its extents and with the
//! processors.
//!
//! What is swept is a table ([`sweeps`]). The guest's program tells each measurement with its
//! point; here ratios are taken and their medians ([`figures`]), and shown ([`page`], [`plots`]).

pub mod figures;
pub mod page;
pub mod plots;
mod scale;
pub mod sweeps;

use std::process::ExitCode;

use anyhow::{bail, Result};

use super::machine::{self, Told};
use super::store::{self, Place};
use super::{image, settings};
use crate::cache::Lock;
use crate::kernel::KernelArg;
use crate::paths;
use crate::setup::{self, Setup};
use crate::vm::Config;
use figures::Kept;
use sweeps::{Axis, Sweep, SWEEPS};

/// Which curves to measure, and how.
#[derive(clap::Args)]
pub struct What {
    /// Only this sweep (size, extent, processors), which is shown and not kept; can be given several
    /// times
    #[arg(long = "sweep", value_name = "NAME")]
    sweeps: Vec<String>,
    /// How often each point is measured
    #[arg(long, default_value_t = settings::ROUNDS)]
    rounds: u32,
}

/// Measure the curves. A run of all of them writes the page and its plots.
///
/// # Errors
///
/// Something cannot be built, a machine does not come to its end, or its kernel complains.
pub fn run(kernel: &KernelArg, what: &What) -> Result<ExitCode> {
    let sweeps = selected(&what.sweeps)?;
    let _lock = Lock::take(&paths::build().join("bench.lock"))?;
    let setup = setup::machine(kernel)?;
    let (place, told) = measure(&setup, &sweeps, what.rounds)?;
    let kept = Kept {
        place,
        rounds: what.rounds,
        curves: sweeps
            .iter()
            .flat_map(|sweep| figures::drawn(sweep, &told.samples))
            .collect(),
    };
    for sweep in &sweeps {
        print!("\n{}", page::table(sweep, &kept.curves));
    }
    if what.sweeps.is_empty() && told.failed.is_empty() {
        document(&kept)?;
    }
    Ok(told.code())
}

/// The sweeps to run, all if none is named.
fn selected(names: &[String]) -> Result<Vec<&'static Sweep>> {
    if names.is_empty() {
        return Ok(SWEEPS.iter().collect());
    }
    let found = names.iter().map(|name| match sweeps::sweep(name) {
        Some(sweep) => Ok(sweep),
        None => {
            let all: Vec<_> = SWEEPS.iter().map(|sweep| sweep.name).collect();
            bail!("there is no sweep {name}; there are {}", all.join(", "))
        }
    });
    found.collect()
}

/// The usual machine measures everything. Each other number of processors has a machine of its own.
fn measure(setup: &Setup, sweeps: &[&Sweep], rounds: u32) -> Result<(Place, Told)> {
    let usual = machine::config(setup, &words(sweeps, rounds))?;
    let place = Place::of(&usual);
    let processors = |sweep: &&Sweep| sweep.axis == Axis::Processors;
    let counted: Vec<_> = sweeps.iter().copied().filter(processors).collect();
    let mut told = Told::default();
    for &cpus in counted.iter().flat_map(|sweep| sweep.points) {
        let cpus = u32::try_from(cpus)?;
        if cpus == usual.cpus {
            continue;
        }
        let other = Config {
            cpus,
            command: machine::command(&words(&counted, rounds)),
            ..usual.clone()
        };
        told.add(machine::measure(other, "sweeps", counted.len())?);
    }
    told.add(machine::measure(usual, "sweeps", sweeps.len())?);
    Ok((place, told))
}

/// What the guest's program is told.
fn words(sweeps: &[&Sweep], rounds: u32) -> String {
    let names: Vec<_> = sweeps.iter().map(|sweep| sweep.name).collect();
    format!("scaling {rounds} {}", names.join(" "))
}

/// Keep the curves, and write the page and its plots.
fn document(kept: &Kept) -> Result<()> {
    let file = store::directory().join("scaling.json");
    store::save(&file, kept)?;
    println!("{}", file.display());
    for sweep in SWEEPS {
        let picture = image(&format!("scaling-{}.svg", sweep.name));
        plots::draw(&picture, sweep, &kept.curves)?;
    }
    super::page::write("benchmarks-scaling.md", &page::content(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_are_chosen_by_name() {
        let all = selected(&[]).expect("all sweeps");
        assert_eq!(all.len(), SWEEPS.len());
        let one = selected(&["extent".to_owned()]).expect("a sweep");
        assert_eq!(words(&one, 3), "scaling 3 extent");
        assert!(selected(&["extend".to_owned()]).is_err());
    }
}
