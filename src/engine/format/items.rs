// SPDX-License-Identifier: GPL-2.0

//! What is sampled of a device: blocks spread over it, both ends, and places that are chosen.

use super::BLOCK_SECTORS;
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
    pub(super) fn bit(self) -> u64 {
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
