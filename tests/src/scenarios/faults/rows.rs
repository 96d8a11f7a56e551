// SPDX-License-Identifier: GPL-2.0

//! That each row of the manual's tables has its scenario, and each scenario its row.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    const MANUAL: &str = include_str!("../../../../Documentation/dm-restore.rst");
    const DEVICES: [&str; 3] = ["clone", "source", "metadata"];

    /// The rows of the tables in the section *Failing devices*, as names of scenarios. Each table
    /// stands under a heading that ends with the name of its device.
    fn rows() -> BTreeSet<String> {
        let (_, section) = MANUAL.split_once("\nFailing devices\n===").unwrap();
        let (section, _) = section.split_once("\n====").unwrap();
        let (mut device, mut rules, mut names) = ("", 0, BTreeSet::new());
        let (mut before, mut width) = ("", 0);
        for line in section.lines() {
            if line.starts_with("---") {
                let heading = before.trim_end_matches(" device");
                let named = |name: &&str| heading.ends_with(*name);
                device = DEVICES.into_iter().find(named).unwrap_or_default();
            } else if line.starts_with(" ===") {
                rules = (rules + 1) % 3;
                width = line[1..].find(' ').unwrap_or(0);
            } else if rules == 2 && !device.is_empty() {
                names.extend(name(line, width).map(|row| format!("faults::{device}::{row}")));
            }
            before = line;
        }
        names
    }

    /// What the first column, of this width, says, if the line begins a row.
    fn name(line: &str, width: usize) -> Option<String> {
        let first: String = line.strip_prefix(' ')?.chars().take(width).collect();
        let begins = !first.is_empty() && !first.starts_with(' ');
        begins.then(|| first.trim_end().replace(' ', "_"))
    }

    #[test]
    fn each_row_of_the_manual_has_its_scenario() {
        let scenarios: BTreeSet<String> = super::super::trials()
            .iter()
            .map(|trial| trial.name().to_string())
            .collect();
        let rows = rows();
        let difference: Vec<_> = rows.symmetric_difference(&scenarios).collect();
        assert!(difference.is_empty(), "{difference:#?}");
        assert!(rows.len() > 30, "{rows:?}");
    }
}
