// SPDX-License-Identifier: GPL-2.0

//! How the peers are set, and how long things run: fixed before a run, the same in each.
//!
//! The peers' settings are those that `make bench ARGS=--sweep` found best; see there.

/// How often each contestant of a case is measured, unless `--rounds` says otherwise.
pub const ROUNDS: u32 = 5;

/// Sectors of an extent, unless a row says otherwise: 64 KiB.
pub const EXTENT: u64 = 128;

/// Seconds that fio runs for a rate.
pub const SECONDS: u32 = 2;

/// How dm-clone is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloneSettings {
    /// Sectors of a region.
    pub region: u64,
    /// Regions that are copied at the same time, at most.
    pub threshold: u64,
    /// Regions that are copied with one request, at most.
    pub batch: u64,
}

/// dm-clone, for its copy of a whole volume.
pub const CLONE: CloneSettings = CloneSettings {
    region: 2048,
    threshold: 4,
    batch: 1,
};

/// What the sweep tries for dm-clone: about the same bytes in flight in several ways, and less and
/// more.
pub const CLONE_SWEEP: &[CloneSettings] = &[
    clone(8, 256, 256),
    clone(128, 1, 1),
    clone(128, 16, 16),
    clone(128, 64, 16),
    clone(128, 256, 64),
    clone(1024, 4, 1),
    clone(1024, 16, 4),
    clone(2048, 1, 1),
    clone(2048, 4, 1),
    clone(2048, 8, 4),
];

const fn clone(region: u64, threshold: u64, batch: u64) -> CloneSettings {
    CloneSettings {
        region,
        threshold,
        batch,
    }
}

/// Sectors of a block of dm-era: what our extents are.
pub const ERA_BLOCK: u64 = EXTENT;

/// Sectors of a chunk of dm-snapshot where first touches are counted.
pub const SNAPSHOT_CHUNK: u64 = 8;

/// Sectors of a chunk of dm-snapshot where a snapshot is merged. The same changes as ours: whole
/// extents, scattered.
pub const MERGE_CHUNK: u64 = 32;

/// What the sweep tries for dm-snapshot.
pub const CHUNK_SWEEP: &[u64] = &[8, 32, 128, 512];

/// Nanoseconds of a request to the source where latency counts.
pub const SOURCE_NS: u64 = 100_000;

/// Nanoseconds of a request to a clone that is far away.
pub const FAR_CLONE_NS: u64 = 5_000_000;

/// Nanoseconds of a request to slow metadata.
pub const METADATA_NS: u64 = 1_000_000;
