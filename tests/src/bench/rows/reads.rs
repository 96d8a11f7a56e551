// SPDX-License-Identifier: GPL-2.0

//! Reads of what is marked nowhere, of what was restored, and of what is not.

use super::{iops, job, rate};
use crate::bench::brd::Disks;
use crate::bench::contest::{Contest, OURS};
use crate::bench::ours::{Ours, Place};
use crate::bench::peers::Peer;
use crate::bench::MIB;
use anyhow::Result;
use xtask::bench::settings::{CLONE, EXTENT};

const SECTORS: u64 = 512 * MIB;

/// Source, clone, our metadata and those of a peer.
fn disks() -> Result<Disks> {
    let disks = Disks::new(4, SECTORS)?;
    disks.fill(2)?;
    Ok(disks)
}

fn place(disks: &Disks, extent: u64) -> Place {
    Place::over(
        [disks.path(0), disks.path(1), disks.path(2)],
        extent,
        SECTORS,
    )
}

/// 4 KiB random reads. The peer `clone` has copied everything, too.
pub fn random(contest: Contest, depth: u32) -> Result<()> {
    let disks = disks()?;
    let linear = Peer::linear("linear", &disks.path(0), SECTORS)?;
    let clone = Peer::clone(
        &disks.path(3),
        &disks.path(0),
        &disks.path(1),
        SECTORS,
        CLONE,
    )?;
    clone.hydrate()?;
    let place = place(&disks, EXTENT);
    let job = job("randread", 4, depth);
    let measure = |case: &str, ours: &Ours| {
        contest.alternate(
            case,
            vec![
                ("bare", iops(&job, disks.path(0))),
                ("linear", iops(&job, linear.path())),
                (OURS, iops(&job, ours.path())),
                ("clone", iops(&job, clone.path())),
            ],
        )
    };
    let ours = place.format("ours", "identical")?;
    measure("tracking", &ours)?;
    drop(ours);
    let ours = place.format("ours", "")?;
    ours.restore()?;
    measure("after a restore", &ours)
}

/// 1 MiB sequential reads over extents of 4 KiB.
pub fn sequential(contest: Contest) -> Result<()> {
    let disks = disks()?;
    let linear = Peer::linear("linear", &disks.path(0), SECTORS)?;
    let place = place(&disks, 8);
    let job = job("read", 1024, 1);
    let measure = |case: &str, ours: &Ours| {
        contest.alternate(
            case,
            vec![
                ("bare", rate(&job, disks.path(0))),
                ("linear", rate(&job, linear.path())),
                (OURS, rate(&job, ours.path())),
            ],
        )
    };
    let ours = place.format("ours", "")?;
    ours.restore()?;
    measure("restored", &ours)?;
    drop(ours);
    let ours = place.format("ours", "no_copy")?;
    ours.message_suspended("start_restore")?;
    measure("unrestored", &ours)?;
    let left = ours.status()?;
    anyhow::ensure!(left.cdm == left.extents, "not all was unrestored: {left:?}");
    Ok(())
}
