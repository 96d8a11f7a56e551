// SPDX-License-Identifier: GPL-2.0

//! The superblock: one sector that says which history the rest belongs to.
//!
//! The two are written in turn, by generation; both are always intact, because a sector is
//! written whole or not at all. So a bad one is damage, never a crash.

use super::super::checksum::crc32c;
use super::super::geometry::Geometry;
use super::super::maps::Mode;
use super::bytes::{self, get_u32, get_u64, put_u32, put_u64};
use super::fingerprint::{Fingerprint, SAMPLES};
use super::{Block, Refusal};

const MAGIC: [u8; 16] = *b"dm-restore meta\n";
const VERSION: u32 = 1;
/// Where its checksum is: the end of the first sector.
const CRC: usize = 508;

const FLAG_CLEAN: u32 = 1;
const FLAG_SWAPPED: u32 = 2;
const FLAG_RESTORING: u32 = 4;
const FLAGS: u32 = FLAG_CLEAN | FLAG_SWAPPED | FLAG_RESTORING;

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
    /// The clone.
    pub clone: Fingerprint,
}

impl Superblock {
    /// Makes the block.
    pub fn encode(&self, block: &mut Block) {
        block.fill(0);
        bytes::put(block, 0, &MAGIC);
        put_u32(block, 16, VERSION);
        put_u32(block, 20, 0); // no incompatible features yet
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
        put_u64(block, 104, self.clone.sectors);
        for (i, sample) in self.clone.samples.iter().enumerate() {
            put_u32(block, sample_at(i), *sample);
        }
        let crc = checksum(block);
        put_u32(block, CRC, crc);
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
        if get_u32(block, 20) != 0 {
            return Err(Refusal::Features);
        }
        let flags = get_u32(block, 72);
        let mut samples = [0; SAMPLES];
        for (i, sample) in samples.iter_mut().enumerate() {
            *sample = get_u32(block, sample_at(i));
        }
        let superblock = Self {
            uuid: bytes::get(block, 24),
            length: get_u64(block, 40),
            extent_sectors: get_u64(block, 48),
            generation: get_u64(block, 56),
            activation: get_u64(block, 64),
            clean: flags & FLAG_CLEAN != 0,
            roles_swapped: flags & FLAG_SWAPPED != 0,
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
            clone: Fingerprint {
                sectors: get_u64(block, 104),
                samples,
            },
        };
        if flags & !FLAGS != 0 || !superblock.possible() {
            return Err(Refusal::SuperblockInvalid);
        }
        Ok(Some(superblock))
    }

    /// Chooses between the two blocks of a device. `Ok(None)` means: not formatted, or only
    /// begun to be; whether the device is blank is for the caller to see.
    pub fn choose(first: &Block, second: &Block) -> Result<Option<Self>, Refusal> {
        let pair = (Self::decode(first)?, Self::decode(second)?);
        match pair {
            (None, None) if bytes::is_zero(first) && bytes::is_zero(second) => Ok(None),
            (None, None) => Err(Refusal::Foreign),
            // Formatting writes generation 1 to the second, then generation 2 to the first.
            (None, Some(one)) if one.generation == 1 && bytes::is_zero(first) => Ok(None),
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
    }

    fn flags(&self) -> u32 {
        let clean = if self.clean { FLAG_CLEAN } else { 0 };
        let swapped = if self.roles_swapped { FLAG_SWAPPED } else { 0 };
        let restoring = if self.mode == Mode::Restoring {
            FLAG_RESTORING
        } else {
            0
        };
        clean | swapped | restoring
    }
}

fn sample_at(i: usize) -> usize {
    i.saturating_mul(4).saturating_add(112)
}

fn checksum(block: &Block) -> u32 {
    crc32c(0, block.get(..CRC).unwrap_or(&[]))
}

#[cfg(test)]
#[path = "../tests/superblock.rs"]
mod tests;
