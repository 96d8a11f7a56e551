// SPDX-License-Identifier: GPL-2.0

//! Writes to what is marked already, and to whole unrestored extents.

use super::{iops, job, shuffled};
use crate::bench::brd::Disks;
use crate::bench::contest::{Contest, OURS};
use crate::bench::fill;
use crate::bench::fio::{self, Measured};
use crate::bench::ours::Place;
use crate::bench::peers::Peer;
use crate::bench::MIB;
use crate::stats;
use anyhow::{ensure, Result};
use std::cell::Cell;
use xtask::bench::settings::{ERA_BLOCK, EXTENT};

const SECTORS: u64 = 512 * MIB;

/// 4 KiB random writes to marked extents.
pub fn touched(contest: Contest) -> Result<()> {
    let disks = Disks::new(4, SECTORS)?;
    disks.fill(2)?;
    let linear = Peer::linear("linear", &disks.path(0), SECTORS)?;
    let era = Peer::era(&disks.path(3), &disks.path(0), SECTORS, ERA_BLOCK)?;
    // Through the target: each block is then recorded in this era.
    fill::whole(&era.path())?;
    // Without the feature `identical` all extents are marked from the start.
    let ours = place(&disks).format("ours", "")?;
    let job = job("randwrite", 4, 32);
    contest.alternate(
        "tracking",
        vec![
            ("bare", iops(&job, disks.path(0))),
            ("linear", iops(&job, linear.path())),
            (OURS, iops(&job, ours.path())),
            ("era", iops(&job, era.path())),
        ],
    )?;
    let status = ours.status()?;
    ensure!(
        status.cdm == status.extents,
        "not all was marked: {status:?}"
    );
    Ok(())
}

fn place(disks: &Disks) -> Place {
    Place::over(
        [disks.path(0), disks.path(1), disks.path(2)],
        EXTENT,
        SECTORS,
    )
}

/// Whole extents, each once, while nothing is copied.
pub fn overwrite(contest: Contest) -> Result<()> {
    let disks = Disks::new(3, SECTORS)?;
    disks.fill(2)?;
    let linear = Peer::linear("linear", &disks.path(0), SECTORS)?;
    // brd counts nothing, device-mapper does.
    let counted = Peer::linear("counted", &disks.path(1), SECTORS)?;
    let place = Place {
        clone: counted.path(),
        ..place(&disks)
    };
    let extents = shuffled(SECTORS / EXTENT, 1);
    let requests: Vec<_> = extents
        .iter()
        .map(|extent| (extent * EXTENT, EXTENT))
        .collect();
    let write = |path: String| -> Result<Measured> { fio::listed(&path, true, 32, &requests) };
    let (write, read) = (&write, &Cell::new(0));
    contest.alternate(
        "rate",
        vec![
            ("bare", Box::new(|| Ok(write(disks.path(0))?.rate))),
            ("linear", Box::new(|| Ok(write(linear.path())?.rate))),
            (
                OURS,
                Box::new(|| {
                    let (measured, bytes) = overwritten(&place, &counted, write)?;
                    read.set(bytes);
                    contest.tell("bytes read from the clone", OURS, bytes as f64)?;
                    Ok(measured.rate)
                }),
            ),
        ],
    )
}

/// One round on a volume that is unrestored as a whole, and the bytes read from the clone.
fn overwritten(
    place: &Place,
    clone: &Peer,
    write: &dyn Fn(String) -> Result<Measured>,
) -> Result<(Measured, u64)> {
    let ours = place.format("ours", "no_copy")?;
    ours.message_suspended("start_restore")?;
    let sysfs = stats::sysfs(&clone.path())?;
    let before = stats::moved(&sysfs)?;
    let measured = write(ours.path())?;
    let moved = stats::moved(&sysfs)? - before;
    let status = ours.status()?;
    // The restore is over then, and what the host has written differs from the clone.
    ensure!(
        status.mode == "tracking" && status.restored == status.extents,
        "not all was overwritten: {status:?}"
    );
    Ok((measured, moved.read * 512))
}
