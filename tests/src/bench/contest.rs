// SPDX-License-Identifier: GPL-2.0

//! Measuring contestants in turns, so that what changes on the machine meanwhile meets all of
//! them.

use super::{rows, scaling};
use crate::dm;
use anyhow::{Context, Result};
use xtask::bench::line::{Line, Sample};

pub use xtask::bench::line::OURS;

/// How a contestant is measured: whatever has to be prepared is prepared in there, and is not in
/// the figure.
pub type Measure<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// A row, or a sweep of curves, that is being run.
#[derive(Clone, Copy)]
pub struct Contest {
    /// Its name.
    pub row: &'static str,
    /// How often each contestant is measured.
    pub rounds: u32,
    /// Where on its curves, if it is a sweep.
    pub at: Option<u64>,
}

impl Contest {
    /// The same, at this point of its curves.
    pub fn at(self, point: u64) -> Self {
        Self {
            at: Some(point),
            ..self
        }
    }

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
            at: self.at,
            figure,
        })
        .say()
    }

    /// Tells something that is no figure of the row.
    pub fn note(&self, text: &str) -> Result<()> {
        Line::Note(format!("{}: {text}", self.row)).say()
    }
}

/// Runs one row.
pub fn run(name: &str, rounds: u32) -> Result<()> {
    let row = xtask::bench::table::row(name).with_context(|| format!("no row {name}"))?;
    ended(row.name, rounds, rows::run)
}

/// Runs one sweep of curves.
pub fn sweep(name: &str, rounds: u32) -> Result<()> {
    let sweep =
        xtask::bench::scaling::sweeps::sweep(name).with_context(|| format!("no sweep {name}"))?;
    ended(sweep.name, rounds, scaling::run)
}

/// Runs it to its end. If it fails, that is told, and what it has left is taken away.
fn ended(row: &'static str, rounds: u32, run: fn(Contest) -> Result<()>) -> Result<()> {
    let contest = Contest {
        row,
        rounds,
        at: None,
    };
    let row = row.to_string();
    match run(contest) {
        Ok(()) => Line::Done { row }.say(),
        Err(error) => {
            dm::run(&["remove_all", "--force"])?;
            let error = format!("{error:#}");
            Line::Failed { row, error }.say()
        }
    }
}
