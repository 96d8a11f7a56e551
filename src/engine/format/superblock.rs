// SPDX-License-Identifier: GPL-2.0

//! The superblock: one sector that says which history the rest belongs to.
//!
//! The two are written in turn, by generation; both are always intact, because a sector is
//! written whole or not at all. So a bad one is damage, never a crash.

use super::bytes::{self, get_u32, get_u64, put_u32, put_u64};
use super::items::Unstable;
use super::samples::Samples;
use super::{Block, Refusal, BLOCK};
use crate::engine::base::checksum::crc32c;
use crate::engine::base::geometry::Geometry;
use crate::engine::maps::Mode;

const MAGIC: [u8; 16] = *b"dm-restore meta\n";
const VERSION: u32 = 1;
/// Incompatible feature: content is told apart by xxh64, with ends and places. Every superblock has
/// it.
const SAMPLED_BY_XXH64: u32 = 1;
/// The smallest logical block, in bytes.
const SECTOR: u32 = 512;
/// Where its checksum is: the end of the first sector.
const CRC: usize = 508;

const FLAG_CLEAN: u32 = 1;
const FLAG_SWAPPED: u32 = 2;
const FLAG_RESTORING: u32 = 4;
const FLAG_LOST: u32 = 8;
const FLAGS: u32 = FLAG_CLEAN | FLAG_SWAPPED | FLAG_RESTORING | FLAG_LOST;

/// Where the samples are.
const CLONE_SPREAD: usize = 112;
const CLONE_SAMPLES: usize = 240;
const SOURCE_SAMPLES: usize = 328;
const BLOCK_SIZE: usize = 416;
/// Which were taken: a byte for the clone, one for the source.
const TAKEN: usize = 420;
const TAKEN_MASK: u32 = 0xff;
const TAKEN_OF_SOURCE: u32 = 8;
/// What was unstable: three bits behind these.
const UNSTABLE: u32 = 16;
const UNSTABLE_MASK: u32 = 7;

/// A superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Identity of this metadata.
    pub uuid: [u8; 16],
    /// The mapped length in sectors.
    pub length: u64,
    /// The extent size in sectors.
    pub extent_sectors: u64,
    /// Counts superblock writes.
    pub generation: u64,
    /// Counts activations.
    pub activation: u64,
    /// The target was suspended when it was written: there is nothing in the journal.
    pub clean: bool,
    /// The second map is the clone delta map.
    pub roles_swapped: bool,
    /// While metadata was taken up, its device has failed a request by which the source may have lost
    /// what it had in the same cache.
    pub lost: bool,
    /// Tracking or restoring.
    pub mode: Mode,
    /// Sequence number of the first journal block to replay.
    pub tail: u64,
    /// Checksum that this first block carries as its predecessor's.
    pub chain: u32,
    /// The area (0 or 1) of the slot table.
    pub table_area: u64,
    /// Checksum over the checksums of the table's blocks.
    pub table_crc: u32,
    /// Extents to restore when the restore began.
    pub begun_with: u64,
    /// The largest logical block size of source and clone at format, in bytes: what the mapped device
    /// has for good.
    pub block_size: u32,
    /// The clone's size in sectors when it was looked at last.
    pub clone_sectors: u64,
    /// What the clone holds.
    pub clone: Samples,
    /// What the source held at the last clean suspend.
    pub source: Samples,
    /// What may change by itself there.
    pub unstable: Unstable,
}

impl Superblock {
    /// Makes the block.
    pub fn encode(&self, block: &mut Block) {
        block.fill(0);
        bytes::put(block, 0, &MAGIC);
        put_u32(block, 16, VERSION);
        put_u32(block, 20, SAMPLED_BY_XXH64);
        bytes::put(block, 24, &self.uuid);
        put_u64(block, 40, self.length);
        put_u64(block, 48, self.extent_sectors);
        put_u64(block, 56, self.generation);
        put_u64(block, 64, self.activation);
        put_u32(block, 72, self.flags());
        put_u32(block, 76, self.chain);
        put_u64(block, 80, self.tail);
        put_u32(block, 88, self.table_area as u32);
        put_u32(block, 92, self.table_crc);
        put_u64(block, 96, self.begun_with);
        put_u64(block, 104, self.clone_sectors);
        self.encode_samples(block);
        let crc = checksum(block);
        put_u32(block, CRC, crc);
    }

    fn encode_samples(&self, block: &mut Block) {
        self.clone.encode_spread(block, CLONE_SPREAD);
        let of_clone = self.clone.encode(block, CLONE_SAMPLES);
        let of_source = self.source.encode(block, SOURCE_SAMPLES);
        put_u32(block, BLOCK_SIZE, self.block_size);
        let unstable = self.unstable.to_bits() as u32;
        let taken =
            of_clone | of_source.wrapping_shl(TAKEN_OF_SOURCE) | unstable.wrapping_shl(UNSTABLE);
        put_u32(block, TAKEN, taken);
    }

