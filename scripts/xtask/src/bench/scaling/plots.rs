// SPDX-License-Identifier: GPL-2.0

//! The plots of `Documentation/benchmarks-scaling.md`: a picture for each sweep, with our figures
//! against the peers' in its upper half and their growth in its lower one. The colours are those of
//! [`super::super::plots`]: mid-tones on no background.

use std::path::Path;

use anyhow::{anyhow, Result};
use plotters::coord::types::RangedCoordf64;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::figures::Spread;
use super::super::plots::{tick, BLUE, GOOD, LINE, ORANGE, TEXT, VIOLET};
use super::figures::{Drawn, Point};
use super::scale;
use super::sweeps::Sweep;

/// Pixels.
const SIZE: (u32, u32) = (960, 640);
const HEAD: u32 = 56;
const FOOT: u32 = 44;
const LEFT: u32 = 70;
const RIGHT: u32 = 50;
/// From one name of the legend to the next.
const NAME: i32 = 180;

/// A curve's colour says which it is.
const COLORS: [RGBColor; 4] = [BLUE, ORANGE, GOOD, VIOLET];
/// How much of its colour a peer's line has.
const PALE: f64 = 0.45;

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draw the curves of a sweep.
///
/// # Errors
///
/// The file cannot be written.
pub fn draw(file: &Path, sweep: &Sweep, curves: &[Drawn]) -> Result<()> {
    let all = || {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        for (area, panel) in area.split_evenly((2, 1)).iter().zip(panels(sweep, curves)) {
            panel.draw(area, sweep)?;
        }
        Ok(area.present()?)
    };
    let drawn: Outcome = all();
    drawn.map_err(|error| anyhow!("{}: {error}", file.display()))
}

/// Lines that share their axes.
struct Panel {
    title: String,
    lines: Vec<Line>,
}

/// One line: ratios over the points of a sweep.
struct Line {
    name: String,
    color: RGBColor,
    /// A peer's: drawn pale, and the legend does not name it.
    pale: bool,
    points: Vec<(f64, Spread)>,
}

/// Ours against the peers, and the growth of both.
fn panels(sweep: &Sweep, curves: &[Drawn]) -> [Panel; 2] {
    let mine = curves.iter().filter(|drawn| drawn.sweep == sweep.name);
    let mut against = Vec::new();
    let mut growth = Vec::new();
    for (drawn, color) in mine.zip(COLORS) {
        let line = |name: &str, pale, of: fn(&Point) -> Option<Spread>| Line {
            name: name.to_owned(),
            color,
            pale,
            points: values(sweep, drawn, of),
        };
        let curve = &drawn.curve;
        let peer = drawn.peer.as_deref().unwrap_or_default();
        against.push(line(&format!("{curve} / {peer}"), false, |point| {
            point.ratio
        }));
        growth.push(line(curve, false, |point| point.growth));
        growth.push(line(peer, true, |point| point.peer_growth));
    }
    let first = sweep.points.first().map(|&point| sweep.axis.label(point));
    let first = first.unwrap_or_default();
    let Sweep { measured, what, .. } = sweep;
    let title = |ratio: &str| format!("{measured} by {what}: {ratio}");
    let to_first = format!("divided by that at {first}; pale: the same of the peer");
    [
        Panel::new(title("ours divided by the peer's"), against),
        Panel::new(title(&to_first), growth),
    ]
}

/// The points that have such a ratio. Each step to the right is the next point of the sweep.
fn values(sweep: &Sweep, drawn: &Drawn, of: fn(&Point) -> Option<Spread>) -> Vec<(f64, Spread)> {
    let places = sweep.points.iter().zip(0u32..);
    let value = |(&at, nth): (&u64, u32)| {
        let point = drawn.points.iter().find(|point| point.at == at)?;
        // There is no place for 0 on the axis.
        let spread = of(point).filter(|spread| spread.min > 0.0)?;
        Some((f64::from(nth), spread))
    };
    places.filter_map(value).collect()
}

impl Panel {
    fn new(title: String, mut lines: Vec<Line>) -> Self {
        lines.retain(|line| !line.points.is_empty());
        Self { title, lines }
    }

    fn draw(&self, area: &Area<'_>, sweep: &Sweep) -> Outcome {
        self.head(area)?;
        let spreads = self.lines.iter().flat_map(|line| &line.points);
        let (low, high) = scale::range(spreads.flat_map(|(_, spread)| [spread.min, spread.max]));
        let last = u32::try_from(sweep.points.len().saturating_sub(1))?;
        // Both panels have a logarithmic axis, with lines of our own: those of plotters would only
        // be at powers of ten.
        let mut chart = ChartBuilder::on(area)
            .margin_top(HEAD)
            .margin_bottom(FOOT)
            .margin_left(LEFT)
            .margin_right(RIGHT)
            .build_cartesian_2d(0.0..f64::from(last), low.ln()..high.ln())?;
        grid(&mut chart, sweep, low, high)?;
        self.lines.iter().try_for_each(|line| line.draw(&mut chart))
    }

