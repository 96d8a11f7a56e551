// SPDX-License-Identifier: GPL-2.0

//! First writes to extents that are not marked yet.

use super::shuffled;
use crate::bench::brd::Disks;
use crate::bench::contest::{Contest, OURS};
use crate::bench::fio::{self, Measured};
use crate::bench::null_blk::Disk;
use crate::bench::ours::{Ours, Place};
use crate::bench::peers::{Peer, Snapshot};
use crate::bench::{fill, MIB};
use crate::stats;
use anyhow::{ensure, Result};
use xtask::bench::settings::{ERA_BLOCK, EXTENT, METADATA_NS, SNAPSHOT_CHUNK, SOURCE_NS};

/// What is touched.
pub const SECTORS: u64 = 512 * MIB;
const EXTENTS: u64 = SECTORS / EXTENT;
/// Our volume has one extent more, which keeps a restore from being over.
const MAPPED: u64 = SECTORS + EXTENT;

/// Where the metadata of all contestants are.
struct Metadata {
    case: &'static str,
    ours: String,
    era: String,
    store: String,
    /// Whether the devices count requests.
    counts: bool,
}

/// 4 KiB at a random place of each extent, in an order by chance.
pub fn requests() -> Vec<(u64, u64)> {
    let within = shuffled(EXTENT / 8, 2);
    let places = within.iter().cycle();
    let extents = shuffled(EXTENTS, 1);
    let pairs = extents.iter().zip(places);
    pairs
        .map(|(extent, place)| (extent * EXTENT + place * 8, 8))
        .collect()
}

/// Random first touches, with metadata in memory and on a slow device.
pub fn random(contest: Contest) -> Result<()> {
    // Source, clone, our metadata, era's, the snapshot's store; a little larger than the volume.
    let disks = Disks::new(5, MAPPED + 64 * MIB)?;
    disks.fill(2)?;
    fill::range(&disks.path(4), 0, SECTORS + 32 * MIB)?;
    let memory = Metadata {
        case: "metadata in memory",
        ours: disks.path(2),
        era: disks.path(3),
        store: disks.path(4),
        counts: false,
    };
    compare(contest, &disks, &memory)?;
    let slow = |name: &str, sectors: u64| Disk::new(name, sectors, METADATA_NS);
    let ours = slow("ours-meta", 64 * MIB)?;
    let era = slow("era-meta", 64 * MIB)?;
    let store = slow("store", MAPPED + 64 * MIB)?;
    let metadata = Metadata {
        case: "metadata of 1 ms",
        ours: ours.path(),
        era: era.path(),
        store: store.path(),
        counts: true,
    };
    compare(contest, &disks, &metadata)
}

fn compare(contest: Contest, disks: &Disks, metadata: &Metadata) -> Result<()> {
    let linear = Peer::linear("linear", &disks.path(0), SECTORS)?;
    let era = Peer::era(&metadata.era, &disks.path(0), SECTORS, ERA_BLOCK)?;
    let place = Place::over(
        [disks.path(0), disks.path(1), metadata.ours.clone()],
        EXTENT,
        MAPPED,
    );
    let requests = requests();
    let write = |path: &str| fio::listed(path, true, 32, &requests);
    let write = &write;
    for mode in ["tracking", "restoring"] {
        let case = format!("{mode}, {}", metadata.case);
        let counted = format!("{case}, metadata writes");
        let count = |name: &str, device: &str, path: &str| -> Result<f64> {
            let (measured, writes) = counting(metadata.counts, device, || write(path))?;
            if let Some(writes) = writes {
                contest.tell(&counted, name, writes)?;
            }
            Ok(measured.iops)
        };
        contest.alternate(
            &case,
            vec![
                ("linear", Box::new(|| Ok(write(&linear.path())?.iops))),
                (
                    OURS,
                    Box::new(|| {
                        let ours = untouched(&place, mode == "restoring")?;
                        let iops = count(OURS, &metadata.ours, &ours.path())?;
                        all_touched(&ours, mode == "restoring")?;
                        Ok(iops)
                    }),
                ),
                (
                    "era",
                    Box::new(|| {
                        // A new era begins: nothing is recorded in it yet.
                        era.message("checkpoint")?;
                        count("era", &metadata.era, &era.path())
                    }),
                ),
                (
                    "snapshot",
                    Box::new(|| {
                        let source = disks.path(0);
                        let taken =
                            Snapshot::take(&source, &metadata.store, SECTORS, SNAPSHOT_CHUNK)?;
                        Ok(write(&taken.path())?.iops)
                    }),
                ),
            ],
        )?;
    }
    Ok(())
}

