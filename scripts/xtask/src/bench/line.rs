// SPDX-License-Identifier: GPL-2.0

//! What the guest tells the host, a line of JSON each.

use serde::{Deserialize, Serialize};

/// What a line of the guest starts with.
const MARK: &str = "@bench ";

/// A line of the guest.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// One measurement.
    Sample(Sample),
    /// Something for the reader of the run: what is being done, or a figure besides the rows.
    Note(String),
    /// A row that came to no end, and why.
    Failed {
        /// Its name.
        row: String,
        /// The error.
        error: String,
    },
    /// The measurements of a row, or of a sweep of curves, are complete.
    Done {
        /// Its name.
        row: String,
    },
}

/// One measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sample {
    /// The row.
    pub row: String,
    /// The case.
    pub case: String,
    /// `ours`, or the peer's name.
    pub contestant: String,
    /// Where on a curve it was measured, if it was on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// What was measured, in the case's unit.
    pub figure: f64,
}

/// The name under which our own figures are told.
pub const OURS: &str = "ours";

impl Line {
    /// Print it.
    ///
    /// # Errors
    ///
    /// Nobody listens any more.
    pub fn say(&self) -> anyhow::Result<()> {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{MARK}{}", serde_json::to_string(self)?)?;
        Ok(out.flush()?)
    }

    /// Read one; `None` if the line is something else.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(MARK)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_count() {
        let line = Line::Sample(Sample {
            row: "read-qd1".into(),
            case: "tracking".into(),
            contestant: OURS.into(),
            at: None,
            figure: 1234.5,
        });
        let text = serde_json::to_string(&line).expect("a line");
        assert_eq!(Line::parse(&format!("{MARK}{text}")), Some(line));
        assert_eq!(Line::parse(&text), None);
        assert_eq!(Line::parse(&format!("{MARK}{{}}")), None);
    }
}
