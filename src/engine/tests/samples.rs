// SPDX-License-Identifier: GPL-2.0

//! Where samples lie, and what they tell apart.

use super::super::items::{Wanted, END_SECTORS};
use super::*;
use crate::engine::base::run::Run;

#[test]
fn samples_lie_on_the_device_and_reach_its_end() {
    for length in [1, 7, 8, 16, 24, 255, 256, 257, 800, 801, 1 << 41] {
        let wanted = Wanted::of_clone(Places::default());
        let sectors: Vec<Run> = wanted.items().map(|item| item.sectors(length)).collect();
        assert_eq!(sectors.len(), SPREAD + ENDS);
        for run in &sectors {
            assert!(!run.is_empty() && run.end() <= length && run.len() <= END_SECTORS);
        }
        assert_eq!(sectors[0].start(), 0);
        assert!(sectors[SPREAD - 1].start() + 16 > length);
        let [first, last] = [sectors[SPREAD], sectors[SPREAD + 1]];
        assert_eq!((first.start(), last.end()), (0, length));
        assert_eq!(first.len(), length.min(END_SECTORS));
        assert_eq!(last.len(), first.len());
    }
}

#[test]
fn the_last_block_of_a_device_may_be_short() {
    let item = Item::Place { slot: 0, block: 3 };
    assert_eq!(item.sectors(32), Run::new(24, 8));
    assert_eq!(item.sectors(27), Run::new(24, 3));
}

#[test]
fn a_place_is_there_once_and_there_are_a_few() {
    let mut places = Places::default();
    for block in [5, 3, 5, 3, 9] {
        places.add(block);
    }
    assert_eq!(places.iter().collect::<Vec<_>>(), [5, 3, 9]);
    (10..30).for_each(|block| places.add(block));
    assert!(places.is_full());
    assert_eq!(places.iter().count(), PLACES);
}

fn sampled(content: impl Fn(Item) -> u8) -> Samples {
    let mut places = Places::default();
    places.add(77);
    let mut samples = Samples::default();
    for item in Wanted::of_clone(places).items() {
        samples.take(item, &[content(item)]);
    }
    samples
}

#[test]
fn each_sample_tells() {
    let recorded = sampled(|_| 1);
    assert_eq!(recorded.items().count(), SPREAD + ENDS + 1);
    assert_eq!(recorded.difference(&sampled(|_| 1)), None);
    for item in recorded.items() {
        let found = sampled(|other| if other == item { 2 } else { 1 });
        assert_eq!(recorded.difference(&found), Some(item));
    }
}

#[test]
fn what_was_not_read_is_not_compared() {
    let recorded = sampled(|_| 1);
    let mut found = Samples::default();
    assert_eq!(recorded.difference(&found), None);
    found.take(Item::End(1), &[2]);
    assert_eq!(recorded.difference(&found), Some(Item::End(1)));
    let elsewhere = Item::Place { slot: 0, block: 78 };
    let mut found = Samples::default();
    found.take(elsewhere, &[2]);
    assert_eq!(recorded.difference(&found), None);
}

/// As it ends a superblock of ext4: the CRC-32C of all such blocks is the same.
#[test]
fn blocks_that_end_with_their_own_checksum_are_told_apart() {
    let block = |byte: u8| {
        let mut block = [byte; 64].to_vec();
        let crc = crate::engine::base::checksum::crc32c(0, &block);
        block.extend(crc.to_le_bytes());
        block
    };
    let whole = |byte| crate::engine::base::checksum::crc32c(0, &block(byte));
    assert_eq!(whole(1), whole(2));
    let sample = |byte| {
        let mut samples = Samples::default();
        samples.take(Item::Spread(0), &block(byte));
        samples
    };
    assert_ne!(sample(1), sample(2));
}
