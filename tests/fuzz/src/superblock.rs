// SPDX-License-Identifier: GPL-2.0

//! The two superblocks.
//!
//! Input: a byte of flags, then up to two sectors.

use dm_restore_engine::base::geometry::{Geometry, MAX_EXTENTS};
use dm_restore_engine::format::layout::Layout;
use dm_restore_engine::format::superblock::Superblock;
use dm_restore_engine::format::{bytes, Block, BLOCK, BLOCK_SECTORS};

/// What a superblock takes up: one sector.
pub const SECTOR: usize = 512;
/// Flags of an input: seal the first, seal the second, something behind the first sector.
const SEAL: [u8; 2] = [1, 2];
const BEHIND: u8 = 4;
/// Where the checksum is; behind the last field everything is reserved.
const CRC: usize = 508;
const RESERVED: usize = 424;

/// Takes an input.
pub fn run(data: &[u8]) {
    let Some((flags, data)) = data.split_first() else {
        return;
    };
    let mut blocks = [[0; BLOCK]; 2];
    for ((block, part), seal) in blocks.iter_mut().zip(data.chunks(SECTOR)).zip(SEAL) {
        block[..part.len()].copy_from_slice(part);
        if flags & seal != 0 {
            self::seal(block);
        }
        block[SECTOR] = flags & BEHIND;
    }
    check(&blocks);
}

/// Gives a block the checksum it should have.
pub fn seal(block: &mut Block) {
    let crc = crc32c::crc32c(&block[..CRC]);
    bytes::put_u32(block, CRC, crc);
}

fn check(blocks: &[Block; 2]) {
    let decoded = blocks.each_ref().map(Superblock::decode);
    for (block, decoded) in blocks.iter().zip(&decoded) {
        if let Ok(Some(superblock)) = decoded {
            check_one(block, superblock);
        }
    }
    let [first, second] = blocks;
    match Superblock::find(first, second, || true) {
        Ok(Some(chosen)) => {
            let [Ok(Some(a)), Ok(Some(b))] = decoded else {
                panic!("chosen although one of the two is bad");
            };
            let (older, newer) = if chosen == a { (b, a) } else { (a, b) };
            assert_eq!(chosen, newer);
            assert_eq!(older.generation + 1, newer.generation);
            assert_eq!(older.uuid, newer.uuid);
            let own = usize::from(chosen == b);
            let layout = Layout::new(geometry(&chosen).extents());
            assert_eq!(layout.superblock(chosen.generation), own as u64);
        }
        Ok(None) => {
            assert!(bytes::is_zero(first));
            let begun = matches!(&decoded[1], Ok(Some(one)) if one.generation == 1);
            assert!(bytes::is_zero(second) || begun);
        }
        Err(refusal) => assert!(!refusal.reason().is_empty()),
    }
}

fn geometry(superblock: &Superblock) -> Geometry {
    Geometry::new(superblock.length, superblock.extent_sectors).expect("it was accepted")
}

/// What is accepted can be worked with, and is written back as it was read.
fn check_one(block: &Block, superblock: &Superblock) {
    let mut again = [0xff; BLOCK];
    superblock.encode(&mut again);
    assert_eq!(Superblock::decode(&again), Ok(Some(*superblock)));
    if bytes::is_zero(&block[RESERVED..CRC]) {
        assert_eq!(&again, block);
    }
    let geometry = geometry(superblock);
    assert!(geometry.extents() <= MAX_EXTENTS);
    assert!(superblock.begun_with <= geometry.extents());
    let layout = Layout::new(geometry.extents());
    let last = [
        layout.superblock(superblock.generation),
        layout.journal(superblock.tail),
        layout.table(superblock.table_area, layout.table_blocks() - 1),
        layout.map(layout.entries() - 1, 1),
    ];
    assert!(last.iter().all(|place| *place < layout.blocks()));
    assert_eq!(layout.sectors(), layout.blocks() * BLOCK_SECTORS);
}
