// SPDX-License-Identifier: GPL-2.0

//! The slot table: for each map block where its content is, and its checksum.

use super::bytes;
use super::{Block, BLOCK, HEADER};
use crate::engine::base::checksum::crc32c;

const MAGIC: u32 = u32::from_le_bytes(*b"dRtb");
const ENTRY: usize = 8;
/// Entries in a block of the table.
pub const ENTRIES_PER_BLOCK: u64 = ((BLOCK - HEADER) / ENTRY) as u64;

/// Where the content of a map block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: every bit is clear.
    Zeros,
    /// Nowhere: every bit that stands for an extent is set.
    Ones,
    /// In the first slot.
    First,
    /// In the second slot.
    Second,
}

/// An entry of the table, and whether the block has changed in memory since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Checksum of the content in the slot; 0 without a slot.
    pub crc: u32,
    /// Where the content is.
    pub place: Place,
    /// Changed since the checkpoint: it goes to the other slot with the next one.
    pub dirty: bool,
    /// In a slot that no superblock names yet: new content goes to the same one.
    pub fresh: bool,
}

impl Entry {
    /// A block whose bits are all clear.
    pub const ZEROS: Entry = Entry {
        crc: 0,
        place: Place::Zeros,
        dirty: false,
        fresh: false,
    };
    /// A block whose bits are all set.
    pub const ONES: Entry = Entry {
        crc: 0,
        place: Place::Ones,
        dirty: false,
        fresh: false,
    };

    /// The slot (0 or 1) that the content is in, if it is in one.
    pub fn slot(&self) -> Option<u64> {
        match self.place {
            Place::Zeros | Place::Ones => None,
            Place::First => Some(0),
            Place::Second => Some(1),
        }
    }

    /// The slot that new content goes to: never the one that a superblock names.
    pub fn free_slot(&self) -> u64 {
        match (self.place, self.fresh) {
            (Place::First, false) | (Place::Second, true) => 1,
            _ => 0,
        }
    }

    /// Notes that content with checksum `crc` was written to [`Entry::free_slot`].
    pub fn moved(&self, crc: u32) -> Entry {
        let place = if self.free_slot() == 0 {
            Place::First
        } else {
            Place::Second
        };
        Entry {
            crc,
            place,
            dirty: false,
            fresh: true,
        }
    }
}

/// Makes block `index` of the table from its entries and returns its checksum.
pub fn encode(block: &mut Block, index: u64, entries: &[Entry]) -> u32 {
    bytes::start(block, MAGIC);
    bytes::put_u64(block, 8, index);
    for (i, entry) in entries.iter().take(ENTRIES_PER_BLOCK as usize).enumerate() {
        let at = HEADER.saturating_add(i.saturating_mul(ENTRY));
        let place = match entry.place {
            Place::Zeros => 0,
            Place::Ones => 1,
            Place::First => 2,
            Place::Second => 3,
        };
        bytes::put_u32(block, at, entry.crc);
        bytes::put_u32(block, at.saturating_add(4), place);
    }
    bytes::seal(block)
}

/// The checksum of block `index` of the table, if the block is intact.
pub fn check(block: &Block, index: u64) -> Option<u32> {
    let crc = bytes::sealed(block, MAGIC)?;
    (bytes::get_u64(block, 8) == index).then_some(crc)
}

/// Entry `i` of a checked block; `None` if it says what cannot be.
pub fn decode(block: &Block, i: usize) -> Option<Entry> {
    let at = HEADER.saturating_add(i.saturating_mul(ENTRY));
    let crc = bytes::get_u32(block, at);
    let place = match bytes::get_u32(block, at.saturating_add(4)) {
        0 if crc == 0 => Place::Zeros,
        1 if crc == 0 => Place::Ones,
        2 => Place::First,
        3 => Place::Second,
        _ => return None,
    };
    Some(Entry {
        crc,
        place,
        dirty: false,
        fresh: false,
    })
}

/// Continues the checksum of the whole table over that of its next block.
pub fn chain(crc: u32, block: u32) -> u32 {
    crc32c(crc, &block.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        prop_oneof![
            Just(Entry::ZEROS),
            Just(Entry::ONES),
            any::<u32>().prop_map(|crc| Entry {
                crc,
                place: Place::First,
                dirty: false,
                fresh: false,
            }),
            any::<u32>().prop_map(|crc| Entry {
                crc,
                place: Place::Second,
                dirty: false,
                fresh: false,
            }),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(entries in prop::collection::vec(entry(), 0..504), index in 0u64..600) {
            let mut block = [0; BLOCK];
            let crc = encode(&mut block, index, &entries);
            prop_assert_eq!(check(&block, index), Some(crc));
            prop_assert_eq!(check(&block, index + 1), None);
            for (i, entry) in entries.iter().enumerate() {
                prop_assert_eq!(decode(&block, i), Some(*entry));
                let moved = entry.moved(7);
                prop_assert!(entry.slot() != Some(entry.free_slot()));
                prop_assert_eq!(moved.slot(), Some(entry.free_slot()));
                prop_assert_eq!(moved.moved(9).slot(), moved.slot());
            }
        }
    }
}
