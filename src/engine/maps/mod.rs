// SPDX-License-Identifier: GPL-2.0

//! The two maps, which of them is which, and the mode: what every request looks at.
//!
//! Readers take no lock. They load the state word **once** per request and see mode and roles of
//! the same instant; a bit they then read may only have moved on in the direction that is safe
//! for them:
//!
//! - a clear delta bit stays clear until the host or a new restore sets it, and its extent's data
//!   was on the source before it was cleared (pairs with the release in [`Bitmap::clear`]);
//! - a set bit of the map that marks host writes was durable before it became visible (pairs with
//!   the release in [`Bitmap::set`]).
//!
//! When a restore finishes, the protected restore map becomes the clone delta map by one store to
//! the state word. A request that still holds the old word looks for host writes in the very map
//! that is now the clone delta map, and finds the old clone delta map empty: both words give it the
//! same answer.

pub mod bitmap;

use crate::engine::base::atomics::{AtomicU64, Ordering};
use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::maps::bitmap::Bitmap;
use core::ops::Deref;

/// What the target is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is loaded yet; no request comes.
    Unloaded,
    /// Host changes are marked in the clone delta map.
    Tracking,
    /// The source is being rolled back to the clone.
    Restoring,
}

/// Mode, roles and whether writes must fail, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The mode.
    pub mode: Mode,
    /// Which of the two maps is the clone delta map: `false` the first, `true` the second.
    pub roles_swapped: bool,
    /// The truth on the metadata device is unknown (metadata mode `fail`): no write may go on.
    pub failed: bool,
}

const MODE_MASK: u64 = 0b11;
const SWAPPED: u64 = 0b100;
const FAILED: u64 = 0b1000;

impl State {
    /// Before anything is loaded.
    pub const UNLOADED: State = State {
        mode: Mode::Unloaded,
        roles_swapped: false,
        failed: false,
    };

    fn to_word(self) -> u64 {
        let mode = match self.mode {
            Mode::Unloaded => 0,
            Mode::Tracking => 1,
            Mode::Restoring => 2,
        };
        let swapped = if self.roles_swapped { SWAPPED } else { 0 };
        let failed = if self.failed { FAILED } else { 0 };
        mode | swapped | failed
    }

    fn from_word(word: u64) -> Self {
        State {
            mode: match word & MODE_MASK {
                1 => Mode::Tracking,
                2 => Mode::Restoring,
                _ => Mode::Unloaded,
            },
            roles_swapped: word & SWAPPED != 0,
            failed: word & FAILED != 0,
        }
    }

    /// After a restore: tracking, and each map has the other's role.
    pub fn finished(self) -> Self {
        State {
            mode: Mode::Tracking,
            roles_swapped: !self.roles_swapped,
            ..self
        }
    }
}

/// The role of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Clone delta map.
    Cdm,
    /// Protected restore map.
    Prm,
}

/// Both maps with the state word and how many bits are set. The counters are exact for whoever
/// changes the maps; nobody else concludes anything from them, so they are relaxed.
pub struct Maps<W> {
    geometry: Geometry,
    state: AtomicU64,
    maps: [Bitmap<W>; 2],
    set: [AtomicU64; 2],
}

/// The maps as one request sees them: state and roles of one instant.
pub struct View<'a, W> {
    /// Mode and roles.
    pub state: State,
    /// The clone delta map.
    pub cdm: &'a Bitmap<W>,
    /// The protected restore map.
    pub prm: &'a Bitmap<W>,
}

impl<W: Deref<Target = [AtomicU64]>> Maps<W> {
    /// Maps over zeroed words, [`Bitmap::words_for`] the extents each; nothing loaded.
    pub fn new(geometry: Geometry, words: [W; 2]) -> Self {
        Self {
            geometry,
            state: AtomicU64::new(State::UNLOADED.to_word()),
            maps: words.map(Bitmap::new),
            set: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    /// The geometry the maps were made for.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Mode and roles now.
    pub fn state(&self) -> State {
        // Pairs with the release in `set_state`: whoever sees a restore finished finds all of it on
        // the source.
        State::from_word(self.state.load(Ordering::Acquire))
    }

    /// Publishes mode and roles.
    pub fn set_state(&self, state: State) {
        // Pairs with the acquire in `state`.
        self.state.store(state.to_word(), Ordering::Release);
    }

    /// What a request looks at.
    pub fn view(&self) -> View<'_, W> {
        let state = self.state();
        let [first, second] = &self.maps;
        let (cdm, prm) = if state.roles_swapped {
            (second, first)
        } else {
            (first, second)
        };
        View { state, cdm, prm }
    }

    /// The number, 0 or 1, of the map in `role` now. Its place on the metadata device.
    pub fn number(&self, role: Role) -> usize {
        usize::from((role == Role::Prm) != self.state().roles_swapped)
    }

    /// The map with the given number, 0 or 1.
    pub fn numbered(&self, number: usize) -> &Bitmap<W> {
        let [first, second] = &self.maps;
        if number == 0 {
            first
        } else {
            second
        }
    }

    /// Sets a run of bits in the map of `role`, and counts.
    pub fn set(&self, role: Role, run: Run) {
        let number = self.number(role);
        let added = self.numbered(number).set(run);
        self.counter(number).fetch_add(added, Ordering::Relaxed);
    }

    /// Clears a run of bits in the map of `role`; returns how many were set.
    pub fn clear(&self, role: Role, run: Run) -> u64 {
        let number = self.number(role);
        let removed = self.numbered(number).clear(run);
        self.counter(number).fetch_sub(removed, Ordering::Relaxed);
        removed
    }

    /// How many bits are set in the map of `role`.
    pub fn count(&self, role: Role) -> u64 {
        self.counter(self.number(role)).load(Ordering::Relaxed)
    }

    /// Counts the set bits anew, after words were stored directly.
    pub fn recount(&self) {
        for number in 0..2 {
            let count = self.numbered(number).count();
            self.counter(number).store(count, Ordering::Relaxed);
        }
    }

    fn counter(&self, number: usize) -> &AtomicU64 {
        let [first, second] = &self.set;
        if number == 0 {
            first
        } else {
            second
        }
    }
}
