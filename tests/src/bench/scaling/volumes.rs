// SPDX-License-Identifier: GPL-2.0

//! Volumes that grow, and extents that grow: what a request costs, and the calls that a host waits
//! for.
//!
//! Source and clone are sparse disks of memory as large as the largest volume, of which each volume
//! takes the first part. So all points are measured in turns, on the same disks.

use crate::bench::brd::Disks;
use crate::bench::contest::{Contest, Measure, OURS};
use crate::bench::ioctls::Trace;
use crate::bench::ours::{Ours, Place};
use crate::bench::peers::Peer;
use crate::bench::rows::shuffled;
use crate::bench::{calls, fill, fio};
use crate::io::{Buffer, Device};
use crate::rig::metadata_sectors;
use anyhow::{ensure, Context, Result};
use xtask::bench::figures::Spread;
use xtask::bench::scaling::sweeps::{ACTIVATION, EXTENTS, READ, SIZE, START, VOLUME, WRITE};
use xtask::bench::settings::EXTENT;

/// Requests of a measurement. They are spread over the whole volume, so that they meet all of the
/// maps, and each place is filled before.
const REQUESTS: u64 = 16384;
/// Sectors of a request.
const BLOCK: u64 = 8;
/// Calls of `start_restore` in a round.
const STARTS: usize = 9;

/// The volume grows.
pub fn sizes(contest: Contest) -> Result<()> {
    let points = SIZE.points.iter();
    sweep(contest, points.map(|&size| (size, size, EXTENT)).collect())
}

/// The extents of a volume grow.
pub fn extents(contest: Contest) -> Result<()> {
    let points = EXTENTS.points.iter();
    sweep(
        contest,
        points.map(|&extent| (extent, VOLUME, extent)).collect(),
    )
}

/// All points once, then all of them again, and so on: each is a point, a volume's sectors and those
/// of its extents.
fn sweep(contest: Contest, points: Vec<(u64, u64, u64)>) -> Result<()> {
    let largest = points.iter().map(|&(_, sectors, _)| sectors).max();
    let most = points.iter().map(|&(_, sectors, extent)| sectors / extent);
    let disks = Disks::new(3, largest.unwrap_or_default())?;
    let metadata = metadata_sectors(most.max().unwrap_or_default());
    fill::range(&disks.path(2), 0, metadata)?;
    let trace = Trace::start()?;
    let volumes: Vec<_> = points
        .into_iter()
        .map(|(at, sectors, extent)| {
            let place = Place::over(
                [disks.path(0), disks.path(1), disks.path(2)],
                extent,
                sectors,
            );
            Volume::new(contest.at(at), place, &trace)
        })
        .collect::<Result<_>>()?;
    if let Some(first) = volumes.first() {
        first.warm_up()?;
    }
    for _ in 0..contest.rounds {
        volumes.iter().try_for_each(Volume::round)?;
    }
    Ok(())
}

/// A point of a sweep.
struct Volume<'a> {
    contest: Contest,
    place: Place,
    requests: Vec<(u64, u64)>,
    trace: &'a Trace,
}

impl<'a> Volume<'a> {
    /// Fills the places that are read and written later: what was never written is served faster.
    fn new(contest: Contest, place: Place, trace: &'a Trace) -> Result<Self> {
        let requests = spread(place.sectors);
        fio::listed(&place.source, true, 1, &requests)?;
        fill::copy(&place.source, &place.clone, requests.iter().copied())?;
        // One round at a time: the sweep counts them.
        let contest = Contest {
            rounds: 1,
            ..contest
        };
        Ok(Self {
            contest,
            place,
            requests,
            trace,
        })
    }

    /// The calls, untold: what runs for the first time is slower, most where it is emulated.
    fn warm_up(&self) -> Result<()> {
        drop(self.place.format("ours", "no_copy")?);
        let (ours, _) = calls::activate(self.trace, &self.place, "no_copy")?;
        self.starts(&ours).map(drop)
    }

    /// One life of the volume: it is formatted, written to, activated again, restored, and read.
    fn round(&self) -> Result<()> {
        let sectors = self.place.sectors;
        // All of it is marked, since it is not said to be identical.
        let ours = self.place.format("ours", "no_copy")?;
        let linear = Peer::linear("linear", &self.place.source, sectors)?;
        self.requests(WRITE.name, true, linear.path(), ours.path())?;
        let status = ours.status()?;
        ensure!(status.cdm == status.extents, "not all marked: {status:?}");
        drop(ours);

        let (ours, seconds) = calls::activate(self.trace, &self.place, "no_copy")?;
        self.contest.tell(ACTIVATION.name, OURS, seconds * 1e6)?;
        let seconds = self.starts(&ours)?;
        self.contest.tell(START.name, OURS, seconds * 1e6)?;

        // The restore is not over: each read looks at the map.
        self.requests(READ.name, false, linear.path(), ours.path())?;
        let status = ours.status()?;
        ensure!(status.mode == "restoring", "restored: {status:?}");
        Ok(())
    }

    /// Seconds of the call of `start_restore`, the median of several: some take three times as long
    /// as others, on a volume of any size. A restore of one extent has begun afterwards.
    fn starts(&self, ours: &Ours) -> Result<f64> {
        // All volumes share the disks, and each leaves them the same.
        let (source, clone) = (&self.place.source, &self.place.clone);
        fill::copy(source, clone, self.requests.iter().copied())?;
        ours.message_suspended("assume_identical")?;
        let device = Device::open(&ours.path())?;
        let touch = || device.write(0, &Buffer::zeroed(BLOCK));
        touch()?;
        let mut took = vec![calls::start(self.trace, ours, 1)?];
        while took.len() < STARTS {
            // Restores the extent, which was the last one, and marks it for the next restore.
            touch()?;
            ours.wait_restored()?;
            took.push(calls::start(self.trace, ours, 1)?);
        }
        Ok(Spread::of(&took).context("no start")?.median)
    }

    /// Microseconds of a request, on `linear` and on ours.
    fn requests(&self, curve: &str, write: bool, linear: String, ours: String) -> Result<()> {
        let measure = |path: String| -> Measure<'_> {
            Box::new(move || Ok(1e6 / fio::listed(&path, write, 1, &self.requests)?.iops))
        };
        let contestants = vec![("linear", measure(linear)), (OURS, measure(ours))];
        self.contest.alternate(curve, contestants)
    }
}

/// Places at even distances, in an order by chance.
fn spread(sectors: u64) -> Vec<(u64, u64)> {
    let distance = sectors / REQUESTS / BLOCK * BLOCK;
    let places = shuffled(REQUESTS, 1).into_iter();
    places.map(|place| (place * distance, BLOCK)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spread_over_the_volume() {
        for size in SIZE.points {
            let mut requests = spread(*size);
            requests.sort_unstable();
            requests.dedup();
            assert_eq!(requests.len() as u64, REQUESTS);
            assert!(requests.iter().all(|(start, _)| start % BLOCK == 0));
            let (last, length) = requests.last().copied().unwrap_or_default();
            assert!(last + length <= *size && last > size / 10 * 9);
        }
    }
}
