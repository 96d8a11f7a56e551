// SPDX-License-Identifier: GPL-2.0

//! From measurements to figures: medians, spread, and whether targets are met.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::line::{Sample, OURS};
use super::table::{Case, Row, Target};

/// The middle of some measurements, and how far they lie apart.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there are.
    pub rounds: usize,
}

impl Spread {
    /// Of some measurements; `None` if there are none.
    #[must_use]
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self {
            median: f64::midpoint(lower, upper),
            min,
            max,
            rounds: sorted.len(),
        })
    }

    /// Half the distance of smallest and largest, in proportion to the median.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.median == 0.0 {
            return 0.0;
        }
        (self.max - self.min) / 2.0 / self.median
    }
}

/// What stands in `results.json`: one comparison of a row. A case with several targets has several
/// of them.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Outcome {
    /// The row.
    pub row: String,
    /// The case of the row.
    pub case: String,
    /// What the figures count.
    pub unit: String,
    /// Our figure.
    pub ours: f64,
    /// The peers' figures by name.
    pub peers: BTreeMap<String, f64>,
    /// The peer that the ratio is against.
    pub against: Option<String>,
    /// Our figure in proportion to that of the peer.
    pub ratio: Option<f64>,
    /// What the ratio, or our figure, has to be.
    pub target: Option<String>,
    /// Whether it is. Nothing if there is no target, or no figure.
    pub met: Option<bool>,
    /// How many times better than the target: met from 1 on.
    pub margin: Option<f64>,
    /// The spread of each figure; ours is called `ours`.
    pub spread: BTreeMap<String, Spread>,
    /// The commit that was measured.
    pub commit: String,
}

/// The outcomes of one row, measured at a commit.
#[must_use]
pub fn outcomes(row: &Row, samples: &[Sample], commit: &str) -> Vec<Outcome> {
    let of_case = |case: &'static Case| {
        let mine: Vec<_> = samples
            .iter()
            .filter(|sample| sample.row == row.name && sample.case == case.name)
            .collect();
        case_outcomes(row, case, &mine, commit)
    };
    row.cases.iter().flat_map(of_case).collect()
}

fn case_outcomes(row: &Row, case: &Case, samples: &[&Sample], commit: &str) -> Vec<Outcome> {
    let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for sample in samples {
        let of_this = figures.entry(sample.contestant.clone()).or_default();
        of_this.push(sample.figure);
    }
    let spread: BTreeMap<_, _> = figures
        .into_iter()
        .filter_map(|(name, figures)| Some((name, Spread::of(&figures)?)))
        .collect();
    let Some(ours) = spread.get(OURS).map(|ours| ours.median) else {
        return Vec::new();
    };
    let peers: BTreeMap<_, _> = spread
        .iter()
        .filter(|(name, _)| *name != OURS)
        .map(|(name, spread)| (name.clone(), spread.median))
        .collect();
    let outcome = |target: Option<Target>| {
        let against = target.and_then(Target::peer);
        let figure = against.and_then(|peer| peers.get(peer).copied());
        Outcome {
            row: row.name.to_owned(),
            case: case.name.to_owned(),
            unit: case.unit.to_owned(),
            ours,
            peers: peers.clone(),
            against: against.map(str::to_owned),
            ratio: target.and_then(|target| target.ratio(ours, figure)),
            target: target.map(|target| target.to_string()),
            met: target.and_then(|target| target.met(ours, figure)),
            margin: target.and_then(|target| target.margin(ours, figure)),
            spread: spread.clone(),
            commit: commit.to_owned(),
        }
    };
    if case.targets.is_empty() {
        return vec![outcome(None)];
    }
    case.targets
        .iter()
        .map(|&target| outcome(Some(target)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    fn sample(contestant: &str, figure: f64) -> Sample {
        Sample {
            row: "read-qd1".into(),
            case: "tracking".into(),
            contestant: contestant.into(),
            at: None,
            figure,
        }
    }

    #[test]
    fn medians() {
        let odd = Spread::of(&[3.0, 1.0, 2.0]).expect("figures");
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        let even = Spread::of(&[4.0, 1.0, 2.0, 3.0]).expect("figures");
        assert_eq!((even.median, even.rounds), (2.5, 4));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn spread_is_relative_to_the_median() {
        let spread = Spread::of(&[90.0, 100.0, 110.0]).expect("figures");
        assert!((spread.relative() - 0.1).abs() < 1e-9);
        assert_eq!(Spread::of(&[0.0]).map(|zero| zero.relative()), Some(0.0));
    }

    #[test]
    fn each_target_has_its_outcome() {
        let row = table::row("read-qd1").expect("a row");
        let samples = [
            sample(OURS, 99.0),
            sample("linear", 100.0),
            sample("clone", 50.0),
        ];
        let found = outcomes(row, &samples, "c0");
        assert_eq!(found.len(), 2);
        let verdicts: Vec<_> = found
            .iter()
            .map(|outcome| (outcome.against.as_deref(), outcome.met))
            .collect();
        assert_eq!(
            verdicts,
            [(Some("linear"), Some(true)), (Some("clone"), Some(false))]
        );
    }

    #[test]
    fn a_missing_peer_is_no_success() {
        let row = table::row("read-qd1").expect("a row");
        let found = outcomes(row, &[sample(OURS, 99.0)], "c0");
        assert!(found.iter().all(|outcome| outcome.met.is_none()));
        assert!(outcomes(row, &[sample("linear", 99.0)], "c0").is_empty());
    }
}
