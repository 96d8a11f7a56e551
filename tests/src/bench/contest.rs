// SPDX-License-Identifier: GPL-2.0

//! Measuring contestants in turns, so that what changes on the machine meanwhile meets all of
//! them.

use super::rows;
use crate::dm;
use anyhow::{Context, Result};
use xtask::bench::line::{Line, Sample};

pub use xtask::bench::line::OURS;

/// How a contestant is measured: whatever has to be prepared is prepared in there, and is not in
/// the figure.
pub type Measure<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// A row that is being run.
#[derive(Clone, Copy)]
pub struct Contest {
    /// Its name.
    pub row: &'static str,
    /// How often each contestant is measured.
    pub rounds: u32,
}

impl Contest {
    /// Measures all contestants of a case once, then all of them again, and so on.
    pub fn alternate(&self, case: &str, mut contestants: Vec<(&str, Measure<'_>)>) -> Result<()> {
        for _ in 0..self.rounds {
            for (name, measure) in &mut contestants {
                let figure = measure().with_context(|| format!("{case}: {name}"))?;
                self.tell(case, name, figure)?;
            }
        }
        Ok(())
    }

    /// Tells one figure.
    pub fn tell(&self, case: &str, contestant: &str, figure: f64) -> Result<()> {
        Line::Sample(Sample {
            row: self.row.to_string(),
            case: case.to_string(),
            contestant: contestant.to_string(),
            figure,
        })
        .say()
    }

    /// Tells something that is no figure of the row.
    pub fn note(&self, text: &str) -> Result<()> {
        Line::Note(format!("{}: {text}", self.row)).say()
    }
}

/// Runs one row. If it fails, that is told, and what it has left is taken away.
pub fn run(name: &str, rounds: u32) -> Result<()> {
    let row = xtask::bench::table::row(name).with_context(|| format!("no row {name}"))?;
    let contest = Contest {
        row: row.name,
        rounds,
    };
    match rows::run(contest) {
        Ok(()) => Line::Done { row: name.into() }.say(),
        Err(error) => {
            dm::run(&["remove_all", "--force"])?;
            let error = format!("{error:#}");
            let row = name.to_string();
            Line::Failed { row, error }.say()
        }
    }
}
