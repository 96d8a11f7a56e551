// SPDX-License-Identifier: GPL-2.0

//! When the machine is hibernated, and what the volume is like.

use clap::ValueEnum;
use std::ops::Range;

/// Extent size in sectors.
pub const EXTENT: u64 = 64;
/// Extents of the volume.
pub const EXTENTS: u64 = 1024;
/// Length of the volume in sectors.
pub const LENGTH: u64 = EXTENT * EXTENTS;
/// Length of a volume that holds an image of the memory, in sectors.
pub const IMAGE_LENGTH: u64 = 256 << 11;
/// Threads that write at the same time, each to a part of its own.
pub const WRITERS: u64 = 2;
/// Extents of each of these parts, from the volume's start on.
pub const PART: u64 = 255;
/// What is written behind the resume: 64 KiB that nobody else writes to.
pub const LAST: Range<u64> = WRITERS * PART * EXTENT..(WRITERS * PART + 2) * EXTENT;

/// The generation of the damage.
pub const DAMAGE: u64 = 1;
/// Extents that are left to be restored at the end.
const LITTLE: u64 = 24;

/// The extents that are damaged before a restore, from back to front: ahead of who writes the other way,
/// more would be marked.
pub fn damaged() -> impl Iterator<Item = u64> {
    (0..EXTENTS).rev().filter(|extent| extent % 4 != 1)
}

/// A point in the life of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// No restore runs.
    Tracking,
    /// A restore has just begun.
    Start,
    /// Half of it is done.
    Middle,
    /// Little is left: the restore would end while the image is written.
    End,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tracking, Self::Start, Self::Middle, Self::End];

    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tracking => "tracking",
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }

    /// How many of `total` extents are restored then, if a restore runs.
    pub fn restored(self, total: u64) -> Option<u64> {
        match self {
            Self::Tracking => None,
            Self::Start => Some(0),
            Self::Middle => Some(total / 2),
            Self::End => Some(total.saturating_sub(LITTLE)),
        }
    }
}
