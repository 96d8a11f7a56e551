// SPDX-License-Identifier: GPL-2.0

//! The benchmark in the guest: `bench rows <rounds> <row> ...`, or `bench sweep`. `cargo xtask bench`
//! starts it.

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
        _ => bail!("bench rows <rounds> <row> ... | bench sweep"),
    }
}
