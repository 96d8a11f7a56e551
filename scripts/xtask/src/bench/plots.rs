// SPDX-License-Identifier: GPL-2.0

//! The plots of `Documentation/benchmarks.md`: horizontal bars on a logarithmic axis. Mid-tones
//! on no background, so that they can be read on a light and on a dark page.

use std::path::Path;

use anyhow::{anyhow, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figures::Outcome;

pub(super) const TEXT: RGBColor = RGBColor(0x6e, 0x77, 0x81);
pub(super) const LINE: RGBColor = RGBColor(0x7b, 0x87, 0x94);
pub(super) const BLUE: RGBColor = RGBColor(0x3b, 0x82, 0xd0);
pub(super) const ORANGE: RGBColor = RGBColor(0xd0, 0x7d, 0x2a);
pub(super) const VIOLET: RGBColor = RGBColor(0x9a, 0x62, 0xc8);
pub(super) const GOOD: RGBColor = RGBColor(0x2f, 0x9e, 0x63);
const BAD: RGBColor = RGBColor(0xd1, 0x43, 0x43);

/// Pixels.
const WIDTH: u32 = 960;
const LABELS: u32 = 430;
const BAR: u32 = 22;
const HEAD: u32 = 44;
const FOOT: u32 = 40;

/// A bar from 1 to its value.
struct Bar {
    label: String,
    value: f64,
    good: bool,
}

/// How many times better than its target each figure is.
///
/// # Errors
///
/// The file cannot be written.
pub fn targets(file: &Path, outcomes: &[Outcome]) -> Result<()> {
    let bar = |outcome: &Outcome| {
        let against = outcome.target.as_deref().unwrap_or_default();
        Some(Bar {
            label: format!("{}, {}: {against}", outcome.row, outcome.case),
            value: outcome.margin?,
            good: outcome.met?,
        })
    };
    let bars: Vec<_> = outcomes.iter().filter_map(bar).collect();
    draw(
        file,
        "How many times better than the target (1: just met)",
        &bars,
    )
}

/// How many times better than each peer we are.
///
/// # Errors
///
/// The file cannot be written.
pub fn peers(file: &Path, outcomes: &[Outcome]) -> Result<()> {
    let mut bars = Vec::new();
    let mut last = None;
    for outcome in outcomes {
        // A case with several targets has the same figures several times.
        let case = (&outcome.row, &outcome.case);
        if last.replace(case) == Some(case) {
            continue;
        }
        for (name, &figure) in &outcome.peers {
            let value = if lower_is_better(&outcome.unit) {
                figure / outcome.ours
            } else {
                outcome.ours / figure
            };
            if value.is_finite() && value > 0.0 {
                bars.push(Bar {
                    label: format!("{}, {}: {name}", outcome.row, outcome.case),
                    value,
                    good: value >= 1.0,
                });
            }
        }
    }
    draw(
        file,
        "How many times better than each peer (1: the same)",
        &bars,
    )
}

fn lower_is_better(unit: &str) -> bool {
    !matches!(unit, "IOPS" | "MiB/s")
}

/// What all bars fit into, and 1 in any case.
fn range(bars: &[Bar]) -> (f64, f64) {
    let values = || bars.iter().map(|bar| bar.value);
    let low = values().fold(0.5, f64::min);
    let high = values().fold(2.0, f64::max);
    (low / 1.2, high * 1.2)
}

fn draw(file: &Path, title: &str, bars: &[Bar]) -> Result<()> {
    draw_all(file, title, bars).map_err(|error| anyhow!("{}: {error}", file.display()))
}

fn draw_all(file: &Path, title: &str, bars: &[Bar]) -> Result<(), Box<dyn std::error::Error>> {
    let rows = u32::try_from(bars.len())?;
    let area = SVGBackend::new(file, (WIDTH, HEAD + FOOT + rows * BAR)).into_drawing_area();
    let font = ("sans-serif", 13).into_font().color(&TEXT);
    let heading = ("sans-serif", 16).into_font().color(&TEXT);
    area.draw(&Text::new(title.to_owned(), (12, 12), heading))?;
    let (low, high) = range(bars);
    let mut chart = ChartBuilder::on(&area)
        .margin_top(HEAD)
        .margin_left(LABELS)
        .margin_right(20)
        .x_label_area_size(FOOT)
        .build_cartesian_2d((low..high).log_scale(), f64::from(rows)..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .axis_style(LINE)
        .bold_line_style(LINE.mix(0.3))
        .light_line_style(TRANSPARENT)
        .label_style(font.clone())
        .x_labels(8)
        .x_label_formatter(&|value| tick(*value))
        .draw()?;
    let right = font.pos(Pos::new(HPos::Right, VPos::Center));
    for (bar, at) in bars.iter().zip(0u32..) {
        let at = f64::from(at);
        let color = if bar.good { GOOD } else { BAD };
        let corners = [(1.0, at + 0.2), (bar.value, at + 0.8)];
        chart.draw_series([Rectangle::new(corners, color.filled())])?;
        let (_, y) = chart.backend_coord(&(1.0, at + 0.5));
        let label = format!("{}  {}", bar.label, tick(bar.value));
        let x = i32::try_from(LABELS)? - 8;
        area.draw(&Text::new(label, (x, y), right.clone()))?;
    }
    let one = [(1.0, 0.0), (1.0, f64::from(rows))];
    chart.draw_series(LineSeries::new(one, TEXT.stroke_width(2)))?;
    area.present()?;
    Ok(())
}

/// A factor as one would write it.
pub(super) fn tick(value: f64) -> String {
    if value >= 10.0 {
        format!("{value:.0}")
    } else if value >= 0.995 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn outcome(unit: &str, ours: f64, peer: f64) -> Outcome {
        Outcome {
            row: "restore-1".into(),
            case: "time".into(),
            unit: unit.into(),
            ours,
            peers: BTreeMap::from([("clone".to_owned(), peer)]),
            against: Some("clone".into()),
            ratio: Some(peer / ours),
            target: Some(">= 50 x faster than clone".into()),
            met: Some(false),
            margin: Some(peer / ours / 50.0),
            spread: BTreeMap::new(),
            commit: "c0".into(),
        }
    }

    #[test]
    fn a_plot_shows_each_comparison_and_has_no_background() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("plot.svg");
        targets(&file, &[outcome("s", 1.0, 40.0)]).expect("a plot");
        let text = std::fs::read_to_string(&file).expect("the plot");
        assert!(text.contains("restore-1, time: &gt;= 50 x faster than clone"));
        assert!(text.contains("#D14343"), "a missed target is red");
        assert!(
            !text.contains("#FFFFFF") && !text.contains("#000000"),
            "{text}"
        );
        peers(&file, &[outcome("s", 1.0, 40.0)]).expect("a plot");
        let text = std::fs::read_to_string(&file).expect("the plot");
        assert!(text.contains("#2F9E63") && text.contains("clone  40"));
    }

    #[test]
    fn an_empty_run_is_no_error() {
        let dir = tempfile::tempdir().expect("a directory");
        targets(&dir.path().join("plot.svg"), &[]).expect("a plot");
    }
}
