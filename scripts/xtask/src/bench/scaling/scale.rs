// SPDX-License-Identifier: GPL-2.0

//! The vertical axis of a plot of ratios: what it spans, and where its lines are.

/// From here on a range has lines at 1, 2, 5, 10 ... only.
const WIDE: f64 = 5.0;
/// From here on it has them at 1, 10, 100 ... only.
const WIDEST: f64 = 200.0;
/// Lines of a narrow range, about.
const LINES: f64 = 5.0;

/// From the smallest to the largest value, both above 0, with some room, and with 1 in it.
#[must_use]
pub fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let around = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let (low, high) = values.fold((0.9, 1.1), around);
    (low / 1.03, high * 1.03)
}

/// Where lines are to be drawn in a range that is shown on a logarithmic axis.
#[must_use]
pub fn ticks(low: f64, high: f64) -> Vec<f64> {
    if high / low >= WIDE {
        wide(low, high)
    } else {
        narrow(low, high)
    }
}

fn wide(low: f64, high: f64) -> Vec<f64> {
    let of_decade: &[f64] = if high / low >= WIDEST {
        &[1.0]
    } else {
        &[1.0, 2.0, 5.0]
    };
    let decades = (-6..=9).map(|power| 10f64.powi(power));
    let all = decades.flat_map(|decade| of_decade.iter().map(move |first| first * decade));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

/// Whole multiples of a step of 1, 2 or 5 hundredths, tenths or wholes.
fn narrow(low: f64, high: f64) -> Vec<f64> {
    const STEPS: [f64; 8] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];
    let wanted = (high - low) / LINES;
    let step = STEPS.into_iter().find(|step| *step >= wanted);
    let step = step.unwrap_or(wanted);
    let first = (low / step).ceil();
    let ticks = (0..100).map(|nth| (first + f64::from(nth)) * step);
    ticks.take_while(|tick| *tick <= high).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compared as one would write them: they are sums.
    fn shown(low: f64, high: f64) -> Vec<String> {
        ticks(low, high)
            .iter()
            .map(|tick| format!("{tick:.3}"))
            .collect()
    }

    #[test]
    fn one_is_always_in_the_range() {
        let (low, high) = range([20.0, 30.0].into_iter());
        assert!(low < 1.0 && high > 30.0);
        let (low, high) = range(std::iter::empty());
        assert!(low < 1.0 && high > 1.0);
    }

    #[test]
    fn a_narrow_range_has_even_steps() {
        assert_eq!(shown(0.87, 1.13), ["0.900", "1.000", "1.100"]);
        assert_eq!(
            shown(0.945, 1.155),
            ["0.950", "1.000", "1.050", "1.100", "1.150"]
        );
    }

    #[test]
    fn a_wide_range_has_powers_of_ten() {
        assert_eq!(shown(0.9, 12.0), ["1.000", "2.000", "5.000", "10.000"]);
        assert_eq!(
            shown(0.9, 1500.0),
            ["1.000", "10.000", "100.000", "1000.000"]
        );
    }
}
