// SPDX-License-Identifier: GPL-2.0

//! How cost grows: the sweeps of `xtask::bench::scaling::sweeps`.

mod processors;
mod volumes;

use super::contest::Contest;
use anyhow::{bail, Result};

/// Runs a sweep.
pub fn run(contest: Contest) -> Result<()> {
    match contest.row {
        "size" => volumes::sizes(contest),
        "extent" => volumes::extents(contest),
        "processors" => processors::throughput(contest),
        sweep => bail!("the sweep {sweep} is only in the table"),
    }
}
