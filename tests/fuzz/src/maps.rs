// SPDX-License-Identifier: GPL-2.0

//! A slot table and map blocks, in a state that is otherwise good. What must come of them is worked
//! out from the bytes a second time, by the page on the format and not by the engine's own reader.

use crate::image::unloaded;
use arbitrary::{Arbitrary, Result, Unstructured};
use dm_restore_engine::base::geometry::Geometry;
use dm_restore_engine::format::items::Unstable;
use dm_restore_engine::format::samples::Samples;
use dm_restore_engine::format::superblock::Superblock;
use dm_restore_engine::format::{bytes, mapblock, table, Block, Refusal, BLOCK};
use dm_restore_engine::maps::{Mode, Role};
use dm_restore_engine::words::settings::Settings;

const EXTENT_SECTORS: u64 = 8;
/// Two map blocks and a part of a third.
const MOST_EXTENTS: u32 = 2 * 32256 + 200;
const BITS: u64 = 32256;
const HEADER: usize = 64;

/// A map block in its slot.
struct Slot {
    place: u8,
    content: Block,
    /// The table names another checksum.
    wrong: bool,
}

/// An input.
struct Input {
    extents: u64,
    slots: Vec<Slot>,
    /// Bytes of the table block that are changed, and whether it is sealed again.
    edits: Vec<(u16, u8)>,
    sealed: bool,
}

/// Takes an input.
pub fn run(data: &[u8]) {
    if let Ok(input) = Input::take(&mut Unstructured::new(data)) {
        input.check();
    }
}

fn slot(u: &mut Unstructured<'_>, number: u64) -> Result<Slot> {
    let place = u8::arbitrary(u)?;
    let fill = if place & 0x80 != 0 { u64::MAX } else { 0 };
    let mut words = [fill; 504];
    for _ in 0..u8::arbitrary(u)? % 8 {
        words[usize::from(u16::arbitrary(u)?) % 504] = u64::arbitrary(u)?;
    }
    let mut content = [0; BLOCK];
    // Sometimes it says that it is another block.
    let own = number ^ u64::from(place & 0x7f == 0x7f);
    mapblock::start(&mut content, own, |i| words[i as usize]);
    mapblock::finish(&mut content);
    Ok(Slot {
        place: place % 4,
        content,
        wrong: place & 0x7c == 0x7c,
    })
}

impl Input {
    fn take(u: &mut Unstructured<'_>) -> Result<Self> {
        let extents = u64::from(u32::arbitrary(u)? % MOST_EXTENTS) + 1;
        let entries = 2 * extents.div_ceil(BITS);
        let slots = (0..entries).map(|number| slot(u, number));
        let slots = slots.collect::<Result<_>>()?;
        let count = u8::arbitrary(u)? % 4;
        let edits = (0..count).map(|_| Arbitrary::arbitrary(u));
        Ok(Self {
            extents,
            slots,
            edits: edits.collect::<Result<_>>()?,
            sealed: bool::arbitrary(u)?,
        })
    }

    fn table(&self) -> Block {
        let entries: Vec<_> = self.slots.iter().map(Slot::entry).collect();
        let mut block = [0; BLOCK];
        table::encode(&mut block, 0, &entries);
        for (at, flip) in &self.edits {
            block[usize::from(*at) % BLOCK] ^= flip;
        }
        if self.sealed {
            bytes::seal(&mut block);
        }
        block
    }

