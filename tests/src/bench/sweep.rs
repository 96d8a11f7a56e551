// SPDX-License-Identifier: GPL-2.0

//! Tries settings of the peers and says which are best. What is best is then written into
//! `xtask::bench::settings` by hand, so that it is the same in each run.

use super::brd::Disks;
use super::ioctls::Trace;
use super::rows::restores;
use super::GIB;
use anyhow::Result;
use xtask::bench::figures::Spread;
use xtask::bench::line::Line;
use xtask::bench::settings::CLONE_SWEEP;

/// How often each setting is tried.
const ROUNDS: u32 = 3;

/// Tries all.
pub fn run() -> Result<()> {
    clone()
}

fn say(text: &str) -> Result<()> {
    Line::Note(text.to_string()).say()
}

/// `clone`: the time for a whole volume.
fn clone() -> Result<()> {
    let disks = Disks::new(4, GIB)?;
    disks.fill(2)?;
    let trace = Trace::start()?;
    let mut times = vec![Vec::new(); CLONE_SWEEP.len()];
    for _ in 0..ROUNDS {
        for (settings, times) in CLONE_SWEEP.iter().zip(&mut times) {
            times.push(restores::copied(&trace, &disks, GIB, *settings)?);
        }
    }
    for (settings, times) in CLONE_SWEEP.iter().zip(&times) {
        if let Some(Spread {
            median, min, max, ..
        }) = Spread::of(times)
        {
            say(&format!(
                "clone, 1 GiB: {median:.3} s ({min:.3} to {max:.3}) with {settings:?}"
            ))?;
        }
    }
    Ok(())
}
