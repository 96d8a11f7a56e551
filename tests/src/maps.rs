// SPDX-License-Identifier: GPL-2.0

//! The metadata as it is on its device, read with the engine's own recovery.

use super::disks::Part;
use super::io::{Buffer, Device};
use anyhow::{anyhow, Context, Result};
use dm_restore_engine::base::geometry::Geometry;
use dm_restore_engine::base::storage::Heap;
use dm_restore_engine::format::{
    layout::Layout, superblock::Superblock, Block, Refusal, BLOCK, BLOCK_SECTORS,
};
use dm_restore_engine::machine::Engine;
use dm_restore_engine::maps::Mode;
use dm_restore_engine::shared::Shared;
use dm_restore_engine::words::settings::{Features, Settings};
use std::collections::BTreeSet;

/// What a metadata device says.
pub struct OnDisk {
    /// The newer superblock.
    pub superblock: Superblock,
    /// Where everything is.
    pub layout: Layout,
    /// A restore is under way.
    pub restoring: bool,
    /// The extents that may differ between source and clone.
    pub cdm: BTreeSet<u64>,
    /// The extents that the host has changed since the restore began.
    pub prm: BTreeSet<u64>,
    /// The blocks that hold live state: each counts, and damage to it must be found.
    pub live: Vec<u64>,
}

/// The blocks of a metadata device.
pub struct Blocks {
    device: Device,
    part: Part,
}

impl Blocks {
    /// Opens the part of the disk that the metadata is on.
    pub fn open(part: &Part) -> Result<Self> {
        let device = Device::open(&part.path())?;
        Ok(Self {
            device,
            part: part.clone(),
        })
    }

    /// Reads a block.
    pub fn read(&self, index: u64) -> Result<Block> {
        let at = self.part.start + index * BLOCK_SECTORS;
        let data = self.device.read(at..at + BLOCK_SECTORS)?;
        Ok(data[..].try_into()?)
    }

    /// Writes a block.
    pub fn write(&self, index: u64, block: &Block) -> Result<()> {
        let mut data = Buffer::zeroed(BLOCK_SECTORS);
        data.copy_from_slice(block);
        Ok(self
            .device
            .write(self.part.start + index * BLOCK_SECTORS, &data)?)
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
            let mut data = Buffer::zeroed((part.len() / 512) as u64);
            data.copy_from_slice(part);
            self.device
                .write(self.part.start + i as u64 * 2048, &data)?;
        }
        Ok(())
    }

    /// The superblock that counts.
    pub fn superblock(&self) -> Result<Superblock> {
        Superblock::find(&self.read(0)?, &self.read(1)?, || true)
            .map_err(|refusal| anyhow!("{refusal:?}"))?
            .context("metadata is not formatted")
    }
}

/// What would be found after a crash at this instant: the state that is durable.
pub fn read(part: &Part) -> Result<OnDisk> {
    let blocks = Blocks::open(part)?;
    // A commit may be under way. Journal and generation only ever go on, so that what is the same
    // twice was not being changed.
    let mut image = blocks.read_all()?;
    loop {
        let again = blocks.read_all()?;
        if again == image {
            return recover_image(image);
        }
        image = again;
    }
}

/// What an image of a metadata device says, as recovery finds it.
pub fn recover_image(bytes: Vec<u8>) -> Result<OnDisk> {
    recover(&Image(bytes)).map_err(|refusal| anyhow!("metadata is refused: {refusal:?}"))
}

struct Image(Vec<u8>);

impl Image {
    /// Block `index`; zeros behind the end.
    fn block(&self, index: u64) -> &Block {
        let at = index as usize * BLOCK;
        let bytes = self.0.get(at..at + BLOCK);
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or(&[0; BLOCK])
    }
}

fn recover(image: &Image) -> Result<OnDisk, Refusal> {
    let superblock =
        Superblock::find(image.block(0), image.block(1), || true)?.ok_or(Refusal::Blank)?;
    let geometry = Geometry::new(superblock.length, superblock.extent_sectors)
        .map_err(|_| Refusal::SuperblockInvalid)?;
    let no_memory = |_| Refusal::Truncated;
    let shared = Shared::<Heap>::new(geometry).map_err(no_memory)?;
    let mut engine = Engine::<Heap>::new(geometry, Features::default(), Settings::default())
        .map_err(no_memory)?;
    engine.adopt(&shared, superblock);
    let mut live = vec![0, 1];
    let mut crc = 0;
    for index in 0..engine.layout().table_blocks() {
        let place = engine.table_place(index).ok_or(Refusal::TableInvalid)?;
        crc = engine.load_table(index, image.block(place), crc)?;
        live.push(place);
    }
    engine.check_table(crc)?;
    for entry in 0..engine.layout().entries() {
        if let Some(place) = engine.map_place(&shared, entry) {
            engine.load_map(&shared, entry, image.block(place))?;
            live.push(place);
        }
    }
    let journal = *engine.layout();
    engine.replay(&shared, |i| Some(image.block(journal.journal(i))))?;
    let view = shared.maps.view();
    let bits = |map: &dyn Fn(u64) -> bool| {
        (0..geometry.extents())
            .filter(|extent| map(*extent))
            .collect()
    };
    Ok(OnDisk {
        superblock,
        layout: journal,
        restoring: view.state.mode == Mode::Restoring,
        cdm: bits(&|extent| view.cdm.get(extent)),
        prm: bits(&|extent| view.prm.get(extent)),
        live,
    })
}
