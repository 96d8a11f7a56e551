// SPDX-License-Identifier: GPL-2.0

//! Metadata that is wrong in a way that checksums do not show: written as the target would write
//! it, but saying what cannot be.

use super::maps::{self, Blocks, OnDisk};
use super::rig::Rig;
use anyhow::{Context, Result};
use dm_restore_engine::base::geometry::Geometry;
use dm_restore_engine::format::event::Event;
use dm_restore_engine::format::journal::{Place, Reader, Writer};
use dm_restore_engine::format::layout::{Layout, JOURNAL_BLOCKS};
use dm_restore_engine::format::superblock::Superblock;
use dm_restore_engine::format::table::{self, Entry};
use dm_restore_engine::format::{bytes, mapblock, Block, BLOCK};
use std::collections::BTreeMap;

/// The metadata of a rig that is shut down.
pub struct Forge {
    /// Its blocks.
    pub blocks: Blocks,
    /// What they say.
    pub state: OnDisk,
}

impl Forge {
    /// Opens it.
    pub fn open(rig: &Rig) -> Result<Self> {
        let part = &rig.metadata.part;
        Ok(Self {
            blocks: Blocks::open(part)?,
            state: maps::read(part)?,
        })
    }

    /// Changes the newer superblock and seals it.
    pub fn superblock(&self, change: impl FnOnce(&mut Superblock)) -> Result<()> {
        let mut superblock = self.state.superblock;
        change(&mut superblock);
        let mut block = [0; BLOCK];
        superblock.encode(&mut block);
        self.blocks.write(
            self.state
                .layout
                .superblock(self.state.superblock.generation),
            &block,
        )
    }

    /// Changes bytes of the newer superblock and seals it.
    pub fn superblock_bytes(&self, change: impl FnOnce(&mut Block)) -> Result<()> {
        let place = self
            .state
            .layout
            .superblock(self.state.superblock.generation);
        let mut block = self.blocks.read(place)?;
        change(&mut block);
        // The checksum of a superblock is at the end of its sector.
        let crc = crc32c::crc32c(&block[..508]);
        bytes::put_u32(&mut block, 508, crc);
        self.blocks.write(place, &block)
    }

    /// Writes the journal block that comes `ahead` blocks behind the last one, as if the target
    /// had not been shut down.
    pub fn journal(&self, ahead: u64, event: Event) -> Result<()> {
        let superblock = &self.state.superblock;
        let sequence = superblock.tail + ahead;
        let place = Place {
            uuid: superblock.uuid,
            activation: superblock.activation,
            sequence,
            chain: superblock.chain,
        };
        let mut block = [0; BLOCK];
        let mut writer = Writer::new(&mut block, &place);
        writer.push(event);
        writer.finish();
        self.blocks
            .write(self.state.layout.journal(sequence), &block)
    }

    /// The first table entry that has a slot, and the place of its block.
    pub fn slot(&self) -> Result<(u64, Entry, u64)> {
        for (number, entry) in (0..).zip(self.entries()?) {
            if let Some(slot) = entry.slot() {
                return Ok((number, entry, self.state.layout.map(number, slot)));
            }
        }
        anyhow::bail!("no map block is in a slot")
    }

    /// Changes the block of a map in its slot; `bits` gives its words. The table still names the
    /// old content, unless `named`.
    pub fn map(&self, bits: impl Fn(u64) -> u64, named: bool) -> Result<()> {
        let (number, entry, place) = self.slot()?;
        let mut block = [0; BLOCK];
        mapblock::start(&mut block, number, bits);
        let crc = mapblock::finish(&mut block);
        self.blocks.write(place, &block)?;
        if named {
            self.table(|entries| entries[number as usize] = Entry { crc, ..entry })?;
        }
        Ok(())
    }

