// SPDX-License-Identifier: GPL-2.0

//! Samples of what a device holds. By them source and clone are told apart, from one another and
//! from other disks. They are no proof of content.
//!
//! Three kinds: blocks of 4 KiB *spread* evenly, both *ends* (128 KiB each), and *places*, blocks
//! that were chosen because source and clone differ there.

use super::bytes::{get_u32, get_u64, put_u32, put_u64};
use super::Block;
use crate::engine::base::hash::xxh64;

use super::items::{Item, Places, ENDS, PLACES, SPREAD};

/// Samples that were taken, with where the places are. Of a block the low half of its hash is kept.
///
/// What was not taken is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    taken: u64,
    spread: [u32; SPREAD],
    ends: [u64; ENDS],
    blocks: [u64; PLACES],
    places: [u32; PLACES],
}

impl Samples {
    /// Those of a clone that holds nothing, for tests that do not look at content.
    #[cfg(not(MODULE))]
    pub fn plain() -> Self {
        let mut samples = Self::default();
        for item in super::items::Wanted::of_clone(Places::default()).items() {
            samples.put(item, 0);
        }
        samples
    }

    /// Takes a sample from what was read of [`Item::sectors`].
    pub fn take(&mut self, item: Item, content: &[u8]) {
        self.put(item, xxh64(content));
    }

    /// Takes a sample by its hash.
    pub(super) fn put(&mut self, item: Item, hash: u64) {
        let known = match item {
            Item::Spread(i) => put(&mut self.spread, i, hash as u32),
            Item::End(i) => put(&mut self.ends, i, hash),
            Item::Place { slot, block } => {
                put(&mut self.blocks, slot, block) && put(&mut self.places, slot, hash as u32)
            }
        };
        if known {
            self.taken |= item.bit();
        }
    }

    /// The hash of a sample that was taken there.
    pub(super) fn hash(&self, item: Item) -> Option<u64> {
        if self.taken & item.bit() == 0 {
            return None;
        }
        match item {
            Item::Spread(i) => self.spread.get(i).map(|hash| u64::from(*hash)),
            Item::End(i) => self.ends.get(i).copied(),
            Item::Place { slot, block } => {
                let same = self.blocks.get(slot) == Some(&block);
                let hash = self.places.get(slot).filter(|_| same);
                hash.map(|hash| u64::from(*hash))
            }
        }
    }

    /// Each that was taken.
    pub fn items(&self) -> impl Iterator<Item = Item> + '_ {
        let blocks = self.blocks.iter().enumerate();
        let places = blocks.map(|(slot, block)| Item::Place {
            slot,
            block: *block,
        });
        let all = (0..SPREAD)
            .map(Item::Spread)
            .chain((0..ENDS).map(Item::End))
            .chain(places);
        all.filter(|item| self.taken & item.bit() != 0)
    }

    /// The places that were taken.
    pub fn places(&self) -> Places {
        let mut places = Places::default();
        for item in self.items() {
            if let Item::Place { block, .. } = item {
                places.add(block);
            }
        }
        places
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Those of which `keep` says so.
    pub fn only(&self, keep: impl Fn(Item) -> bool) -> Self {
        let mut some = Self::default();
        for item in self.items().filter(|item| keep(*item)) {
            some.put(item, self.hash(item).unwrap_or(0));
        }
        some
    }

    /// Whether another device has all of them.
    pub fn equals(&self, found: &Samples) -> bool {
        self.items().all(|item| found.hash(item) == self.hash(item))
    }

    /// Whether these are the same, but for places.
    pub fn equals_but_places(&self, other: &Samples) -> bool {
        self.spread == other.spread && self.ends == other.ends
    }

    /// The first of [`Samples::differences`].
    pub fn difference(&self, found: &Samples) -> Option<Item> {
        self.differences(found).next()
    }

    /// The samples that another device has differently; `found` was taken there. What could not be read
    /// there is not compared.
    pub fn differences<'a>(&'a self, found: &'a Samples) -> impl Iterator<Item = Item> + 'a {
        self.items().filter(|item| {
            let other = found.hash(*item);
            other.is_some() && other != self.hash(*item)
        })
    }

    /// Puts places of the same device where those from number `from` on are.
    pub(in crate::engine) fn replace_places(&mut self, from: usize, places: &Samples) {
        for (item, slot) in places.items().zip(from..PLACES) {
            if let Item::Place { block, .. } = item {
                let hash = places.hash(item).unwrap_or(0);
                self.put(Item::Place { slot, block }, hash);
            }
        }
    }
}

