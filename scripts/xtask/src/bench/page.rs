// SPDX-License-Identifier: GPL-2.0

//! The results in a page of the documentation, between two markers, and the table of
//! `Documentation/benchmarks.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use super::figures::{Outcome, Spread};
use super::line::OURS;
use super::store::Place;
use super::table::{Case, Row, Target, ROWS};
use crate::paths;

const BEGIN: &str = "<!-- results: begin -->";
const END: &str = "<!-- results: end -->";

/// Put this between the markers of a page of the documentation, and print where it is.
///
/// # Errors
///
/// There is no such page, it has no markers, or it cannot be written.
pub fn write(name: &str, content: &str) -> Result<()> {
    let file = paths::repo().join("Documentation").join(name);
    let shown = file.display();
    let old = fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
    let new = replaced(&old, content).with_context(|| shown.to_string())?;
    fs::write(&file, new).with_context(|| format!("cannot write {shown}"))?;
    println!("{shown}");
    Ok(())
}

/// The page with this in the place of what stood between its markers.
///
/// # Errors
///
/// The page has no markers.
pub fn replaced(page: &str, content: &str) -> Result<String> {
    let lost = || format!("the page has no {BEGIN} ... {END}");
    let (before, rest) = page.split_once(BEGIN).with_context(lost)?;
    let (_, after) = rest.split_once(END).with_context(lost)?;
    Ok(format!("{before}{BEGIN}\n\n{content}\n{END}{after}"))
}

/// Where the run took place, and a line for each case and target.
#[must_use]
pub fn content(place: &Place, outcomes: &[Outcome]) -> String {
    let origin = origin(place, &commits(outcomes));
    format!("{origin}\n\n{}", table(outcomes, ROWS))
}

/// Where these commits were measured.
#[must_use]
pub fn origin(place: &Place, commits: &str) -> String {
    let Place {
        machine,
        accelerator,
        kernel,
        ..
    } = place;
    format!(
        "Guest on {machine}, accelerator {accelerator}, kernel {kernel}, {commits}. \
         Only the ratios are claimed."
    )
}

/// Which commit was measured; if rows come from several, which from which.
fn commits(outcomes: &[Outcome]) -> String {
    let mut commits: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for outcome in outcomes {
        let rows = commits.entry(&outcome.commit).or_default();
        rows.insert(&outcome.row);
    }
    let one = commits.len() == 1;
    let told = commits.iter().map(|(commit, rows)| {
        if one {
            return format!("commit {commit}");
        }
        let rows: Vec<_> = rows.iter().copied().collect();
        format!("commit {commit} ({})", rows.join(", "))
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The table of these rows; cases without figures say so.
#[must_use]
pub fn table<'a>(outcomes: &[Outcome], rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut text = String::from(
        "| row | case | unit | ours | peers | target | ratio | met |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        for case in row.cases {
            let mine = |outcome: &&Outcome| outcome.row == row.name && outcome.case == case.name;
            let found: Vec<_> = outcomes.iter().filter(mine).collect();
            if found.is_empty() {
                text += &not_run(row, case);
            }
            for outcome in found {
                text += &line(outcome);
            }
        }
    }
    text
}

fn not_run(row: &Row, case: &Case) -> String {
    let targets: Vec<_> = case.targets.iter().map(Target::to_string).collect();
    let targets = targets.join(", ");
    format!(
        "| {} | {} | {} | not run | | {targets} | | |\n",
        row.name, case.name, case.unit
    )
}

fn line(outcome: &Outcome) -> String {
    let shown = |name: &str, figure: f64| match outcome.spread.get(name) {
        Some(spread) => with_spread(spread),
        None => number(figure),
    };
    let mut peers = String::new();
    for (name, &figure) in &outcome.peers {
        let comma = if peers.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(peers, "{comma}{name} {}", shown(name, figure));
    }
    let verdict = match (outcome.met, &outcome.target) {
        (Some(true), _) => "yes",
        (Some(false), _) => "🔴 **no**",
        (None, Some(_)) => "no figure",
        (None, None) => "shown only",
    };
    format!(
        "| {} | {} | {} | {} | {peers} | {} | {} | {verdict} |\n",
        outcome.row,
        outcome.case,
        outcome.unit,
        shown(OURS, outcome.ours),
        outcome.target.as_deref().unwrap_or_default(),
        outcome.ratio.map(number).unwrap_or_default(),
    )
}

/// A median, and half the distance of smallest and largest in per cent of it.
#[must_use]
pub fn with_spread(spread: &Spread) -> String {
    let median = number(spread.median);
    if spread.min == spread.max {
        return median;
    }
    format!("{median} ±{:.0} %", spread.relative() * 100.0)
}

/// Three digits, or as many as there are before the point.
fn number(figure: f64) -> String {
    let size = figure.abs();
    if size >= 100.0 || size == 0.0 {
        format!("{figure:.0}")
    } else if size >= 10.0 {
        format!("{figure:.1}")
    } else if size >= 1.0 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::outcomes;
    use super::super::line::Sample;
    use super::super::table;
    use super::*;

    fn samples(figures: &[(&str, f64)]) -> Vec<Sample> {
        let sample = |&(contestant, figure): &(&str, f64)| Sample {
            row: "write-touched".into(),
            case: "tracking".into(),
            contestant: contestant.into(),
            at: None,
            figure,
        };
        figures.iter().map(sample).collect()
    }

    #[test]
    fn a_target_that_is_missed_is_red() {
        let row = table::row("write-touched").expect("a row");
        let found = outcomes(row, &samples(&[("ours", 900.0), ("linear", 1000.0)]), "c0");
        let text = table(&found, ROWS);
        let expected = "| write-touched | tracking | IOPS | 900 | linear 1000 \
                        | >= 0.95 x linear | 0.900 | 🔴 **no** |";
        assert!(text.lines().any(|line| line == expected), "{text}");
    }

    #[test]
    fn what_did_not_run_says_so() {
        let text = table(&[], ROWS);
        let cases: usize = ROWS.iter().map(|row| row.cases.len()).sum();
        let lines = text.lines().filter(|line| line.contains("| not run |"));
        assert_eq!(lines.count(), cases);
    }

    #[test]
    fn rows_of_several_commits_are_told_apart() {
        let row = table::row("write-touched").expect("a row");
        let found = outcomes(row, &samples(&[("ours", 900.0)]), "c1");
        assert_eq!(commits(&found), "commit c1");
        let mut both = found.clone();
        both.extend(found.iter().cloned().map(|outcome| Outcome {
            row: "start".into(),
            commit: "c2".into(),
            ..outcome
        }));
        assert_eq!(
            commits(&both),
            "commit c1 (write-touched), commit c2 (start)"
        );
    }

    #[test]
    fn the_spread_is_shown() {
        let row = table::row("write-touched").expect("a row");
        let all = [("ours", 90.0), ("ours", 100.0), ("ours", 110.0)];
        assert!(table(&outcomes(row, &samples(&all), "c0"), [row]).contains("| 100 ±10 % |"));
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = replaced(&page, "new").expect("markers");
        assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n{END}\nafter\n"));
        assert!(replaced("no markers", "new").is_err());
    }

    #[test]
    fn the_pages_have_the_markers() {
        for name in ["benchmarks.md", "benchmarks-scaling.md"] {
            let page = paths::repo().join("Documentation").join(name);
            let page = fs::read_to_string(page).expect("the page");
            assert!(replaced(&page, "").is_ok(), "{name}");
        }
    }
}
