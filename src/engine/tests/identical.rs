// SPDX-License-Identifier: GPL-2.0

//! Where source and clone are compared: on the device, everything that was touched if it is little,
//! and spread over it if it is much.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

type TestMaps = Maps<Vec<AtomicU64>>;

fn maps(length: u64, extent: u64) -> TestMaps {
    let geometry = Geometry::new(length, extent).unwrap();
    let words = Bitmap::<Vec<AtomicU64>>::words_for(geometry.extents());
    let zeros = || (0..words).map(|_| AtomicU64::new(0)).collect();
    Maps::new(geometry, [zeros(), zeros()])
}

fn all(mut places: Places, maps: &TestMaps) -> (Vec<Place>, Vec<Run>) {
    let mut found: Vec<Place> = Vec::new();
    while let Some(place) = places.next(maps) {
        found.push(place);
    }
    let pieces = found.split_off(SPREAD);
    let samples = found;
    (
        samples,
        pieces.into_iter().map(|place| place.sectors).collect(),
    )
}

#[test]
fn every_sample_is_there_and_lies_on_the_device() {
    for length in [8, 13, 4096, 5000] {
        let maps = maps(length, 8);
        let (samples, pieces) = all(Places::touched(&maps), &maps);
        let own = (0..SPREAD).map(|i| Item::Spread(i).sectors(length));
        assert!(samples.iter().map(|place| place.sectors).eq(own));
        let all = Run::new(0, length);
        assert!(samples.iter().all(|place| all.covers(place.sectors)));
        assert!(pieces.is_empty(), "nothing was touched");
    }
}

#[test]
fn a_volume_without_maps_is_compared_from_end_to_end() {
    let maps = maps(64 * 1024, 64);
    let (_, pieces) = all(Places::anywhere(*maps.geometry()), &maps);
    let starts: Vec<_> = pieces.iter().map(|run| run.start()).collect();
    assert_eq!(starts, (0..32).map(|i| i * 2048).collect::<Vec<_>>());
}

/// An extent of 1 MiB has 16 pieces, of which the last extent here has two and a half.
#[test]
fn large_extents_are_compared_in_pieces() {
    let maps = maps(10 * 2048 + 320, 2048);
    maps.set(Role::Cdm, Run::new(9, 2));
    let (_, pieces) = all(Places::touched(&maps), &maps);
    let expected: Vec<_> = (0..16)
        .map(|i| Run::new(9 * 2048 + i * 128, 128))
        .chain((0..2).map(|i| Run::new(10 * 2048 + i * 128, 128)))
        .chain([Run::new(10 * 2048 + 256, 64)])
        .collect();
    assert_eq!(pieces, expected);
}

proptest! {
    /// What is compared was touched; all of it if that is few places, else it is spread evenly.
    #[test]
    fn places_are_where_the_host_was(
        touched in prop::collection::btree_set(0u64..700, 0..120),
        extent in prop::sample::select(vec![8u64, 128, 256]),
        swapped: bool,
    ) {
        let maps = maps(700 * extent, extent);
        let state = maps.state();
        maps.set_state(crate::engine::maps::State { roles_swapped: swapped, ..state });
        for extent in &touched {
            maps.set(Role::Cdm, Run::one(*extent));
        }
        let (_, pieces) = all(Places::touched(&maps), &maps);
        let each = pieces_of(maps.geometry());
        let possible: Vec<Run> = touched
            .iter()
            .flat_map(|e| (0..each).map(move |i| Run::new(e * extent + i * PIECE, PIECE.min(extent))))
            .collect();
        let count = possible.len().min(PIECES as usize);
        let expected: Vec<Run> = (0..count).map(|i| possible[i * possible.len() / count]).collect();
        prop_assert_eq!(&pieces, &expected);
        let distinct: BTreeSet<u64> = pieces.iter().map(|run| run.start()).collect();
        prop_assert_eq!(distinct.len(), count);
    }
}