/// Where ends and places of a device are in the superblock: so many bytes from where they begin.
const BLOCKS_AT: usize = ENDS * 8;
const PLACES_AT: usize = BLOCKS_AT + PLACES * 8;

impl Samples {
    /// Writes ends and places to the superblock, from byte `at` on. Returns which were taken, one bit
    /// each: ends first.
    pub(super) fn encode(&self, block: &mut Block, at: usize) -> u32 {
        for (end, i) in self.ends.iter().zip(0usize..) {
            put_u64(block, nth(at, i, 8), *end);
        }
        for (place, i) in self.blocks.iter().zip(0usize..) {
            put_u64(block, nth(at.saturating_add(BLOCKS_AT), i, 8), *place);
        }
        for (hash, i) in self.places.iter().zip(0usize..) {
            put_u32(block, nth(at.saturating_add(PLACES_AT), i, 4), *hash);
        }
        self.taken.wrapping_shr(SPREAD as u32) as u32
    }

    /// Reads them. `taken`: what [`Samples::encode`] has returned.
    pub(super) fn decode(block: &Block, at: usize, taken: u32) -> Self {
        let mut samples = Self {
            taken: u64::from(taken).wrapping_shl(SPREAD as u32),
            ..Self::default()
        };
        for (end, i) in samples.ends.iter_mut().zip(0usize..) {
            *end = get_u64(block, nth(at, i, 8));
        }
        for (place, i) in samples.blocks.iter_mut().zip(0usize..) {
            *place = get_u64(block, nth(at.saturating_add(BLOCKS_AT), i, 8));
        }
        for (hash, i) in samples.places.iter_mut().zip(0usize..) {
            *hash = get_u32(block, nth(at.saturating_add(PLACES_AT), i, 4));
        }
        samples
    }

    /// Writes the blocks that are spread evenly.
    pub(super) fn encode_spread(&self, block: &mut Block, at: usize) {
        for (hash, i) in self.spread.iter().zip(0usize..) {
            put_u32(block, nth(at, i, 4), *hash);
        }
    }

    /// Reads them; all were taken.
    pub(super) fn decode_spread(&mut self, block: &Block, at: usize) {
        for (hash, i) in self.spread.iter_mut().zip(0usize..) {
            *hash = get_u32(block, nth(at, i, 4));
        }
        for i in 0..SPREAD {
            self.taken |= Item::Spread(i).bit();
        }
    }

    /// What samples of `length` sectors always fulfil: places lie on the device, and what was not
    /// taken is zero.
    pub(super) fn possible(&self, length: u64) -> bool {
        let mut own = Self::default();
        for item in self.items() {
            if item.sectors(length).is_empty() {
                return false;
            }
            own.put(item, self.hash(item).unwrap_or(0));
        }
        own == *self
    }

    /// Whether all that a clone always has was taken.
    pub(super) fn is_of_clone(&self) -> bool {
        let spread = (0..SPREAD).map(Item::Spread);
        let mut always = spread.chain((0..ENDS).map(Item::End));
        always.all(|item| self.taken & item.bit() != 0)
    }
}

/// Where number `i` of a list of `size` bytes each is.
fn nth(at: usize, i: usize, size: usize) -> usize {
    i.saturating_mul(size).saturating_add(at)
}

fn put<T, const N: usize>(list: &mut [T; N], at: usize, value: T) -> bool {
    match list.get_mut(at) {
        Some(place) => {
            *place = value;
            true
        }
        None => false,
    }
}

#[cfg(test)]
#[path = "../tests/samples.rs"]
mod tests;
