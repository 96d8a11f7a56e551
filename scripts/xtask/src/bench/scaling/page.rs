// SPDX-License-Identifier: GPL-2.0

//! The tables in `Documentation/benchmarks-scaling.md`.

use super::super::figures::Spread;
use super::super::page::{origin, with_spread};
use super::super::store::Place;
use super::figures::{Drawn, Kept, Point};
use super::sweeps::{Sweep, SWEEPS};

/// Where the run took place, and a table for each sweep.
#[must_use]
pub fn content(kept: &Kept) -> String {
    let tables = SWEEPS.iter().map(|sweep| {
        let table = table(sweep, &kept.curves);
        format!("### By {}\n\n{table}", sweep.what)
    });
    let tables: Vec<_> = tables.collect();
    let Place { commit, .. } = &kept.place;
    format!(
        "{} Rounds: {}.\n\n{}",
        origin(&kept.place, &format!("commit {commit}")),
        kept.rounds,
        tables.join("\n")
    )
}

/// A line for each point of each curve of a sweep.
#[must_use]
pub fn table(sweep: &Sweep, curves: &[Drawn]) -> String {
    let mut text = format!(
        "| what | {} | unit | ours | peer | ours / peer | ours / first | peer / first |\n\
         |---|---|---|---|---|---|---|---|\n",
        sweep.what
    );
    for drawn in curves.iter().filter(|drawn| drawn.sweep == sweep.name) {
        for point in &drawn.points {
            text += &line(sweep, drawn, point);
        }
    }
    text
}

fn line(sweep: &Sweep, drawn: &Drawn, point: &Point) -> String {
    let shown = |spread: &Option<Spread>| spread.as_ref().map(with_spread).unwrap_or_default();
    let peer = match &drawn.peer {
        Some(name) => format!("{name} {}", shown(&point.peer)),
        None => String::new(),
    };
    format!(
        "| {} | {} | {} | {} | {peer} | {} | {} | {} |\n",
        drawn.curve,
        sweep.axis.label(point.at),
        drawn.unit,
        with_spread(&point.ours),
        shown(&point.ratio),
        shown(&point.growth),
        shown(&point.peer_growth),
    )
}

#[cfg(test)]
mod tests {
    use super::super::figures::drawn;
    use super::super::figures::tests::sample;
    use super::super::sweeps::{PROCESSORS, SIZE};
    use super::*;

    #[test]
    fn each_point_has_its_line() {
        let samples = [
            sample(&SIZE, "write", 0, "linear", 20.0),
            sample(&SIZE, "write", 0, "ours", 22.0),
            sample(&SIZE, "activation", 0, "ours", 500.0),
            sample(&SIZE, "activation", 5, "ours", 1000.0),
        ];
        let text = table(&SIZE, &drawn(&SIZE, &samples));
        let expected = [
            "| write | 1 GiB | us a request | 22.0 | linear 20.0 | 1.10 | 1.00 | 1.00 |",
            "| activation | 1 GiB | us | 500 |  |  | 1.00 |  |",
            "| activation | 256 TiB | us | 1000 |  |  | 2.00 |  |",
        ];
        let found: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_content_says_where_it_was_measured() {
        let samples = [sample(&PROCESSORS, "reads", 1, "ours", 100.0)];
        let kept = Kept {
            place: Place {
                machine: "a machine".into(),
                accelerator: "TCG".into(),
                kernel: "7.3".into(),
                commit: "c0".into(),
            },
            rounds: 3,
            curves: drawn(&PROCESSORS, &samples),
        };
        let text = content(&kept);
        let origin = "Guest on a machine, accelerator TCG, kernel 7.3, commit c0.";
        assert!(text.starts_with(origin), "{text}");
        assert!(text.contains("Rounds: 3."));
        let tables = text.lines().filter(|line| line.starts_with("### By "));
        assert_eq!(tables.count(), SWEEPS.len());
        assert!(text.contains("| reads | 2 | IOPS | 100 |"));
    }
}
