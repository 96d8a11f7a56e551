// SPDX-License-Identifier: GPL-2.0

//! From measurements to curves: ratios of what was measured in the same round, then their medians.

use serde::{Deserialize, Serialize};

use super::super::figures::Spread;
use super::super::line::{Sample, OURS};
use super::super::store::Place;
use super::sweeps::{Curve, Sweep};

/// What stands in `scaling.json`: all curves of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Kept {
    /// Where it took place, and what was measured.
    pub place: Place,
    /// How often each point was measured.
    pub rounds: u32,
    /// The curves.
    pub curves: Vec<Drawn>,
}

/// A curve as it was measured: what stands in `scaling.json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Drawn {
    /// The sweep.
    pub sweep: String,
    /// The curve's name.
    pub curve: String,
    /// What the figures count; the ratios have no unit.
    pub unit: String,
    /// Who was measured in turns with us.
    pub peer: Option<String>,
    /// From the smallest to the largest; without those where nothing was measured.
    pub points: Vec<Point>,
}

/// One point of a curve.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Point {
    /// Where it is: sectors, or processors.
    pub at: u64,
    /// Our figures.
    pub ours: Spread,
    /// The peer's figures.
    pub peer: Option<Spread>,
    /// Ours divided by the peer's of the same round.
    pub ratio: Option<Spread>,
    /// Ours divided by ours at the first point in the same round.
    pub growth: Option<Spread>,
    /// The same of the peer.
    pub peer_growth: Option<Spread>,
}

/// All curves of a sweep that have any point.
#[must_use]
pub fn drawn(sweep: &Sweep, samples: &[Sample]) -> Vec<Drawn> {
    let curves = sweep.curves.iter().map(|curve| Drawn {
        sweep: sweep.name.to_owned(),
        curve: curve.name.to_owned(),
        unit: curve.unit.to_owned(),
        peer: curve.peer.map(str::to_owned),
        points: points(sweep, curve, samples),
    });
    curves.filter(|drawn| !drawn.points.is_empty()).collect()
}

fn points(sweep: &Sweep, curve: &Curve, samples: &[Sample]) -> Vec<Point> {
    let figures = |point: u64, contestant: &str| -> Vec<f64> {
        let mine = samples
            .iter()
            .filter(|sample| sweep.has(sample, curve, point) && sample.contestant == contestant);
        mine.map(|sample| sample.figure).collect()
    };
    let of_peer = |point| {
        curve
            .peer
            .map_or_else(Vec::new, |peer| figures(point, peer))
    };
    let first = sweep.points.first().copied().unwrap_or_default();
    let point = |&at: &u64| {
        let (ours, peer) = (figures(at, OURS), of_peer(at));
        Some(Point {
            at,
            ours: Spread::of(&ours)?,
            peer: Spread::of(&peer),
            ratio: Spread::of(&ratios(&ours, &peer)),
            growth: Spread::of(&ratios(&ours, &figures(first, OURS))),
            peer_growth: Spread::of(&ratios(&peer, &of_peer(first))),
        })
    };
    sweep.points.iter().filter_map(point).collect()
}

/// Round by round. What the machine does meanwhile meets both of a round, so their ratio spreads
/// less than they do. A round that only one of them has, or that took no time, has no ratio.
fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    let pairs = over.iter().zip(under).filter(|(_, &under)| under > 0.0);
    pairs.map(|(over, under)| over / under).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::sweeps::{PROCESSORS, SIZE};
    use super::*;

    /// A measurement at the `nth` point of a sweep.
    pub fn sample(sweep: &Sweep, curve: &str, nth: usize, contestant: &str, figure: f64) -> Sample {
        Sample {
            row: sweep.name.into(),
            case: curve.into(),
            contestant: contestant.into(),
            at: Some(sweep.points[nth]),
            figure,
        }
    }

    #[test]
    fn a_ratio_is_one_of_the_same_round() {
        // The machine is slower in each round: the ratio stays.
        let rounds = [100.0, 200.0, 400.0];
        let both = |&peer: &f64| {
            [
                sample(&SIZE, "read", 0, "linear", peer),
                sample(&SIZE, "read", 0, OURS, peer * 1.1),
            ]
        };
        let samples: Vec<_> = rounds.iter().flat_map(both).collect();
        let found = drawn(&SIZE, &samples);
        assert_eq!(found.len(), 1, "curves without points are left out");
        let ratio = found[0].points[0].ratio.expect("a ratio");
        assert!((ratio.min - 1.1).abs() < 1e-9 && (ratio.max - 1.1).abs() < 1e-9);
        assert_eq!(ratio.rounds, 3);
    }

    #[test]
    fn growth_is_against_the_first_point() {
        let samples = [
            sample(&SIZE, "activation", 0, OURS, 2.0),
            sample(&SIZE, "activation", 5, OURS, 30.0),
        ];
        let found = drawn(&SIZE, &samples);
        let growth = |nth: usize| found[0].points[nth].growth.map(|growth| growth.median);
        assert_eq!((growth(0), growth(1)), (Some(1.0), Some(15.0)));
        assert_eq!(found[0].points[1].ratio, None);
        assert_eq!(found[0].points[1].at, SIZE.points[5]);
    }

    #[test]
    fn the_peer_grows_by_itself() {
        let samples = [
            sample(&PROCESSORS, "restore", 0, OURS, 100.0),
            sample(&PROCESSORS, "restore", 1, OURS, 180.0),
            sample(&PROCESSORS, "restore", 0, "dd", 120.0),
            sample(&PROCESSORS, "restore", 1, "dd", 120.0),
        ];
        let found = drawn(&PROCESSORS, &samples);
        let last = &found[0].points[1];
        assert_eq!(last.growth.map(|growth| growth.median), Some(1.8));
        assert_eq!(last.peer_growth.map(|growth| growth.median), Some(1.0));
        assert_eq!(last.ratio.map(|ratio| ratio.median), Some(1.5));
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!(ratios(&[1.0, 2.0], &[0.0, 4.0]), [0.5]);
        assert!(ratios(&[1.0], &[]).is_empty());
        assert!(drawn(&SIZE, &[]).is_empty());
    }
}
