// SPDX-License-Identifier: GPL-2.0

//! The behaviour table as it was tried: cell against extent size and block size.

use super::disks::Blocks;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Extent sizes that every cell is tried with.
pub const EXTENTS: [u64; 4] = [8, 128, 2048, 1 << 21];

/// How a cell went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it must be.
    Passed,
    /// Otherwise.
    Failed,
    /// No such request can be made with these sizes.
    Impossible,
}

type Column = (Blocks, u64);
static RESULTS: Mutex<BTreeMap<(usize, String), BTreeMap<Column, Outcome>>> =
    Mutex::new(BTreeMap::new());

/// Notes how cell number `row` went.
pub fn note(row: usize, cell: &str, column: Column, outcome: Outcome) {
    if let Ok(mut results) = RESULTS.lock() {
        results
            .entry((row, cell.to_string()))
            .or_default()
            .insert(column, outcome);
    }
}

/// Prints what was noted, if anything was.
pub fn print() {
    let Ok(results) = RESULTS.lock() else { return };
    let ran = |outcome: &Outcome| *outcome != Outcome::Impossible;
    if !results.values().flat_map(BTreeMap::values).any(ran) {
        return;
    }
    println!("\ncell against logical block size and extent size in sectors");
    println!("(+ passed, FAIL failed, - no such request with these sizes, blank not run)\n");
    println!("{:52} {:>36}  {:>36}", "", "512 bytes", "4096 bytes");
    let sizes = EXTENTS.map(|extent| format!("{extent:>9}")).concat();
    println!("{:52}{sizes}  {sizes}", "");
    for ((_, cell), outcomes) in results.iter() {
        let half = |blocks| {
            EXTENTS
                .map(|extent| format!("{:>9}", sign(outcomes.get(&(blocks, extent)))))
                .concat()
        };
        println!("{cell:52}{}  {}", half(Blocks::B512), half(Blocks::B4096));
    }
    println!();
}

fn sign(outcome: Option<&Outcome>) -> &'static str {
    match outcome {
        None => "",
        Some(Outcome::Passed) => "+",
        Some(Outcome::Failed) => "FAIL",
        Some(Outcome::Impossible) => "-",
    }
}
