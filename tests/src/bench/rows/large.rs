// SPDX-License-Identifier: GPL-2.0

//! Large volumes: start of a restore, activation, memory.

use crate::bench::contest::{Contest, OURS};
use crate::bench::ioctls::Trace;
use crate::bench::null_blk::Disk;
use crate::bench::ours::Place;
use crate::bench::{calls, fill, GIB, MIB};
use crate::io::Device;
use crate::meminfo;
use crate::rig::metadata_sectors;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::time::Instant;
use xtask::bench::settings::{EXTENT, SOURCE_NS};
use xtask::bench::table::ALLOWED;

const TIB: u64 = 1024 * GIB;

/// A sparse volume and its metadata.
struct Large {
    // Kept for their memory.
    _disks: [Disk; 3],
    place: Place,
}

impl Large {
    fn new(name: &str, sectors: u64, metadata_ns: u64) -> Result<Self> {
        let disk = |role: &str, sectors, nanoseconds| {
            Disk::new(&format!("{name}-{role}"), sectors, nanoseconds)
        };
        let source = disk("source", sectors, 0)?;
        let clone = disk("clone", sectors, 0)?;
        let metadata = disk("meta", metadata_sectors(sectors / EXTENT), metadata_ns)?;
        let place = Place::over(
            [source.path(), clone.path(), metadata.path()],
            EXTENT,
            sectors,
        );
        Ok(Self {
            _disks: [source, clone, metadata],
            place,
        })
    }

    /// Formats it, and takes the device away in good order. All of the metadata device is written
    /// before, so that it is neither faster nor does it grow later.
    fn format(&self) -> Result<()> {
        fill::whole(&self.place.metadata)?;
        self.place.format("ours", "").map(drop)
    }
}

/// The call of `start_restore` on a small and on a large volume, all of which differs.
pub fn start(contest: Contest) -> Result<()> {
    let small = Large::new("small", GIB, 0)?;
    let large = Large::new("large", 16 * TIB, 0)?;
    let trace = Trace::start()?;
    let call = |place: &Place| -> Result<f64> {
        let ours = place.format("ours", "no_copy")?;
        Ok(calls::start(&trace, &ours, place.sectors / place.extent)? * 1e6)
    };
    let call = &call;
    contest.alternate(
        "time",
        vec![
            ("1 GiB", Box::new(|| call(&small.place))),
            (OURS, Box::new(|| call(&large.place))),
        ],
    )
}

/// From resume to the first read, against reading the bytes of both maps.
pub fn activation(contest: Contest) -> Result<()> {
    let large = Large::new("large", 16 * TIB, SOURCE_NS)?;
    large.format()?;
    let trace = Trace::start()?;
    contest.alternate(
        "time",
        vec![
            (
                OURS,
                Box::new(|| Ok(calls::activate(&trace, &large.place, "")?.1 * 1000.0)),
            ),
            ("read of the maps", Box::new(|| read_maps(&large.place))),
        ],
    )
}

/// Milliseconds that as many bytes as both maps have take with requests of 1 MiB.
fn read_maps(place: &Place) -> Result<f64> {
    let bytes = 2 * (place.sectors / place.extent) / 8;
    let device = Device::open_read_only(&place.metadata)?;
    let clock = Instant::now();
    let mut at = 0;
    while at < bytes / 512 {
        device.read(at..at + MIB)?;
        at += MIB;
    }
    Ok(clock.elapsed().as_secs_f64() * 1000.0)
}

/// What is used while a device is active, and what is not after it is gone.
pub fn memory(contest: Contest) -> Result<()> {
    for (case, sectors) in [("1 TiB", TIB), ("16 TiB", 16 * TIB)] {
        let large = Large::new("large", sectors, 0)?;
        large.format()?;
        let extents = sectors / EXTENT;
        let allowed = extents * 2 / 8 / 1024 + 2048;
        for _ in 0..contest.rounds {
            let (held, maps) = (held(&large.place)?, (extents * 2 / 8 / 1024) as f64);
            // The maps alone take that much: less was not measured right.
            ensure!(
                held >= maps,
                "{case}: {held} KiB held, {maps} of them by the maps"
            );
            contest.tell(case, OURS, held)?;
            contest.tell(case, ALLOWED, allowed as f64)?;
        }
    }
    Ok(())
}

/// KiB: how much more memory is in use with the device than before and after.
fn held(place: &Place) -> Result<f64> {
    let before = used()?;
    let ours = place.create("ours", "no_copy")?;
    Device::open(&ours.path())?.read(0..8)?;
    let with = used()?;
    drop(ours);
    let after = used()?;
    Ok(with - f64::midpoint(before, after))
}

/// KiB of memory in use, caches not counted.
fn used() -> Result<f64> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3")?;
    // Each processor keeps counts of its own for a while.
    fs::write("/proc/sys/vm/stat_refresh", "1")?;
    let zones = fs::read_to_string("/proc/zoneinfo")?;
    used_of(&fs::read_to_string("/proc/meminfo")?, &zones)
}

/// `MemFree` leaves out the free pages that each processor keeps at hand, some of 2 MiB:
/// `/proc/zoneinfo` has their counts.
fn used_of(memory: &str, zones: &str) -> Result<f64> {
    let figure = |name| -> Result<f64> { Ok(meminfo::kib(memory, name)? as f64) };
    let mut used = figure("MemTotal")?;
    for name in ["MemFree", "Buffers", "Cached", "SReclaimable"] {
        used -= figure(name)?;
    }
    let counts = zones
        .lines()
        .filter_map(|line| line.trim().strip_prefix("count:"));
    for count in counts {
        let pages: f64 = count.trim().parse().context("/proc/zoneinfo")?;
        used -= pages * 4.0;
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: &str = "MemTotal: 1000 kB\nMemFree: 500 kB\nBuffers: 10 kB\nCached: 90 kB\n\
                          SwapCached: 7 kB\nSReclaimable: 50 kB\n";
    const ZONES: &str = "  pagesets\n    cpu: 0\n        count:    10\n        high:     14\n    \
                         cpu: 1\n        count:    5\n";

    #[test]
    fn caches_and_pages_at_hand_are_not_in_use() {
        assert_eq!(used_of(MEMORY, ZONES).unwrap(), 290.0);
        assert!(used_of("MemTotal: 1000 kB\n", ZONES).is_err());
    }
}
