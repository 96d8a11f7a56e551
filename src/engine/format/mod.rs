// SPDX-License-Identifier: GPL-2.0

//! What is on the metadata device, block by block. The page `metadata-format` of the
//! documentation describes the same in words.

pub mod bytes;
pub mod event;
pub mod items;
pub mod journal;
pub mod layout;
pub mod mapblock;
pub mod samples;
pub mod superblock;
pub mod table;

/// A block of metadata, in bytes.
pub const BLOCK: usize = 4096;
/// A block of metadata, in sectors.
pub const BLOCK_SECTORS: u64 = 8;
/// The header of journal, table and map blocks, in bytes.
pub const HEADER: usize = 64;

/// A block of metadata in memory.
pub type Block = [u8; BLOCK];

/// Why metadata is refused. Nothing is ever repaired silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The first 1 MiB is zero and the table does not say `format`.
    Blank,
    /// No superblock of this target, and not blank.
    Foreign,
    /// A superblock is of this target but fails its checksum, or only one of the two is there.
    SuperblockDamaged,
    /// The two superblocks do not follow one another.
    SuperblocksDisagree,
    /// A later version of the format.
    Version,
    /// It uses features that this version does not know.
    Features,
    /// It was made by an earlier version, before anything was released.
    Earlier,
    /// A superblock with a good checksum says what cannot be.
    SuperblockInvalid,
    /// Made for another length.
    OtherLength,
    /// Made for another extent size.
    OtherExtentSize,
    /// The metadata device is smaller than the metadata on it.
    Truncated,
    /// Source or clone has larger logical blocks than both had at format.
    LargerBlocks {
        /// The larger ones of both, in bytes.
        given: u32,
        /// What the metadata was made for.
        recorded: u32,
    },
    /// The clone's content is not the one that was recorded.
    CloneContent,
    /// Source and clone were said to be identical, and differ.
    NotIdentical,
    /// The source's content is not the one that was recorded.
    SourceContent,
    /// Each of source and clone has what was recorded of the other.
    Exchanged,
    /// A block of the slot table fails its checksum.
    TableDamaged,
    /// The slot table as a whole is not the one that the superblock names.
    TableMismatch,
    /// An entry of the slot table says what cannot be.
    TableInvalid,
    /// A map block fails its checksum.
    MapDamaged,
    /// A map block is intact but not the one that the slot table names.
    MapMismatch,
    /// A map block has bits behind the last extent.
    MapInvalid,
    /// The maps do not go with the mode: host writes are marked though no restore is under way, or
    /// more extents are unrestored than when the restore began.
    MapsImpossible,
    /// A journal block fails its checksum though the device was shut down cleanly.
    JournalDamagedClean,
    /// A bad journal block has valid later ones behind it.
    JournalHole,
    /// The journal has blocks though the device was shut down cleanly.
    JournalNotEmpty,
    /// A journal block with a good checksum has an event that cannot be.
    JournalInvalid,
    /// The journal finishes a restore while extents are unrestored.
    JournalFinishEarly,
    /// `assume_different` while a restore is under way.
    DifferentWhileRestoring,
    /// `start_over` while none is.
    StartOverWhileTracking,
}

impl Refusal {
    /// The reason in words, distinct for each; NUL-terminated for `ti->error`.
    pub fn reason(self) -> &'static core::ffi::CStr {
        match self {
            Self::Blank => c"metadata device is blank and 'format' was not given",
            Self::Foreign => c"metadata device holds something else",
            Self::SuperblockDamaged => c"metadata superblock is damaged",
            Self::SuperblocksDisagree => c"metadata superblocks do not follow one another",
            Self::Version => c"metadata format version is not supported",
            Self::Features => c"metadata uses unknown features",
            Self::Earlier => c"metadata was made by an earlier version, which is not supported",
            Self::SuperblockInvalid => c"metadata superblock is invalid",
            Self::OtherLength => c"metadata was made for another length",
            Self::OtherExtentSize => c"metadata was made for another extent size",
            Self::LargerBlocks { .. } => c"metadata was made for smaller logical blocks",
            Self::Truncated => c"metadata device is smaller than its metadata",
            Self::CloneContent => c"clone does not have the recorded content",
            Self::NotIdentical => c"source and clone are not identical",
            Self::SourceContent => c"source does not have the recorded content",
            Self::Exchanged => c"source and clone are exchanged",
            Self::TableDamaged => c"metadata slot table is damaged",
            Self::TableMismatch => c"metadata slot table is not the one the superblock names",
            Self::TableInvalid => c"metadata slot table is invalid",
            Self::MapDamaged => c"metadata map block is damaged",
            Self::MapMismatch => c"metadata map block is not the one the slot table names",
            Self::MapInvalid => c"metadata map block has bits behind the end",
            Self::MapsImpossible => c"metadata maps do not fit the mode",
            Self::JournalDamagedClean => c"metadata journal is damaged after a clean shutdown",
            Self::JournalHole => c"metadata journal has a damaged block before valid ones",
            Self::JournalNotEmpty => c"metadata journal is not empty after a clean shutdown",
            Self::JournalInvalid => c"metadata journal has an invalid event",
            Self::JournalFinishEarly => c"metadata journal finishes a restore too early",
            Self::DifferentWhileRestoring => c"assume_different is refused while restoring",
            Self::StartOverWhileTracking => c"start_over is refused while tracking",
        }
    }
}
