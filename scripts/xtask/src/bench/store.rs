// SPDX-License-Identifier: GPL-2.0

//! `build/bench/results.json`, which a run of single rows adds to, and where the figures come from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::figures::Outcome;
use super::table::ROWS;
use crate::vm::{accel, Accel, Config};
use crate::{paths, run};

/// Where results and logs go.
#[must_use]
pub fn directory() -> PathBuf {
    paths::build().join("bench")
}

/// Where a run took place.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The processor of the host and how many.
    pub machine: String,
    /// What ran the guest's instructions.
    pub accelerator: String,
    /// The guest's kernel.
    pub kernel: String,
    /// The commit that the module was built from.
    pub commit: String,
}

impl Place {
    /// This machine, with this guest.
    #[must_use]
    pub fn of(guest: &Config) -> Self {
        let (processors, memory) = (guest.cpus, guest.memory);
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown processor", |rest| {
            rest.trim_matches([' ', '\t', ':'])
        });
        let host = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            machine: format!(
                "{model}, {host} processors; the guest has {processors} and {memory} MiB"
            ),
            accelerator: match accel() {
                Accel::Kvm => "KVM".to_owned(),
                Accel::Tcg => "TCG (emulation)".to_owned(),
            },
            kernel: guest.guest.release.clone(),
            commit: commit().unwrap_or_else(|_| "unknown".to_owned()),
        }
    }
}

fn commit() -> Result<String> {
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "describe", "--always", "--dirty"]);
    let text = run::output(git.current_dir(paths::repo()))?;
    Ok(text.trim().to_owned())
}

/// Put the outcomes of rows that ran in the place of older ones, in the order of the table.
#[must_use]
pub fn merged(old: Vec<Outcome>, new: &[Outcome], ran: &[String]) -> Vec<Outcome> {
    let kept = old
        .into_iter()
        .filter(|outcome| !ran.contains(&outcome.row));
    let mut all: Vec<_> = kept.chain(new.iter().cloned()).collect();
    let place = |outcome: &Outcome| {
        let row = ROWS.iter().position(|row| row.name == outcome.row);
        let row = row.unwrap_or(ROWS.len());
        let cases = ROWS.get(row).map_or(&[][..], |row| row.cases);
        let case = cases.iter().position(|case| case.name == outcome.case);
        (row, case)
    };
    all.sort_by_key(place);
    all
}

/// What an earlier run has left; nothing if there was none.
///
/// # Errors
///
/// The file is not as it should be.
pub fn load(file: &Path) -> Result<Vec<Outcome>> {
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("{} is not understood: remove it", file.display())),
        Err(_) => Ok(Vec::new()),
    }
}

/// Write one of the run's files.
///
/// # Errors
///
/// It cannot be written.
pub fn save<T: Serialize + ?Sized>(file: &Path, content: &T) -> Result<()> {
    let text = serde_json::to_string_pretty(content)?;
    fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn outcome(row: &str, ours: f64) -> Outcome {
        Outcome {
            row: row.into(),
            case: "time".into(),
            unit: "s".into(),
            ours,
            peers: BTreeMap::new(),
            against: None,
            ratio: None,
            target: None,
            met: None,
            margin: None,
            spread: BTreeMap::new(),
            commit: "c0".into(),
        }
    }

    #[test]
    fn a_row_that_ran_again_is_replaced() {
        let old = vec![outcome("start", 1.0), outcome("restore-1", 2.0)];
        let all = merged(old, &[outcome("restore-1", 3.0)], &["restore-1".into()]);
        let found: Vec<_> = all.iter().map(|it| (it.row.as_str(), it.ours)).collect();
        assert_eq!(found, [("restore-1", 3.0), ("start", 1.0)]);
    }

    #[test]
    fn a_row_that_failed_leaves_no_old_figure() {
        let all = merged(vec![outcome("start", 1.0)], &[], &["start".into()]);
        assert!(all.is_empty());
    }

    #[test]
    fn results_survive_the_file() {
        let text = serde_json::to_string(&[outcome("start", 1.5)]).expect("text");
        let back: Vec<Outcome> = serde_json::from_str(&text).expect("results");
        assert_eq!(back, [outcome("start", 1.5)]);
    }
}
