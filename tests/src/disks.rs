// SPDX-License-Identifier: GPL-2.0

//! The virtual disks that scenarios cut their devices from.
//!
//! There are two sets, with logical blocks of 512 and of 4096 bytes, each of a source, a clone (which
//! QEMU attaches read-only) and a metadata disk. What is on source and clone at first follows
//! from the sector alone: see [`is_stamped`]. A part that was handed out is not used again.

use anyhow::{bail, Context, Result};
use std::ops::Range;
use std::sync::Mutex;

/// Sectors of 1 GiB.
pub const GIB: u64 = 1 << 21;
/// Source and clone are stamped whole up to here, for devices with small extents.
pub const POOL: u64 = GIB;
/// Size of the source and clone disks in sectors; sparse.
pub const DATA_SECTORS: u64 = 384 * GIB;
/// Size of the metadata disks in sectors; sparse, blank.
pub const METADATA_SECTORS: u64 = 4 * GIB;
/// Behind the pool the first and the last so many sectors of each GiB are stamped.
const EDGE: u64 = 128;

/// The disk of memory, if there is one.
const MEMORY: &str = "/dev/ram0";

/// Whether source and clone have a stamp at `sector` of the disk from the start; else zeros.
pub fn is_stamped(sector: u64) -> bool {
    sector < POOL || (sector >= GIB && !(EDGE..GIB - EDGE).contains(&(sector % GIB)))
}

/// The parts of `sectors` that have stamps from the start.
pub fn stamped(sectors: Range<u64>) -> Vec<Range<u64>> {
    let borders = (sectors.start / GIB).max(1)..=sectors.end / GIB + 1;
    let edges = borders.map(|gib| {
        let border = gib * GIB;
        (border - EDGE).max(GIB)..border + EDGE
    });
    std::iter::once(0..POOL)
        .chain(edges)
        .map(|part| part.start.max(sectors.start)..part.end.min(sectors.end))
        .filter(|part| !part.is_empty())
        .collect()
}

/// Which set of disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blocks {
    /// Logical blocks of 512 bytes.
    B512,
    /// Logical blocks of 4096 bytes.
    B4096,
}

impl Blocks {
    /// Both sets.
    pub const ALL: [Blocks; 2] = [Blocks::B512, Blocks::B4096];

    /// The logical block size in sectors.
    pub fn sectors(self) -> u64 {
        match self {
            Self::B512 => 1,
            Self::B4096 => 8,
        }
    }

    /// The logical block size in bytes.
    pub fn bytes(self) -> u64 {
        self.sectors() * 512
    }
}

/// What a disk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Sources, and whatever else must be writable.
    Source,
    /// Clones.
    Clone,
    /// Metadata.
    Metadata,
}

impl Disk {
    /// All.
    pub const ALL: [Disk; 3] = [Disk::Source, Disk::Clone, Disk::Metadata];

    /// The disk's serial number, which names it in `/dev/disk/by-id`.
    pub fn serial(self, blocks: Blocks) -> String {
        let role = match self {
            Self::Source => "source",
            Self::Clone => "clone",
            Self::Metadata => "meta",
        };
        format!("t-{role}-{}", blocks.bytes())
    }

    /// The disk's size in sectors.
    pub fn sectors(self) -> u64 {
        match self {
            Self::Source | Self::Clone => DATA_SECTORS,
            Self::Metadata => METADATA_SECTORS,
        }
    }

    /// Path of the whole disk.
    pub fn path(self, blocks: Blocks) -> String {
        format!("/dev/disk/by-id/virtio-{}", self.serial(blocks))
    }
}

/// A part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Of which disk.
    pub disk: Disk,
    /// Of which set.
    pub blocks: Blocks,
    /// Its first sector on the disk.
    pub start: u64,
    /// Its length in sectors.
    pub sectors: u64,
    /// It lies on a disk of memory instead, at the same sectors.
    pub in_memory: bool,
}

impl Part {
    /// Path of the disk that it lies on.
    pub fn path(&self) -> String {
        if self.in_memory {
            MEMORY.to_string()
        } else {
            self.disk.path(self.blocks)
        }
    }

    /// Its line in a table of device-mapper, from `at` on.
    pub fn line(&self, at: u64) -> String {
        format!(
            "{at} {} linear {} {}",
            self.sectors,
            self.path(),
            self.start
        )
    }
}

/// Where the next part begins: per set, small data, large data, metadata. Source and clone are
/// cut at the same places.
static NEXT: Mutex<[[u64; 3]; 2]> = Mutex::new([[0, GIB, 0]; 2]);

/// Parts start on a multiple of this, so that no scenario depends on how disks are aligned.
const ALIGN: u64 = 2048;

/// Takes a part of source and clone that nobody has used yet, stamped whole if it is small, and
/// only at the edges of each GiB if `large`.
pub fn take_data(blocks: Blocks, sectors: u64, large: bool) -> Result<(Part, Part)> {
    let start = if large {
        take(blocks, 1, sectors.next_multiple_of(GIB), DATA_SECTORS)
    } else {
        take(blocks, 0, sectors.next_multiple_of(ALIGN), POOL)
    }
    .context("source and clone disks are used up")?;
    let part = |disk| Part {
        disk,
        blocks,
        start,
        sectors,
        in_memory: false,
    };
    Ok((part(Disk::Source), part(Disk::Clone)))
}

/// Takes a blank part of the metadata disk.
pub fn take_metadata(blocks: Blocks, sectors: u64) -> Result<Part> {
    let start = take(blocks, 2, sectors.next_multiple_of(ALIGN), METADATA_SECTORS)
        .context("metadata disk is used up")?;
    Ok(Part {
        disk: Disk::Metadata,
        blocks,
        start,
        sectors,
        in_memory: false,
    })
}

fn take(blocks: Blocks, kind: usize, sectors: u64, end: u64) -> Result<u64> {
    let mut next = NEXT
        .lock()
        .map_err(|_| anyhow::anyhow!("a scenario panicked"))?;
    let at = &mut next[usize::from(blocks == Blocks::B4096)][kind];
    let start = *at;
    if start + sectors > end {
        bail!("{sectors} sectors wanted, {} left", end - start);
    }
    *at += sectors;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamped_parts_are_those_with_stamps() {
        for (start, end) in [
            (POOL - 3, POOL + 3),
            (GIB - 3, GIB + 200),
            (GIB + 5, 2 * GIB - 10),
            (3 * GIB, 5 * GIB),
            (2 * GIB - 130, 2 * GIB + 130),
        ] {
            let parts = stamped(start..end);
            let sectors: Vec<u64> = parts.into_iter().flatten().collect();
            let expected: Vec<u64> = (start..end).filter(|at| is_stamped(*at)).collect();
            assert!(sectors == expected, "{start}..{end}");
        }
    }
}
