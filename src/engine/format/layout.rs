// SPDX-License-Identifier: GPL-2.0

//! Where each block of the metadata is.
//!
//! | blocks | what |
//! |---|---|
//! | 0, 1 | the two superblocks |
//! | 2 to 257 | the journal, a ring |
//! | 258 on | two areas of the slot table |
//! | then | for each block of both maps two slots side by side |

use super::mapblock::BITS_PER_BLOCK;
use super::table::ENTRIES_PER_BLOCK;
use super::BLOCK_SECTORS;

/// The number of superblocks.
pub const SUPERBLOCKS: u64 = 2;
/// The number of journal blocks.
pub const JOURNAL_BLOCKS: u64 = 256;
/// What must be zero for a device to count as blank, in blocks: 1 MiB.
pub const BLANK_BLOCKS: u64 = 256;

const TABLE_START: u64 = SUPERBLOCKS + JOURNAL_BLOCKS;

/// The places of all blocks, in blocks from the device's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    map_blocks: u64,
    table_blocks: u64,
}

impl Layout {
    /// The layout for maps of so many extents.
    pub fn new(extents: u64) -> Self {
        let map_blocks = extents.div_ceil(BITS_PER_BLOCK);
        Self {
            map_blocks,
            table_blocks: map_blocks.saturating_mul(2).div_ceil(ENTRIES_PER_BLOCK),
        }
    }

    /// Blocks of one map.
    pub fn map_blocks(&self) -> u64 {
        self.map_blocks
    }

    /// Entries of the slot table: one per block of both maps.
    pub fn entries(&self) -> u64 {
        self.map_blocks.saturating_mul(2)
    }

    /// Blocks of one area of the slot table.
    pub fn table_blocks(&self) -> u64 {
        self.table_blocks
    }

    /// Blocks of the whole.
    pub fn blocks(&self) -> u64 {
        self.maps_start()
            .saturating_add(self.entries().saturating_mul(2))
    }

    /// Sectors of the whole: the smallest metadata device.
    pub fn sectors(&self) -> u64 {
        self.blocks().saturating_mul(BLOCK_SECTORS)
    }

    /// The superblock of a generation.
    pub fn superblock(&self, generation: u64) -> u64 {
        generation % SUPERBLOCKS
    }

    /// The journal block with sequence number `sequence`.
    pub fn journal(&self, sequence: u64) -> u64 {
        SUPERBLOCKS.saturating_add(sequence % JOURNAL_BLOCKS)
    }

    /// Block `index` of table area `area` (0 or 1).
    pub fn table(&self, area: u64, index: u64) -> u64 {
        TABLE_START
            .saturating_add(area.saturating_mul(self.table_blocks))
            .saturating_add(index)
    }

    /// Slot `slot` (0 or 1) of the map block with table entry `entry`.
    pub fn map(&self, entry: u64, slot: u64) -> u64 {
        self.maps_start()
            .saturating_add(entry.saturating_mul(2))
            .saturating_add(slot)
    }

    /// The table entry of block `block` of map `number` (0 or 1).
    pub fn entry(&self, number: usize, block: u64) -> u64 {
        if number == 0 {
            block
        } else {
            self.map_blocks.saturating_add(block)
        }
    }

    fn maps_start(&self) -> u64 {
        TABLE_START.saturating_add(self.table_blocks.saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_things_share_a_block() {
        for extents in [
            1,
            BITS_PER_BLOCK,
            BITS_PER_BLOCK + 1,
            600 * BITS_PER_BLOCK + 5,
        ] {
            let layout = Layout::new(extents);
            let mut places = HashSet::new();
            let mut take = |block| {
                assert!(block < layout.blocks());
                assert!(places.insert(block));
            };
            (0..2).for_each(|g| take(layout.superblock(g)));
            (0..JOURNAL_BLOCKS).for_each(|s| take(layout.journal(s)));
            for side in 0..2 {
                (0..layout.table_blocks()).for_each(|i| take(layout.table(side, i)));
                (0..layout.entries()).for_each(|e| take(layout.map(e, side)));
            }
            assert_eq!(places.len() as u64, layout.blocks());
        }
    }

    #[test]
    fn about_eight_mebibytes_per_tebibyte() {
        let layout = Layout::new((1 << 40) / 65536);
        assert!(layout.blocks() * 4096 < 10 << 20);
    }
}
