// SPDX-License-Identifier: GPL-2.0

//! The tables of the manual: they are shown as they look, and those of refusals are complete.

use super::MANUAL;
use std::collections::BTreeSet;

/// Files whose C strings are reasons of refusals.
const REASONS: [&str; 7] = [
    include_str!("../../../src/engine/format/mod.rs"),
    include_str!("../../../src/engine/base/geometry.rs"),
    include_str!("../../../src/engine/words/table_line.rs"),
    include_str!("../../../src/engine/words/settings.rs"),
    include_str!("../../../src/restore/metadata.rs"),
    include_str!("../../../src/restore/roles.rs"),
    include_str!("../../../src/restore/table.rs"),
];

/// The C strings of a source file, in lower case.
fn c_strings(source: &str) -> impl Iterator<Item = String> + '_ {
    let parts = source.split("c\"").skip(1);
    parts.filter_map(|part| Some(part.split_once('"')?.0.to_lowercase()))
}

/// The first column of the tables of refusals, in lower case and without its line ends.
fn refusals() -> String {
    let (_, text) = MANUAL.split_once("\nRefused table lines\n---").unwrap();
    let (text, _) = text.split_once("\nDamage is never repaired").unwrap();
    let cells = text.lines().filter_map(|line| line.split('|').nth(1));
    let words: Vec<_> = cells.flat_map(str::split_whitespace).collect();
    words.join(" ").to_lowercase()
}

#[test]
fn each_reason_of_a_refusal_is_listed_once() {
    let listed = refusals();
    let reasons: BTreeSet<_> = REASONS.into_iter().flat_map(c_strings).collect();
    assert!(reasons.len() > 60, "only {}", reasons.len());
    for reason in reasons {
        let times = listed.matches(&reason).count();
        assert_eq!(times, 1, "times of '{reason}'");
    }
}

/// Where the columns of a simple table begin and end.
struct Columns(Vec<(usize, usize)>);

impl Columns {
    /// By a border of the table; none if the line is not one.
    fn of(line: &str) -> Option<Self> {
        if !line.contains("= =") || line.contains(|c| c != '=' && c != ' ') {
            return None;
        }
        let mut spans = Vec::new();
        for (at, c) in line.char_indices().filter(|(_, c)| *c == '=') {
            match spans.last_mut() {
                Some((_, end)) if *end == at => *end = at + 1,
                _ => spans.push((at, at + c.len_utf8())),
            }
        }
        Some(Self(spans))
    }

    /// Whether a row is shown as it looks: its first cell has no line of its own, and between columns
    /// there is nothing.
    fn fit(&self, line: &str) -> bool {
        let is_blank = |from: usize, to: usize| {
            let text = line.get(from.min(line.len())..to.min(line.len()));
            text.is_none_or(|text| text.trim().is_empty())
        };
        let mut pairs = self.0.windows(2);
        let margins = pairs.all(|pair| is_blank(pair[0].1, pair[1].0));
        let mut blank = self.0.iter().map(|(from, to)| is_blank(*from, *to));
        margins && (blank.next() == Some(true) || blank.any(|blank| !blank))
    }
}

/// Lines of simple tables that are not shown as they look.
fn broken_rows(document: &str) -> Vec<&str> {
    let mut broken = Vec::new();
    let mut table = None;
    for line in document.lines() {
        if let Some(columns) = Columns::of(line) {
            table = Some(columns);
        } else if line.is_empty() {
            table = None;
        } else if table.as_ref().is_some_and(|columns| !columns.fit(line)) {
            broken.push(line);
        }
    }
    broken
}

#[test]
fn tables_are_shown_as_they_look() {
    assert_eq!(broken_rows(MANUAL), Vec::<&str>::new());
    let table = "=== ===\na   b\n=== ===\none two\nmore\nonesome\n    behind\n=== ===\n";
    assert_eq!(broken_rows(table), ["more", "onesome"]);
}
