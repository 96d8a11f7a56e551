// SPDX-License-Identifier: GPL-2.0

//! A whole metadata device, and how the target loads one.

use dm_restore_engine::base::geometry::Geometry;
use dm_restore_engine::base::storage::Heap;
use dm_restore_engine::format::layout::{JOURNAL_BLOCKS, SUPERBLOCKS};
use dm_restore_engine::format::superblock::Superblock;
use dm_restore_engine::format::{Block, Refusal, BLOCK, BLOCK_SECTORS};
use dm_restore_engine::machine::Engine;
use dm_restore_engine::record::load::check_identity;
use dm_restore_engine::shared::Shared;
use dm_restore_engine::sync::cache::Cache;
use dm_restore_engine::words::settings::{Features, Settings};
use std::rc::Rc;

/// The blocks of a metadata device, as many as the geometry asks for.
#[derive(Clone)]
pub struct Image {
    /// What the table line says.
    pub geometry: Geometry,
    /// The blocks.
    pub blocks: Vec<Rc<Block>>,
}

/// What was loaded.
pub struct Loaded {
    /// The engine.
    pub engine: Engine<Heap>,
    /// What requests look at.
    pub shared: Shared<Heap>,
    /// A torn journal block that is to be zeroed.
    pub torn: Option<u64>,
}

/// An engine with nothing loaded.
pub fn unloaded(geometry: Geometry, settings: Settings) -> (Engine<Heap>, Shared<Heap>) {
    let engine = Engine::new(geometry, Features::default(), settings);
    let shared = Shared::new(geometry);
    let (mut engine, shared) = (engine.expect("memory"), shared.expect("memory"));
    engine.cache = Cache::Apart;
    (engine, shared)
}

impl Image {
    /// A blank device.
    pub fn blank(geometry: Geometry, blocks: u64) -> Self {
        let zero = Rc::new([0; BLOCK]);
        Self {
            geometry,
            blocks: vec![zero; blocks as usize],
        }
    }

    /// Block `place`: there is one, or the engine has asked for what is not on the device.
    pub fn block(&self, place: u64) -> &Block {
        assert!((place as usize) < self.blocks.len(), "read of {place}");
        &self.blocks[place as usize]
    }

    /// Loads, step by step as the target does.
    pub fn load(&self, settings: Settings, different: bool) -> Result<Loaded, Refusal> {
        let superblock = Superblock::find(self.block(0), self.block(1), || true)?;
        let superblock = superblock.ok_or(Refusal::Blank)?;
        let (mut engine, shared) = unloaded(self.geometry, settings);
        let layout = *engine.layout();
        let sectors = self.blocks.len() as u64 * BLOCK_SECTORS;
        check_identity(&superblock, &self.geometry, sectors, 512)?;
        engine.adopt(&shared, superblock);
        let (mut crc, mut index) = (0, 0);
        while let Some(place) = engine.table_place(index) {
            crc = engine.load_table(index, self.block(place), crc)?;
            index += 1;
        }
        engine.check_table(crc)?;
        for entry in 0..layout.entries() {
            if let Some(place) = engine.map_place(&shared, entry) {
                engine.load_map(&shared, entry, self.block(place))?;
            }
        }
        let torn = engine.replay(&shared, |i| {
            assert!(i < JOURNAL_BLOCKS);
            Some(self.block(SUPERBLOCKS + i))
        })?;
        if different {
            engine.assume_different(&shared)?;
        }
        Ok(Loaded {
            engine,
            shared,
            torn,
        })
    }
}
