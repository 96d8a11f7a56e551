// SPDX-License-Identifier: GPL-2.0

//! The maps as they are on a metadata device that was shut down cleanly, read with the engine's
//! own format.

use super::disks::Part;
use super::io::Device;
use anyhow::{anyhow, bail, Context, Result};
use dm_restore_engine::format::superblock::Superblock;
use dm_restore_engine::format::table::{self, Entry, Place, ENTRIES_PER_BLOCK};
use dm_restore_engine::format::{layout::Layout, mapblock, Block, BLOCK, BLOCK_SECTORS};

/// What a metadata device says.
pub struct OnDisk {
    /// The newer superblock.
    pub superblock: Superblock,
    /// Where everything is.
    pub layout: Layout,
    /// The slot table.
    pub entries: Vec<Entry>,
    /// The extents that may differ between source and clone.
    pub cdm: Vec<bool>,
    /// The extents that the host has changed since the restore began.
    pub prm: Vec<bool>,
}

/// The blocks of a metadata device.
pub struct Blocks {
    device: Device,
    part: Part,
}

impl Blocks {
    /// Opens the part of the disk that the metadata is on.
    pub fn open(part: &Part) -> Result<Self> {
        let device = Device::open(&part.disk.path(part.blocks))?;
        Ok(Self { device, part: part.clone() })
    }

    /// Reads a block.
    pub fn read(&self, index: u64) -> Result<Block> {
        let at = self.part.start + index * BLOCK_SECTORS;
        let data = self.device.read(at..at + BLOCK_SECTORS)?;
        Ok(data[..].try_into()?)
    }

    /// Writes a block.
    pub fn write(&self, index: u64, block: &Block) -> Result<()> {
        let mut data = super::io::Buffer::zeroed(BLOCK_SECTORS);
        data.copy_from_slice(block);
        Ok(self.device.write(self.part.start + index * BLOCK_SECTORS, &data)?)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.part.sectors / BLOCK_SECTORS
    }

    /// All of them, one after the other.
    pub fn read_all(&self) -> Result<Vec<u8>> {
        let end = self.part.start + self.part.sectors;
        let mut all = Vec::with_capacity((self.part.sectors * 512) as usize);
        for at in (self.part.start..end).step_by(2048) {
            all.extend_from_slice(&self.device.read(at..(at + 2048).min(end))?);
        }
        Ok(all)
    }

    /// Writes what [`Blocks::read_all`] returned.
    pub fn write_all(&self, all: &[u8]) -> Result<()> {
        for (i, part) in all.chunks(2048 * 512).enumerate() {
            let mut data = super::io::Buffer::zeroed((part.len() / 512) as u64);
            data.copy_from_slice(part);
            self.device.write(self.part.start + i as u64 * 2048, &data)?;
        }
        Ok(())
    }

    /// The superblock that counts.
    pub fn superblock(&self) -> Result<Superblock> {
        Superblock::choose(&self.read(0)?, &self.read(1)?)
            .map_err(|refusal| anyhow!("{refusal:?}"))?
            .context("metadata is not formatted")
    }
}

/// Reads the metadata, which must be clean.
pub fn read(part: &Part) -> Result<OnDisk> {
    let blocks = Blocks::open(part)?;
    let superblock = blocks.superblock()?;
    if !superblock.clean {
        bail!("metadata was not shut down cleanly");
    }
    let extents = superblock.length.div_ceil(superblock.extent_sectors);
    let layout = Layout::new(extents);
    let entries = read_entries(&blocks, &superblock, &layout)?;
    let map = |number: usize| -> Result<Vec<bool>> {
        let mut bits = Vec::new();
        for block in 0..layout.map_blocks() {
            let entry = layout.entry(number, block);
            bits.extend(read_map(&blocks, &layout, entry, entries[entry as usize], block, extents)?);
        }
        Ok(bits)
    };
    let (first, second) = (map(0)?, map(1)?);
    let (cdm, prm) = if superblock.roles_swapped { (second, first) } else { (first, second) };
    Ok(OnDisk { superblock, layout, entries, cdm, prm })
}

fn read_entries(blocks: &Blocks, superblock: &Superblock, layout: &Layout) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for index in 0..layout.table_blocks() {
        let block = blocks.read(layout.table(superblock.table_area, index))?;
        table::check(&block, index).context("slot table is damaged")?;
        let left = layout.entries() - index * ENTRIES_PER_BLOCK;
        for i in 0..left.min(ENTRIES_PER_BLOCK) {
            entries.push(table::decode(&block, i as usize).context("slot table is invalid")?);
        }
    }
    Ok(entries)
}

fn read_map(
    blocks: &Blocks,
    layout: &Layout,
    entry: u64,
    place: Entry,
    index: u64,
    extents: u64,
) -> Result<Vec<bool>> {
    let count = mapblock::extents_of(index, extents).len();
    let slot = match place.place {
        Place::Zeros => return Ok(vec![false; count as usize]),
        Place::Ones => return Ok(vec![true; count as usize]),
        Place::First => 0,
        Place::Second => 1,
    };
    let block: [u8; BLOCK] = blocks.read(layout.map(entry, slot))?;
    if mapblock::check(&block, entry) != Some(place.crc) {
        bail!("map block {entry} is damaged");
    }
    Ok((0..count).map(|bit| mapblock::word(&block, bit / 64) >> (bit % 64) & 1 != 0).collect())
}