/// Runs it and says how many write requests went to the device for each of the host's.
fn counting(
    counts: bool,
    device: &str,
    run: impl FnOnce() -> Result<Measured>,
) -> Result<(Measured, Option<f64>)> {
    let sysfs = stats::sysfs(device)?;
    let before = stats::moved(&sysfs)?;
    let measured = run()?;
    let moved = stats::moved(&sysfs)? - before;
    let each = moved.writes as f64 / measured.requests as f64;
    Ok((measured, counts.then_some(each)))
}

/// A device on which none of the extents that are about to be written is marked.
fn untouched(place: &Place, restoring: bool) -> Result<Ours> {
    place.make_clone()?;
    let ours = place.format("ours", "identical no_copy")?;
    if restoring {
        // The extent behind all others differs, and is not copied: the restore goes on.
        fill::range(&ours.path(), SECTORS, EXTENT)?;
        ours.message_suspended("start_restore")?;
    }
    let status = ours.status()?;
    let expected = if restoring {
        ("restoring", 1)
    } else {
        ("tracking", 0)
    };
    ensure!(
        (status.mode.as_str(), status.cdm, status.prm) == (expected.0, expected.1, 0),
        "not as it should be before the first touch: {status:?}"
    );
    Ok(ours)
}

fn all_touched(ours: &Ours, restoring: bool) -> Result<()> {
    let status = ours.status()?;
    let marked = if restoring { status.prm } else { status.cdm };
    ensure!(marked == EXTENTS, "not each extent was touched: {status:?}");
    Ok(())
}

/// Extents one after the other, each written whole. The device goes on behind the last one, so that
/// what was marked ahead of it in vain can be counted.
pub fn sequential(contest: Contest) -> Result<()> {
    const LENGTH: u64 = 128 * MIB;
    const WRITTEN: u64 = 1920;
    let source = Disk::new("source", LENGTH, SOURCE_NS)?;
    let clone = Disk::new("clone", LENGTH, 0)?;
    let metadata = Disk::new("ours-meta", 64 * MIB, METADATA_NS)?;
    let era_metadata = Disk::new("era-meta", 64 * MIB, METADATA_NS)?;
    fill::whole(&source.path())?;
    let linear = Peer::linear("linear", &source.path(), LENGTH)?;
    let era = Peer::era(&era_metadata.path(), &source.path(), LENGTH, ERA_BLOCK)?;
    let place = Place::over(
        [source.path(), clone.path(), metadata.path()],
        EXTENT,
        LENGTH,
    );
    let requests: Vec<_> = (0..WRITTEN).map(|at| (at * EXTENT, EXTENT)).collect();
    let write = |path: &str| Ok(fio::listed(path, true, 1, &requests)?.rate);
    let write = &write;
    contest.alternate(
        "tracking",
        vec![
            ("bare", Box::new(|| write(&source.path()))),
            ("linear", Box::new(|| write(&linear.path()))),
            (
                OURS,
                Box::new(|| {
                    place.make_clone()?;
                    let ours = place.format("ours", "identical")?;
                    let rate = write(&ours.path())?;
                    let status = ours.status()?;
                    ensure!(status.cdm >= WRITTEN, "not all touched: {status:?}");
                    let in_vain = status.cdm - WRITTEN;
                    contest.tell("tracking, marked in vain", OURS, in_vain as f64)?;
                    Ok(rate)
                }),
            ),
            (
                "era",
                Box::new(|| {
                    era.message("checkpoint")?;
                    write(&era.path())
                }),
            ),
        ],
    )
}
