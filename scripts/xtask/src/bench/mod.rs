// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask bench`: our figures side by side with those of the peers, from one virtual machine
//! with the stock kernel.
//!
//! The program `bench` of the package in `tests/` measures, in the guest, and tells each
//! measurement in a line ([`mod@line`]). What is measured and what is asked for is a table
//! ([`table`]), how the peers are set is another one ([`settings`]); both programs use them. Here
//! medians are taken and compared ([`figures`]), kept ([`store`]) and shown ([`page`],
//! [`plots`]). [`scaling`] does the same for curves instead of rows.

pub mod figures;
pub mod line;
mod machine;
pub mod page;
pub mod plots;
pub mod scaling;
pub mod settings;
pub mod store;
pub mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{bail, Result};

use crate::cache::Lock;
use crate::kernel::KernelArg;
use crate::{paths, setup};
use figures::Outcome;
use machine::Told;
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
    let config = machine::config(&setup, &words(what, &rows))?;
    let place = Place::of(&config);
    let told = machine::measure(config, "rows", rows.len())?;
    if !what.sweep {
        let outcomes = keep(&told, &rows, &place.commit)?;
        let ran = rows.iter().filter_map(|name| table::row(name));
        print!("\n{}", page::table(&outcomes, ran));
        if what.docs || what.rows.is_empty() {
            document(&place, &outcomes)?;
        }
    }
    Ok(told.code())
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

/// What the guest's program is told.
fn words(what: &What, rows: &[String]) -> String {
    if what.sweep {
        "sweep".to_owned()
    } else {
        format!("rows {} {}", what.rounds, rows.join(" "))
    }
}

/// Add what was measured to the results. A row that did not come to its end has none.
fn keep(told: &Told, rows: &[String], commit: &str) -> Result<Vec<Outcome>> {
    let complete = |row: &&String| !told.failed.iter().any(|(failed, _)| failed == *row);
    let complete = rows.iter().filter(complete);
    let new: Vec<_> = complete
        .filter_map(|name| table::row(name))
        .flat_map(|row| figures::outcomes(row, &told.samples, commit))
        .collect();
    let file = store::directory().join("results.json");
    let all = store::merged(store::load(&file)?, &new, rows);
    store::save(&file, &all)?;
    println!("{}", file.display());
    Ok(all)
}

/// Write the page and its plots.
fn document(place: &Place, outcomes: &[Outcome]) -> Result<()> {
    store::save(&store::directory().join("machine.json"), place)?;
    plots::targets(&image("benchmarks-targets.svg"), outcomes)?;
    plots::peers(&image("benchmarks-peers.svg"), outcomes)?;
    page::write("benchmarks.md", &page::content(place, outcomes))
}

/// A picture of the documentation.
fn image(name: &str) -> PathBuf {
    paths::repo().join("Documentation/images").join(name)
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
