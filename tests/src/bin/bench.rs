// SPDX-License-Identifier: GPL-2.0

//! The benchmark in the guest: `bench rows <rounds> <row> ...`, `bench scaling <rounds> <sweep> ...`, or
//! `bench sweep`. `cargo xtask bench` and `bench-scaling` start it.

use anyhow::{bail, Result};
use dm_restore_tests::bench::{contest, sweep};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sweep"] => sweep::run(),
        ["rows", rounds, rows @ ..] => {
            let rounds = rounds.parse()?;
            rows.iter().try_for_each(|row| contest::run(row, rounds))
        }
        ["scaling", rounds, sweeps @ ..] => {
            let rounds = rounds.parse()?;
            let mut sweeps = sweeps.iter();
            sweeps.try_for_each(|sweep| contest::sweep(sweep, rounds))
        }
        _ => bail!("bench rows <rounds> <row> ... | scaling <rounds> <sweep> ... | sweep"),
    }
}
