// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask bench`: our figures side by side with those of the peers, from one virtual machine
//! with the stock kernel.
//!
//! The program `bench` of the package in `tests/` measures, in the guest, and tells each
//! measurement in a line ([`mod@line`]). What is measured and what is asked for is a table
//! ([`table`]), how the peers are set is another one ([`settings`]); both programs use them. Here
//! medians are taken and compared ([`figures`]), kept ([`store`]) and shown ([`page`],
//! [`plots`]).

pub mod figures;
pub mod line;
pub mod page;
pub mod plots;
pub mod settings;
pub mod store;
pub mod table;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::cache::Lock;
use crate::cli::KernelArg;
use crate::progress::Step;
use crate::setup::Setup;
use crate::test::programs;
use crate::vm::{accel, Config, Vm};
use crate::{module, paths, setup};
use figures::Outcome;
use line::{Line, Sample};
use store::Place;

/// Which rows to run, and how.
#[derive(clap::Args)]
pub struct What {
    /// Only this row; can be given several times
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,
    /// How often each contestant is measured
    #[arg(long, default_value_t = settings::ROUNDS)]
    rounds: u32,
    /// Try the peers' settings instead, and print how they do
    #[arg(long, conflicts_with_all = ["rows", "docs"])]
    sweep: bool,
    /// Write Documentation/benchmarks.md also after a run of single rows
    #[arg(long)]
    docs: bool,
}

/// MiB: the largest rows have source and clone of 4 GiB in it, filled.
const MEMORY: u32 = 10 * 1024;

/// Longer than any run should take.
const TIMEOUT: Duration = Duration::from_secs(3 * 3600);

/// Run the benchmark.
///
/// # Errors
///
/// Something cannot be built, the machine does not come to its end, or its kernel complains. A
/// target that is missed is no error.
pub fn run(kernel: &KernelArg, what: &What) -> Result<ExitCode> {
    let rows = selected(&what.rows)?;
    let _lock = Lock::take(&paths::build().join("bench.lock"))?;
    let setup = setup::machine(kernel)?;
    let config = config(&setup, what, &rows)?;
    let place = Place::here(accel(), &setup.guest.release, config.cpus, config.memory);
    let told = measure(config, &rows)?;
    for (row, error) in &told.failed {
        println!("{row}: {error}");
    }
    if !what.sweep {
        let outcomes = keep(&told, &rows, &place.commit)?;
        let ran = rows.iter().filter_map(|name| table::row(name));
        print!("\n{}", page::table(&outcomes, ran));
        if what.docs || what.rows.is_empty() {
            document(&place, &outcomes)?;
        }
    }
    Ok(if told.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The names of the rows to run, all if none is named.
fn selected(names: &[String]) -> Result<Vec<String>> {
    let all = || table::ROWS.iter().map(|row| row.name.to_owned());
    if let Some(unknown) = names.iter().find(|name| table::row(name).is_none()) {
        let all: Vec<_> = all().collect();
        bail!("there is no row {unknown}; there are {}", all.join(", "));
    }
    Ok(if names.is_empty() {
        all().collect()
    } else {
        names.to_vec()
    })
}

fn config(setup: &Setup, what: &What, rows: &[String]) -> Result<Config> {
    let module = module::build(&setup.tree)?;
    let program = programs::build()?.path("bench")?.to_owned();
    let mut config = Config::new("bench", setup.guest.clone());
    config.dir = directory();
    config.memory = MEMORY;
    config.timeout = TIMEOUT;
    // The timers of null_blk need it; emulated machines are booted without.
    config.cmdline.push("highres=on".into());
    config.payload = vec![
        (module::FILE.into(), module.stripped),
        ("bench".into(), program),
    ];
    let words = if what.sweep {
        "sweep".to_owned()
    } else {
        format!("rows {} {}", what.rounds, rows.join(" "))
    };
    config.command = format!(
        "modprobe dm-mod && insmod /payload/{} && exec /payload/bench {words}",
        module::FILE
    );
    Ok(config)
}

fn directory() -> PathBuf {
    paths::build().join("bench")
}

/// What the guest has told.
#[derive(Default)]
struct Told {
    samples: Vec<Sample>,
    failed: Vec<(String, String)>,
}

fn measure(config: Config, rows: &[String]) -> Result<Told> {
    let mut told = Told::default();
    let mut noise = Vec::new();
    let step = Step::items("rows", rows.len() as u64);
    let mut done = 0;
    let outcome = Vm::start(config)?.run(|line| match Line::parse(line) {
        Some(Line::Sample(sample)) => {
            step.doing(&format!(
                "{}, {}: {}",
                sample.row, sample.case, sample.contestant
            ));
            told.samples.push(sample);
        }
        Some(Line::Note(text)) => step.line(&text),
        Some(Line::Failed { row, error }) => told.failed.push((row, error)),
        Some(Line::Done { row }) => {
            done += 1;
            step.at(done);
            step.line(&format!("{row}: done"));
        }
        None => noise.push(line.to_owned()),
    })?;
    if let Err(error) = outcome.check() {
        for line in &noise {
            println!("guest: {line}");
        }
        // What was measured is shown all the same, but not kept: a kernel in trouble measures
        // something else.
        bail!("{error:#}");
    }
    step.done();
    Ok(told)
}

/// Add what was measured to the results. A row that did not come to its end has none.
fn keep(told: &Told, rows: &[String], commit: &str) -> Result<Vec<Outcome>> {
    let complete = |row: &&String| !told.failed.iter().any(|(failed, _)| failed == *row);
    let complete = rows.iter().filter(complete);
    let new: Vec<_> = complete
        .filter_map(|name| table::row(name))
        .flat_map(|row| figures::outcomes(row, &told.samples, commit))
        .collect();
    let file = directory().join("results.json");
    let all = store::merged(store::load(&file)?, &new, rows);
    store::save(&file, &all)?;
    println!("{}", file.display());
    Ok(all)
}

/// Write the page and its plots.
fn document(place: &Place, outcomes: &[Outcome]) -> Result<()> {
    store::save(&directory().join("machine.json"), place)?;
    let documentation = paths::repo().join("Documentation");
    let images = documentation.join("images");
    plots::targets(&images.join("benchmarks-targets.svg"), outcomes)?;
    plots::peers(&images.join("benchmarks-peers.svg"), outcomes)?;
    let file = documentation.join("benchmarks.md");
    let old =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    fs::write(
        &file,
        page::replaced(&old, &page::content(place, outcomes))?,
    )?;
    println!("{}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_name() {
        let all = selected(&[]).expect("all rows");
        assert_eq!(all.len(), table::ROWS.len());
        let one = selected(&["start".to_owned()]).expect("a row");
        assert_eq!(one, ["start"]);
        assert!(selected(&["strat".to_owned()]).is_err());
    }
}
