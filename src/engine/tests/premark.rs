// SPDX-License-Identifier: GPL-2.0

//! Sequences of first touches, on maps of 4096 extents of 64 KiB.

use super::*;
use crate::engine::base::storage::{Heap, Storage};
use crate::engine::maps::{Maps, Role, State};

const EXTENTS: u64 = 4096;

/// A host that touches extents, and what is marked for it.
struct Host {
    premark: Premark,
    maps: Maps<<Heap as Storage>::Array<AtomicU64>>,
}

impl Host {
    fn new(mode: Mode, extent_sectors: u64) -> Self {
        let geometry = Geometry::new(EXTENTS * extent_sectors, extent_sectors).unwrap();
        let words = || Heap::filled(EXTENTS as usize / 64, || AtomicU64::new(0)).unwrap();
        let maps = Maps::new(geometry, [words(), words()]);
        let state = State::UNLOADED;
        maps.set_state(State { mode, ..state });
        Self {
            premark: Premark::default(),
            maps,
        }
    }

    fn tracking() -> Self {
        Self::new(Mode::Tracking, 128)
    }

    /// The extent is touched and recorded; returns what is marked ahead.
    fn touch(&mut self, touched: Run) -> Run {
        let view = self.maps.view();
        let ahead = self.premark.of(&view, self.maps.geometry(), touched);
        self.premark.note(touched, ahead);
        let role = match view.state.mode {
            Mode::Restoring => Role::Prm,
            Mode::Tracking | Mode::Unloaded => Role::Cdm,
        };
        self.maps.set(role, touched.hull(ahead));
        ahead
    }

    fn touch_one(&mut self, extent: u64) -> u64 {
        self.touch(Run::one(extent)).len()
    }

    /// Writes extent after extent; returns how often a record was waited for.
    fn write(&mut self, extents: core::ops::Range<u64>) -> usize {
        let mut waits = 0;
        for extent in extents {
            let view = self.maps.view();
            let marked = match view.state.mode {
                Mode::Restoring => view.prm.get(extent),
                Mode::Tracking | Mode::Unloaded => view.cdm.get(extent),
            };
            if !marked {
                waits += 1;
                self.touch(Run::one(extent));
            }
        }
        waits
    }
}

#[test]
fn a_sequence_is_marked_ahead_as_far_as_it_has_come() {
    let mut host = Host::tracking();
    let marked: Vec<_> = (10..14).map(|extent| host.touch_one(extent)).collect();
    assert_eq!(marked, [0, 0, 0, 4]);
    assert_eq!(host.touch_one(18), 9);
    assert_eq!(host.premark.last(), Run::new(19, 9));
    assert_eq!(host.touch_one(28), 19);
}

#[test]
fn a_sequential_writer_waits_seldom_and_little_is_marked_in_vain() {
    let mut host = Host::tracking();
    assert!(host.write(0..2048) < 30);
    let marked = host.maps.count(Role::Cdm);
    assert!((2048..=2048 + 128).contains(&marked), "{marked}");
}

#[test]
fn other_touches_mark_nothing() {
    let mut host = Host::tracking();
    let mut extents = (0..EXTENTS).map(|extent| extent * 7 % EXTENTS);
    assert!(extents.all(|extent| host.touch_one(extent) == 0));
    // Backwards.
    let mut host = Host::tracking();
    assert!((0..EXTENTS).rev().all(|extent| host.touch_one(extent) == 0));
}

#[test]
fn sequences_go_on_beside_one_another() {
    let mut host = Host::tracking();
    let mut waits = 0;
    for extent in 0..512 {
        for sequence in 0..SEQUENCES as u64 {
            let extent = sequence * 1024 + extent;
            waits += host.write(extent..extent + 1);
        }
    }
    assert!(waits < 20 * SEQUENCES, "{waits}");
}

#[test]
fn requests_in_flight_together_are_one_sequence() {
    let mut host = Host::tracking();
    // All were sent before the first was recorded.
    let marked: Vec<_> = (0..8).map(|extent| host.touch_one(extent)).collect();
    assert_eq!(marked, [0, 0, 0, 4, 0, 0, 0, 0]);
    assert_eq!(host.touch_one(8), 9);
}

#[test]
fn what_is_marked_or_unrestored_ends_it() {
    let mut host = Host::new(Mode::Restoring, 128);
    host.maps.set(Role::Cdm, Run::one(6));
    assert_eq!(host.write(0..4), 4);
    assert_eq!(host.premark.last(), Run::new(4, 2));
    let mut host = Host::new(Mode::Restoring, 128);
    host.maps.set(Role::Prm, Run::one(5));
    assert_eq!(host.write(0..4), 4);
    assert_eq!(host.premark.last(), Run::one(4));
    let mut host = Host::tracking();
    host.maps.set(Role::Cdm, Run::one(7));
    assert_eq!(host.write(0..4), 4);
    assert_eq!(host.premark.last(), Run::new(4, 3));
}

#[test]
fn it_ends_with_the_device() {
    let mut host = Host::tracking();
    host.write(EXTENTS - 6..EXTENTS);
    assert_eq!(host.premark.last(), Run::new(EXTENTS - 2, 2));
}

#[test]
fn large_extents_are_not_marked_ahead() {
    let mut host = Host::new(Mode::Tracking, 2 * MOST_SECTORS);
    assert_eq!(host.write(0..64), 64);
    let mut host = Host::new(Mode::Tracking, MOST_SECTORS / 2);
    host.write(0..64);
    assert_eq!(host.premark.last().len(), 2);
}