    /// The title, and the names of the lines in their colours.
    fn head(&self, area: &Area<'_>) -> Outcome {
        let heading = ("sans-serif", 16).into_font().color(&TEXT);
        area.draw(&Text::new(self.title.clone(), (12, 10), heading))?;
        let mut x = i32::try_from(LEFT)?;
        for line in self.lines.iter().filter(|line| !line.pale) {
            let font = ("sans-serif", 14).into_font().color(&line.color);
            area.draw(&Circle::new((x, 41), 4, line.color.filled()))?;
            area.draw(&Text::new(line.name.clone(), (x + 10, 34), font))?;
            x += NAME;
        }
        Ok(())
    }
}

impl Line {
    /// The medians, joined, and from the smallest to the largest ratio at each.
    fn draw(&self, chart: &mut Chart<'_, '_>) -> Outcome {
        let color = self.color.mix(if self.pale { PALE } else { 1.0 });
        let medians = self
            .points
            .iter()
            .map(|&(x, spread)| (x, spread.median.ln()));
        chart.draw_series(LineSeries::new(medians.clone(), color.stroke_width(2)))?;
        chart.draw_series(medians.map(|at| Circle::new(at, 3, color.filled())))?;
        let spreads = self.points.iter().map(|&(x, spread)| {
            let ends = [(x, spread.min.ln()), (x, spread.max.ln())];
            PathElement::new(ends, color.stroke_width(1))
        });
        chart.draw_series(spreads)?;
        Ok(())
    }
}

/// Lines at some ratios and at each point, with their names. The line at 1 is the strongest.
fn grid(chart: &mut Chart<'_, '_>, sweep: &Sweep, low: f64, high: f64) -> Outcome {
    let font = ("sans-serif", 13).into_font().color(&TEXT);
    let left = font.pos(Pos::new(HPos::Right, VPos::Center));
    let below = font.pos(Pos::new(HPos::Center, VPos::Top));
    let right = f64::from(u32::try_from(sweep.points.len().saturating_sub(1))?);
    for ratio in scale::ticks(low, high) {
        let y = ratio.ln();
        let strength = if y.abs() < 1e-9 { 1.0 } else { 0.3 };
        let line = PathElement::new([(0.0, y), (right, y)], LINE.mix(strength));
        let name = Text::new(tick(ratio), (-8, 0), left.clone());
        chart.plotting_area().draw(&line)?;
        chart
            .plotting_area()
            .draw(&(EmptyElement::at((0.0, y)) + name))?;
    }
    for (&point, nth) in sweep.points.iter().zip(0u32..) {
        let x = f64::from(nth);
        let line = PathElement::new([(x, low.ln()), (x, high.ln())], LINE.mix(0.3));
        let name = Text::new(sweep.axis.label(point), (0, 8), below.clone());
        chart.plotting_area().draw(&line)?;
        chart
            .plotting_area()
            .draw(&(EmptyElement::at((x, low.ln())) + name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::figures::drawn;
    use super::super::figures::tests::sample;
    use super::super::sweeps::SIZE as BY_SIZE;
    use super::*;

    fn curves() -> Vec<Drawn> {
        let samples = [
            sample(&BY_SIZE, "read", 0, "linear", 20.0),
            sample(&BY_SIZE, "read", 0, "ours", 22.0),
            sample(&BY_SIZE, "read", 5, "linear", 20.0),
            sample(&BY_SIZE, "read", 5, "ours", 23.0),
            sample(&BY_SIZE, "activation", 0, "ours", 1.0),
            sample(&BY_SIZE, "activation", 5, "ours", 4000.0),
        ];
        drawn(&BY_SIZE, &samples)
    }

    #[test]
    fn who_has_no_peer_is_only_in_the_lower_half() {
        let curves = curves();
        let [against, growth] = panels(&BY_SIZE, &curves);
        let names = |panel: &Panel| -> Vec<(String, bool)> {
            let name = |line: &Line| (line.name.clone(), line.pale);
            panel.lines.iter().map(name).collect()
        };
        assert_eq!(names(&against), [("read / linear".into(), false)]);
        let both = [("read", false), ("linear", true), ("activation", false)];
        assert_eq!(names(&growth), both.map(|(name, pale)| (name.into(), pale)));
        let places: Vec<_> = growth.lines[2].points.iter().map(|(x, _)| *x).collect();
        assert_eq!(
            places,
            [0.0, 5.0],
            "points that were not measured leave a gap"
        );
    }

    #[test]
    fn a_plot_names_curves_and_points_and_has_no_background() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("plot.svg");
        draw(&file, &BY_SIZE, &curves()).expect("a plot");
        let text = std::fs::read_to_string(&file).expect("the plot");
        for name in ["read", "activation", "1 GiB", "256 TiB", "1000"] {
            assert!(text.lines().any(|line| line == name), "{name}: {text}");
        }
        assert!(
            !text.contains("#FFFFFF") && !text.contains("#000000"),
            "{text}"
        );
    }

    #[test]
    fn an_empty_run_is_no_error() {
        let dir = tempfile::tempdir().expect("a directory");
        draw(&dir.path().join("plot.svg"), &BY_SIZE, &[]).expect("a plot");
    }
}
