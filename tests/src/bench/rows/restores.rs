// SPDX-License-Identifier: GPL-2.0

//! Restores of all and of a part, timed from the call to the event or the last write.

use super::shuffled;
use crate::bench::brd::Disks;
use crate::bench::contest::{Contest, OURS};
use crate::bench::ioctls::Trace;
use crate::bench::ours::{Ours, Place};
use crate::bench::peers::{Peer, Snapshot};
use crate::bench::{fill, progress, GIB, MIB};
use crate::io::{Buffer, Device};
use crate::sh;
use anyhow::{ensure, Context, Result};
use xtask::bench::settings::{CloneSettings, CLONE, EXTENT, MERGE_CHUNK};

const FULL: u64 = GIB;
const LARGE: u64 = 4 * GIB;

/// A volume of which every extent differs.
pub fn full(contest: Contest) -> Result<()> {
    let disks = Disks::new(4, FULL)?;
    disks.fill(2)?;
    let place = Place::over([disks.path(0), disks.path(1), disks.path(2)], EXTENT, FULL);
    let trace = Trace::start()?;
    contest.alternate(
        "time",
        vec![
            (
                OURS,
                Box::new(|| {
                    // Without the feature `identical` all differ.
                    let ours = place.format("ours", "")?;
                    restored(&trace, &ours, FULL / EXTENT)
                }),
            ),
            ("clone", Box::new(|| copied(&trace, &disks, FULL, CLONE))),
            ("dd", Box::new(|| dd(&disks.path(1), &disks.path(0)))),
        ],
    )
}

/// Seconds of a restore, in which so many extents have to be restored, and are.
pub fn restored(trace: &Trace, ours: &Ours, extents: u64) -> Result<f64> {
    let before = ours.status()?;
    ensure!(before.cdm == extents, "{extents} must differ: {before:?}");
    let seconds = progress::restore(trace, ours)?;
    let after = ours.status()?;
    ensure!(after.restored == extents, "{extents} to restore: {after:?}");
    Ok(seconds)
}

/// Seconds that `clone` takes for the whole of the first two disks.
pub fn copied(trace: &Trace, disks: &Disks, sectors: u64, settings: CloneSettings) -> Result<f64> {
    // brd counts nothing, device-mapper does.
    let to = Peer::linear("counted", &disks.path(0), sectors)?;
    let from = disks.path(1);
    let clone = Peer::clone(&disks.path(3), &to.path(), &from, sectors, settings)?;
    progress::hydration(trace, &clone, &to)
}

/// Seconds by dd's own clock.
pub fn dd(from: &str, to: &str) -> Result<f64> {
    let line = format!("LC_ALL=C dd if={from} of={to} bs=1M iflag=direct oflag=direct 2>&1");
    let said = sh::shell(&line)?;
    dd_seconds(&said).with_context(|| format!("dd said: {said}"))
}

fn dd_seconds(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains(" copied, "))?;
    let (_, rest) = line.split_once(" copied, ")?;
    rest.split(' ').next()?.parse().ok()
}

/// A volume of which every `nth` extent differs, scattered.
pub fn part(contest: Contest, nth: u64) -> Result<()> {
    // Source, clone, our metadata, those of clone, the snapshot's store.
    let disks = Disks::new(5, LARGE)?;
    disks.fill(2)?;
    let extents = LARGE / EXTENT;
    let changed = scattered(extents, nth)?;
    let count = changed.len() as u64;
    fill::range(&disks.path(4), 0, count * EXTENT + 64 * MIB)?;
    let store = Peer::linear("store", &disks.path(4), LARGE)?;
    let place = Place::over([disks.path(0), disks.path(1), disks.path(2)], EXTENT, LARGE);
    let ours = place.format("ours", "identical")?;
    let trace = Trace::start()?;
    contest.alternate(
        "time",
        vec![
            (
                OURS,
                Box::new(|| {
                    // Others have changed the source since.
                    let pieces = changed.iter().map(|extent| (extent * EXTENT, EXTENT));
                    fill::copy(&place.clone, &place.source, pieces)?;
                    ours.message_suspended("assume_identical")?;
                    change(&ours.path(), &changed)?;
                    restored(&trace, &ours, count)
                }),
            ),
            (
                "snapshot-merge",
                Box::new(|| {
                    let mut taken =
                        Snapshot::take(&disks.path(0), &store.path(), LARGE, MERGE_CHUNK)?;
                    merged(&trace, &mut taken, &store, &changed)
                }),
            ),
            ("clone", Box::new(|| copied(&trace, &disks, LARGE, CLONE))),
        ],
    )
}

/// One of `nth` extents, in an order by chance.
pub fn scattered(extents: u64, nth: u64) -> Result<Vec<u64>> {
    let mut some = shuffled(extents, 1);
    some.truncate(usize::try_from(extents / nth)?);
    Ok(some)
}

/// Seconds that the merge of a snapshot takes after these extents were written.
pub fn merged(trace: &Trace, taken: &mut Snapshot, store: &Peer, changed: &[u64]) -> Result<f64> {
    change(&taken.path(), changed)?;
    let (used, all) = (taken.used()?, changed.len() as u64 * EXTENT);
    ensure!(used >= all, "the snapshot keeps {used} sectors, not {all}");
    progress::merge(trace, taken, store)
}

/// Writes all of each of these extents.
pub fn change(path: &str, extents: &[u64]) -> Result<()> {
    let device = Device::open(path)?;
    let mut data = Buffer::zeroed(EXTENT);
    data.fill(0xa5);
    for extent in extents {
        device.write(extent * EXTENT, &data)?;
    }
    Ok(device.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dd_says() {
        let said = "1024+0 records in\n1024+0 records out\n\
                    1073741824 bytes (1.1 GB, 1.0 GiB) copied, 0.734 s, 1.5 GB/s";
        assert_eq!(dd_seconds(said), Some(0.734));
        assert_eq!(dd_seconds("dd: no such file"), None);
    }
}