    fn check(&self) {
        let table = self.table();
        let geometry = Geometry::new(self.extents * EXTENT_SECTORS, EXTENT_SECTORS);
        let geometry = geometry.expect("it is a good one");
        let (mut engine, shared) = unloaded(geometry, Settings::default());
        engine.adopt(&shared, superblock(&geometry, &table));
        let layout = *engine.layout();
        assert_eq!(layout.entries(), self.slots.len() as u64);
        let mut load = || {
            let crc = engine.load_table(0, &table, 0)?;
            engine.check_table(crc)?;
            for (number, slot) in (0..).zip(&self.slots) {
                if let Some(place) = engine.map_place(&shared, number) {
                    let own = [layout.map(number, 0), layout.map(number, 1)];
                    assert!(own.contains(&place) && place < layout.blocks());
                    engine.load_map(&shared, number, &slot.content)?;
                }
            }
            Ok::<(), Refusal>(())
        };
        let loaded = load();
        shared.maps.recount();
        let expected = self.expected(&table);
        assert_eq!(loaded.is_ok(), expected.is_some(), "{loaded:?}");
        let Some(expected) = expected else { return };
        for (map, words) in expected.iter().enumerate() {
            let bitmap = shared.maps.numbered(map);
            for (i, word) in (0..).zip(words) {
                assert_eq!(bitmap.word(i), *word, "map {map} word {i}");
            }
            let role = if map == 0 { Role::Cdm } else { Role::Prm };
            let ones = words.iter().map(|word| u64::from(word.count_ones()));
            assert_eq!(shared.maps.count(role), ones.sum::<u64>());
        }
    }

    /// The words of both maps, or nothing if anything is wrong.
    fn expected(&self, table: &Block) -> Option<[Vec<u64>; 2]> {
        let u32_at = |block: &Block, at: usize| {
            u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        let sealed = |block: &Block, magic: &[u8], own: u64| {
            u32_at(block, 0) == crc32c::crc32c(&block[4..])
                && block[4..8] == *magic
                && block[8..16] == own.to_le_bytes()
        };
        if !sealed(table, b"dRtb", 0) {
            return None;
        }
        let words = self.extents.div_ceil(64) as usize;
        let mut maps = [vec![0; words], vec![0; words]];
        let half = self.slots.len() / 2;
        for (number, slot) in self.slots.iter().enumerate() {
            let at = HEADER + number * 8;
            let (crc, place) = (u32_at(table, at), u32_at(table, at + 4));
            let first = number % half * 504;
            let here = (words - first).min(504);
            let map = &mut maps[number / half][first..first + here];
            match place {
                0 if crc == 0 => {}
                1 if crc == 0 => map.fill(u64::MAX),
                2 | 3 => {
                    let content = &slot.content;
                    if !sealed(content, b"dRmp", number as u64) || u32_at(content, 0) != crc {
                        return None;
                    }
                    let (own, rest) = content[HEADER..].split_at(here * 8);
                    if rest.iter().any(|byte| *byte != 0) {
                        return None;
                    }
                    for (word, bytes) in map.iter_mut().zip(own.chunks(8)) {
                        *word = u64::from_le_bytes(bytes.try_into().expect("eight"));
                    }
                }
                _ => return None,
            }
            // What stands for no extent must be clear; `Ones` leaves it so.
            let end = (self.extents - first as u64 * 64).min(BITS) as usize;
            if end % 64 != 0 {
                let behind = u64::MAX << (end % 64);
                if place == 1 {
                    map[here - 1] &= !behind;
                } else if map[here - 1] & behind != 0 {
                    return None;
                }
            }
        }
        Some(maps)
    }
}

impl Slot {
    fn entry(&self) -> table::Entry {
        let place = match self.place {
            0 => table::Place::Zeros,
            1 => table::Place::Ones,
            2 => table::Place::First,
            _ => table::Place::Second,
        };
        let in_slot = self.place > 1;
        let crc = bytes::get_u32(&self.content, 0) ^ u32::from(self.wrong);
        table::Entry {
            crc: if in_slot { crc } else { 0 },
            place,
            dirty: false,
            fresh: false,
        }
    }
}

/// A superblock that names this table.
fn superblock(geometry: &Geometry, table: &Block) -> Superblock {
    Superblock {
        uuid: [3; 16],
        length: geometry.length(),
        extent_sectors: geometry.extent_sectors(),
        generation: 2,
        activation: 1,
        clean: true,
        roles_swapped: false,
        lost: false,
        mode: Mode::Restoring,
        tail: 0,
        chain: 0,
        table_area: 0,
        table_crc: table::chain(0, bytes::get_u32(table, 0)),
        begun_with: geometry.extents(),
        block_size: 512,
        clone_sectors: geometry.length(),
        clone: Samples::plain(),
        source: Samples::default(),
        unstable: Unstable::default(),
    }
}
