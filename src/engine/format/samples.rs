// SPDX-License-Identifier: GPL-2.0

//! Samples of what a device holds. By them source and clone are told apart, from one another and
//! from other disks. They are no proof of content.
//!
//! Three kinds: blocks of 4 KiB *spread* evenly, both *ends* (128 KiB each), and *places*, blocks
//! that were chosen because source and clone differ there.

use super::bytes::{get_u32, get_u64, put_u32, put_u64};
use super::{Block, BLOCK_SECTORS};
use crate::engine::base::hash::xxh64;
use crate::engine::base::run::Run;

/// How many blocks are spread evenly.
pub const SPREAD: usize = 32;
/// Both ends.
pub const ENDS: usize = 2;
/// How many places there are at most.
pub const PLACES: usize = 6;
/// Sectors of an end: 128 KiB.
pub const END_SECTORS: u64 = 256;

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// One of the blocks that are spread evenly.
    Spread(usize),
    /// The start (0) or the end (1).
    End(usize),
    /// The place number `slot` is this block.
    Place {
        /// Its number, below [`PLACES`].
        slot: usize,
        /// Its block of 4 KiB.
        block: u64,
    },
}

impl Item {
    /// The sectors of a device of `length` sectors that it is taken from, at most [`END_SECTORS`].
    pub fn sectors(self, length: u64) -> Run {
        let all = Run::new(0, length);
        match self {
            Self::Spread(i) => Run::new(spread(length, i), BLOCK_SECTORS).intersection(all),
            Self::End(0) => Run::new(0, END_SECTORS).intersection(all),
            Self::End(_) => Run::between(length.saturating_sub(END_SECTORS), length),
            Self::Place { block, .. } => sectors_of(block).intersection(all),
        }
    }

    /// Its bit in the set of samples that were taken.
    fn bit(self) -> u64 {
        let number = match self {
            Self::Spread(i) => i.min(SPREAD),
            Self::End(i) => i.saturating_add(SPREAD),
            Self::Place { slot, .. } => slot.saturating_add(SPREAD).saturating_add(ENDS),
        };
        1u64.wrapping_shl(number as u32)
    }
}

/// The sectors of a block of 4 KiB.
pub(in crate::engine) fn sectors_of(block: u64) -> Run {
    Run::new(block.saturating_mul(BLOCK_SECTORS), BLOCK_SECTORS)
}

/// The first sector of spread block `i` of `length` sectors: both ends are among them.
fn spread(length: u64, i: usize) -> u64 {
    let blocks = (length / BLOCK_SECTORS).saturating_sub(1);
    let last = SPREAD.saturating_sub(1) as u64;
    // `blocks` has at most 61 bits, so the product may not fit: divide first, then the rest.
    let (quot, rest) = (blocks / last, blocks % last);
    let i = (i as u64).min(last);
    quot.saturating_mul(i)
        .saturating_add(rest.saturating_mul(i) / last)
        .saturating_mul(BLOCK_SECTORS)
}

/// A few blocks of 4 KiB, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    blocks: [u64; PLACES],
    count: usize,
}

impl Places {
    /// Adds a block, if there is room and it is not there yet.
    pub fn add(&mut self, block: u64) {
        if self.iter().any(|other| other == block) {
            return;
        }
        if let Some(free) = self.blocks.get_mut(self.count) {
            *free = block;
            self.count = self.count.saturating_add(1);
        }
    }

    /// Whether there is no room for more.
    pub fn is_full(&self) -> bool {
        self.count >= PLACES
    }

    /// The first ones, at most `count`.
    pub fn first(mut self, count: usize) -> Self {
        self.count = self.count.min(count);
        self
    }

    /// The blocks.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.blocks.iter().copied().take(self.count)
    }

    /// The blocks, and then none.
    pub fn to_array(&self) -> [Option<u64>; PLACES] {
        let mut all = [None; PLACES];
        for (place, block) in all.iter_mut().zip(self.iter()) {
            *place = Some(block);
        }
        all
    }

    /// As what is to be sampled.
    pub fn items(&self) -> impl Iterator<Item = Item> + '_ {
        self.iter()
            .enumerate()
            .map(|(slot, block)| Item::Place { slot, block })
    }
}

/// What may change by itself: a discard has met it, or a write that has failed and may land later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unstable {
    /// The ends.
    pub ends: [bool; ENDS],
    /// Anything at all.
    pub any: bool,
}

impl Unstable {
    /// One bit for each end, and one for anything.
    pub fn to_bits(self) -> u64 {
        let [first, last] = self.ends.map(u64::from);
        first | last.wrapping_shl(1) | u64::from(self.any).wrapping_shl(2)
    }

    /// From these bits; others are not looked at.
    pub fn from_bits(bits: u64) -> Self {
        Self {
            ends: [bits & 1 != 0, bits & 2 != 0],
            any: bits & 4 != 0,
        }
    }
}

/// What is to be sampled of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The blocks that are spread evenly.
    pub spread: bool,
    /// Which of the ends.
    pub ends: [bool; ENDS],
    /// The places.
    pub places: Places,
}

impl Wanted {
    /// Of a clone: all that there is.
    pub fn of_clone(places: Places) -> Self {
        Self {
            spread: true,
            ends: [true; ENDS],
            places,
        }
    }

    /// Each of them.
    pub fn items(&self) -> impl Iterator<Item = Item> + '_ {
        let spread = if self.spread { SPREAD } else { 0 };
        let ends = self.ends.iter().enumerate().filter(|(_, wanted)| **wanted);
        (0..spread)
            .map(Item::Spread)
            .chain(ends.map(|(i, _)| Item::End(i)))
            .chain(self.places.items())
    }
}

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
        for item in Wanted::of_clone(Places::default()).items() {
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