    /// Reads a block: `Ok(None)` if it is not a superblock of this target at all.
    pub fn decode(block: &Block) -> Result<Option<Self>, Refusal> {
        if bytes::get(block, 0) != MAGIC {
            return Ok(None);
        }
        let rest = block.get(CRC.saturating_add(4)..).unwrap_or(&[]);
        if get_u32(block, CRC) != checksum(block) || !bytes::is_zero(rest) {
            return Err(Refusal::SuperblockDamaged);
        }
        if get_u32(block, 16) != VERSION {
            return Err(Refusal::Version);
        }
        match get_u32(block, 20) {
            SAMPLED_BY_XXH64 => {}
            0 => return Err(Refusal::Earlier),
            _ => return Err(Refusal::Features),
        }
        let flags = get_u32(block, 72);
        let taken = get_u32(block, TAKEN);
        let of_source = taken.wrapping_shr(TAKEN_OF_SOURCE);
        let unstable = taken.wrapping_shr(UNSTABLE);
        let mut clone = Samples::decode(block, CLONE_SAMPLES, taken & TAKEN_MASK);
        clone.decode_spread(block, CLONE_SPREAD);
        let superblock = Self {
            uuid: bytes::get(block, 24),
            length: get_u64(block, 40),
            extent_sectors: get_u64(block, 48),
            generation: get_u64(block, 56),
            activation: get_u64(block, 64),
            clean: flags & FLAG_CLEAN != 0,
            roles_swapped: flags & FLAG_SWAPPED != 0,
            lost: flags & FLAG_LOST != 0,
            mode: if flags & FLAG_RESTORING != 0 {
                Mode::Restoring
            } else {
                Mode::Tracking
            },
            tail: get_u64(block, 80),
            chain: get_u32(block, 76),
            table_area: u64::from(get_u32(block, 88)),
            table_crc: get_u32(block, 92),
            begun_with: get_u64(block, 96),
            block_size: get_u32(block, BLOCK_SIZE),
            clone_sectors: get_u64(block, 104),
            clone,
            source: Samples::decode(block, SOURCE_SAMPLES, of_source & TAKEN_MASK),
            unstable: Unstable::from_bits(u64::from(unstable)),
        };
        let unknown = flags & !FLAGS != 0 || unstable & !UNSTABLE_MASK != 0;
        if unknown || !superblock.possible() {
            return Err(Refusal::SuperblockInvalid);
        }
        Ok(Some(superblock))
    }

    /// Finds the superblock of a device from its first two blocks. `is_blank` says whether those
    /// behind them are zero, up to [`BLANK_BLOCKS`](super::layout::BLANK_BLOCKS).
    ///
    /// `Ok(None)`: the device is not formatted, or a format was cut off: it may be formatted.
    pub fn find(
        first: &Block,
        second: &Block,
        is_blank: impl Fn() -> bool,
    ) -> Result<Option<Self>, Refusal> {
        let pair = (Self::decode(first)?, Self::decode(second)?);
        match pair {
            (None, None) if bytes::is_zero(first) && bytes::is_zero(second) && is_blank() => {
                Ok(None)
            }
            (None, None) => Err(Refusal::Foreign),
            // Formatting writes generation 1 to the second, then generation 2 to the first. The
            // first activation writes journal blocks: where there are some, the first is lost.
            (None, Some(one)) if one.generation == 1 && bytes::is_zero(first) && is_blank() => {
                Ok(None)
            }
            (Some(a), Some(b)) => Self::newer(a, b).map(Some),
            _ => Err(Refusal::SuperblockDamaged),
        }
    }

    /// The newer one of the two blocks of a device.
    pub fn newer(a: Self, b: Self) -> Result<Self, Refusal> {
        let follows =
            |old: &Self, new: &Self| old.generation.checked_add(1) == Some(new.generation);
        let same = a.uuid == b.uuid && a.length == b.length && a.extent_sectors == b.extent_sectors;
        if a.generation % 2 != 0 || !same {
            return Err(Refusal::SuperblocksDisagree);
        }
        if follows(&a, &b) {
            Ok(b)
        } else if follows(&b, &a) {
            Ok(a)
        } else {
            Err(Refusal::SuperblocksDisagree)
        }
    }

    /// What a superblock of this target always fulfils, whatever its checksum says.
    fn possible(&self) -> bool {
        let Ok(geometry) = Geometry::new(self.length, self.extent_sectors) else {
            return false;
        };
        self.table_area < 2
            && self.generation > 0
            && self.generation < u64::MAX / 2
            && self.activation < u64::MAX / 2
            && self.tail < u64::MAX / 2
            && self.begun_with <= geometry.extents()
            && self.possible_block_size()
            && self.clone_sectors >= self.length
            && self.clone.is_of_clone()
            && self.clone.possible(self.length)
            && self.source.possible(self.length)
    }

    fn possible_block_size(&self) -> bool {
        let divides = |sectors: u64| sectors % u64::from(self.block_size / SECTOR).max(1) == 0;
        self.block_size.is_power_of_two()
            && (SECTOR..=BLOCK as u32).contains(&self.block_size)
            && divides(self.length)
            && divides(self.extent_sectors)
    }

    fn flags(&self) -> u32 {
        let clean = if self.clean { FLAG_CLEAN } else { 0 };
        let swapped = if self.roles_swapped { FLAG_SWAPPED } else { 0 };
        let restoring = if self.mode == Mode::Restoring {
            FLAG_RESTORING
        } else {
            0
        };
        let lost = if self.lost { FLAG_LOST } else { 0 };
        clean | swapped | restoring | lost
    }
}

fn checksum(block: &Block) -> u32 {
    crc32c(0, block.get(..CRC).unwrap_or(&[]))
}

#[cfg(test)]
#[path = "../tests/superblock.rs"]
mod tests;
