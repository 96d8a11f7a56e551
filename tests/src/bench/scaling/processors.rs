// SPDX-License-Identifier: GPL-2.0

//! Throughput with as many jobs as the guest has processors.

use crate::bench::brd::Disks;
use crate::bench::contest::{Contest, OURS};
use crate::bench::ioctls::Trace;
use crate::bench::ours::Place;
use crate::bench::peers::Peer;
use crate::bench::rows::{iops, job, restores};
use crate::bench::MIB;
use anyhow::{ensure, Result};
use std::thread;
use xtask::bench::scaling::sweeps::{READS, RESTORE, WRITES};
use xtask::bench::settings::EXTENT;

const SECTORS: u64 = 512 * MIB;
/// Requests that each job has in flight.
const DEPTH: u32 = 32;

/// Requests on a volume of which all is marked, then restores of all of it.
pub fn throughput(contest: Contest) -> Result<()> {
    let processors = thread::available_parallelism()?.get() as u64;
    let contest = contest.at(processors);
    let disks = Disks::new(3, SECTORS)?;
    disks.fill(2)?;
    let place = Place::over(
        [disks.path(0), disks.path(1), disks.path(2)],
        EXTENT,
        SECTORS,
    );
    requests(contest, &place, processors)?;
    restore(contest, &place)
}

fn requests(contest: Contest, place: &Place, processors: u64) -> Result<()> {
    let linear = Peer::linear("linear", &place.source, SECTORS)?;
    // Without the feature `identical` all extents are marked from the start.
    let ours = place.format("ours", "no_copy")?;
    for (curve, pattern) in [(READS, "randread"), (WRITES, "randwrite")] {
        let job = job(pattern, 4, DEPTH).jobs(processors);
        contest.alternate(
            curve.name,
            vec![
                ("linear", iops(&job, linear.path())),
                (OURS, iops(&job, ours.path())),
            ],
        )?;
    }
    let status = ours.status()?;
    ensure!(status.cdm == status.extents, "not all marked: {status:?}");
    Ok(())
}

/// The MiB a second that a restore copies, and dd.
fn restore(contest: Contest, place: &Place) -> Result<()> {
    let trace = Trace::start()?;
    let rate = |seconds: f64| (SECTORS / MIB) as f64 / seconds;
    contest.alternate(
        RESTORE.name,
        vec![
            (
                OURS,
                Box::new(|| {
                    let ours = place.format("ours", "")?;
                    let seconds = restores::restored(&trace, &ours, SECTORS / EXTENT)?;
                    Ok(rate(seconds))
                }),
            ),
            (
                "dd",
                Box::new(|| Ok(rate(restores::dd(&place.clone, &place.source)?))),
            ),
        ],
    )
}