    /// Changes the slot table and whatever names it.
    pub fn table(&self, change: impl FnOnce(&mut Vec<Entry>)) -> Result<()> {
        let mut entries = self.entries()?;
        change(&mut entries);
        let mut block = [0; BLOCK];
        let crc = table::encode(&mut block, 0, &entries);
        self.write_table(&block, crc)
    }

    /// Puts bytes into the slot table and seals whatever names it.
    pub fn table_bytes(&self, change: impl FnOnce(&mut Block)) -> Result<()> {
        let mut block = self.blocks.read(self.table_place())?;
        change(&mut block);
        let crc = bytes::seal(&mut block);
        self.write_table(&block, crc)
    }

    /// Where the slot table is; scenarios have one block of it.
    pub fn table_place(&self) -> u64 {
        self.state.layout.table(self.state.superblock.table_area, 0)
    }

    fn write_table(&self, block: &Block, crc: u32) -> Result<()> {
        self.blocks.write(self.table_place(), block)?;
        self.superblock(|superblock| superblock.table_crc = table::chain(0, crc))
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let block = self.blocks.read(self.table_place())?;
        (0..self.state.layout.entries())
            .map(|i| table::decode(&block, i as usize).context("slot table is invalid"))
            .collect()
    }
}

/// The same metadata with another UUID, as if it were another volume's: two of the same are not let
/// in at a time. `number` tells copies apart. What is not metadata stays as it is.
pub fn renamed(mut image: Vec<u8>, number: u8) -> Vec<u8> {
    let decode = |place: usize| Superblock::decode(block(&image, place)?).ok()?;
    let (Some(first), Some(second)) = (decode(0), decode(1)) else {
        return image;
    };
    let Ok(geometry) = Geometry::new(first.length, first.extent_sectors) else {
        return image;
    };
    let mut uuid = first.uuid;
    uuid[0] = uuid[0].wrapping_add(number.wrapping_add(1));
    let layout = Layout::new(geometry.extents());
    let places = (0..JOURNAL_BLOCKS).map(|i| layout.journal(i) as usize);
    let chains = rename_journal(&mut image, places, first.uuid, uuid);
    for (place, superblock) in [(0, first), (1, second)] {
        let chain = *chains.get(&superblock.chain).unwrap_or(&superblock.chain);
        let renamed = Superblock {
            uuid,
            chain,
            ..superblock
        };
        let mut sealed = [0; BLOCK];
        renamed.encode(&mut sealed);
        put(&mut image, place, &sealed);
    }
    image
}

/// Seals every journal block of the history anew, each with the new checksum of the one before it.
/// Returns which checksum has become which. One whose predecessor is lost still names that.
fn rename_journal(
    image: &mut [u8],
    places: impl Iterator<Item = usize>,
    old: [u8; 16],
    new: [u8; 16],
) -> BTreeMap<u32, u32> {
    let reader = |place: &usize| Reader::new(block(image, *place)?);
    let own = |place: &usize| reader(place).filter(|reader| reader.place.uuid == old);
    let mut blocks: Vec<(u64, usize)> = places
        .filter_map(|place| Some((own(&place)?.place.sequence, place)))
        .collect();
    blocks.sort_unstable();
    let mut chains = BTreeMap::new();
    for (_, place) in blocks {
        let Some(reader) = block(image, place).and_then(Reader::new) else {
            continue;
        };
        let before = reader.place.chain;
        let renamed = Place {
            uuid: new,
            chain: *chains.get(&before).unwrap_or(&before),
            ..reader.place
        };
        let mut sealed = [0; BLOCK];
        let mut writer = Writer::new(&mut sealed, &renamed);
        for event in reader.events().flatten() {
            writer.push(event);
        }
        chains.insert(reader.crc, writer.finish());
        put(image, place, &sealed);
    }
    chains
}

fn block(image: &[u8], place: usize) -> Option<&Block> {
    image.get(place * BLOCK..)?.first_chunk()
}

fn put(image: &mut [u8], place: usize, content: &Block) {
    image[place * BLOCK..][..BLOCK].copy_from_slice(content);
}
