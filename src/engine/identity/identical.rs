// SPDX-License-Identifier: GPL-2.0

//! Where source and clone are compared before they are taken to be the same: at the places of the
//! clone's samples that are spread evenly, and where the delta map says that they may differ. No proof, but a copy that
//! was made from the wrong device, from old pages, or not to its end is noticed.

use crate::engine::base::atomics::AtomicU64;
use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::format::items::Item;
use crate::engine::format::items::SPREAD;
use crate::engine::maps::bitmap::{Bitmap, WORD_BITS};
use crate::engine::maps::{Maps, Role};
use core::ops::Deref;

/// Most sectors that are compared at one place.
pub const PIECE: u64 = 128;
/// Most places besides those that are spread evenly.
const PIECES: u64 = 32;

/// A place to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its sectors.
    pub sectors: Run,
}

/// The places to compare, one after the other.
pub struct Places {
    geometry: Geometry,
    /// Samples that came.
    samples: usize,
    /// Pieces that may differ.
    all: u64,
    /// Those of them that came.
    pieces: u64,
    /// Where the search in the delta map goes on; `None`: any extent may differ.
    search: Option<Search>,
}

impl Places {
    /// For a volume that has no maps yet: anywhere.
    pub fn anywhere(geometry: Geometry) -> Self {
        Self::new(geometry, geometry.extents(), None)
    }

    /// Where the delta map has bits, before it is emptied.
    pub fn touched<W: Deref<Target = [AtomicU64]>>(maps: &Maps<W>) -> Self {
        let count = maps.count(Role::Cdm);
        Self::new(*maps.geometry(), count, Some(Search::default()))
    }

    fn new(geometry: Geometry, extents: u64, search: Option<Search>) -> Self {
        Self {
            geometry,
            samples: 0,
            all: extents.saturating_mul(pieces_of(&geometry)),
            pieces: 0,
            search,
        }
    }

    /// The next one.
    pub fn next<W: Deref<Target = [AtomicU64]>>(&mut self, maps: &Maps<W>) -> Option<Place> {
        if self.samples < SPREAD {
            let sample = self.samples;
            self.samples = sample.saturating_add(1);
            return Some(self.sample(sample));
        }
        while self.pieces < self.all.min(PIECES) {
            let piece = self.pieces;
            self.pieces = piece.saturating_add(1);
            let sectors = self.piece(maps, piece)?;
            // There is none behind the end of a short last extent.
            if !sectors.is_empty() {
                return Some(Place { sectors });
            }
        }
        None
    }

    fn sample(&self, sample: usize) -> Place {
        let length = self.geometry.length();
        Place {
            sectors: Item::Spread(sample).sectors(length),
        }
    }

    /// Pieces are spread evenly over all that may differ; if they are few, each is there.
    fn piece<W: Deref<Target = [AtomicU64]>>(&mut self, maps: &Maps<W>, piece: u64) -> Option<Run> {
        let places = self.all.min(PIECES);
        let number = piece.saturating_mul(self.all).checked_div(places)?;
        let each = pieces_of(&self.geometry);
        let extent = number.checked_div(each)?;
        let within = number.checked_rem(each)?;
        let extent = match &mut self.search {
            None => extent,
            Some(search) => search.find(maps.view().cdm, self.geometry.extents(), extent)?,
        };
        let own = self.geometry.sectors_of(Run::one(extent));
        let start = own.start().saturating_add(within.saturating_mul(PIECE));
        Some(Run::new(start, PIECE).intersection(own))
    }
}

/// Pieces in an extent.
fn pieces_of(geometry: &Geometry) -> u64 {
    geometry.extent_sectors().div_ceil(PIECE).max(1)
}

/// Finds set bits of a map by their number, in rising order: in one walk over the map.
#[derive(Default)]
struct Search {
    word: u64,
    /// Bits that are set before it.
    before: u64,
}

impl Search {
    /// The set bit with this number, of `bits` bits.
    fn find<W: Deref<Target = [AtomicU64]>>(
        &mut self,
        map: &Bitmap<W>,
        bits: u64,
        number: u64,
    ) -> Option<u64> {
        while self.word < bits.div_ceil(WORD_BITS) {
            let word = map.word(self.word);
            let behind = self.before.saturating_add(u64::from(word.count_ones()));
            if number < behind {
                let bit = nth_set(word, number.saturating_sub(self.before));
                return Some(self.word.saturating_mul(WORD_BITS).saturating_add(bit));
            }
            self.before = behind;
            self.word = self.word.saturating_add(1);
        }
        None
    }
}

/// The set bit of `word` with this number.
fn nth_set(mut word: u64, number: u64) -> u64 {
    for _ in 0..number {
        // Without the lowest.
        word &= word.wrapping_sub(1);
    }
    u64::from(word.trailing_zeros())
}

#[cfg(test)]
#[path = "../tests/identical.rs"]
mod tests;
