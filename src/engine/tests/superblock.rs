// SPDX-License-Identifier: GPL-2.0

//! Superblocks: round trip, damage, and the choice between the two.

use super::*;
use crate::engine::format::items::Item;
use crate::engine::format::items::Places;
use crate::engine::format::items::Wanted;
use crate::engine::format::BLOCK;
use proptest::prelude::*;

fn superblock(generation: u64) -> Superblock {
    let mut places = Places::default();
    places.add(17);
    let mut clone = Samples::default();
    for item in Wanted::of_clone(places).items() {
        clone.take(item, b"content");
    }
    let mut source = Samples::default();
    source.take(Item::End(1), b"an end");
    source.take(Item::Place { slot: 0, block: 4 }, b"a place");
    Superblock {
        uuid: [7; 16],
        length: 4096,
        extent_sectors: 128,
        generation,
        activation: 3,
        clean: true,
        roles_swapped: true,
        lost: true,
        mode: Mode::Restoring,
        tail: 17,
        chain: 99,
        table_area: 1,
        table_crc: 5,
        begun_with: 30,
        block_size: 4096,
        clone_sectors: 5000,
        clone,
        source,
        unstable: Unstable {
            ends: [false, true],
            any: true,
        },
    }
}

fn block(superblock: &Superblock) -> Block {
    let mut block = [0xff; BLOCK];
    superblock.encode(&mut block);
    block
}

/// On a device that has nothing else.
fn choose(first: &Block, second: &Block) -> Result<Option<Superblock>, Refusal> {
    Superblock::find(first, second, || true)
}

proptest! {
    #[test]
    fn any_flipped_bit_is_found(flip in 0..BLOCK * 8) {
        let mut damaged = block(&superblock(8));
        prop_assert_eq!(Superblock::decode(&damaged), Ok(Some(superblock(8))));
        damaged[flip / 8] ^= 1 << (flip % 8);
        prop_assert!(!matches!(Superblock::decode(&damaged), Ok(Some(_))));
    }
}

#[test]
fn the_later_one_counts_and_a_bad_one_is_never_passed_over() {
    let (even, odd) = (block(&superblock(8)), block(&superblock(9)));
    assert_eq!(choose(&even, &odd), Ok(Some(superblock(9))));
    assert_eq!(
        choose(&block(&superblock(10)), &odd),
        Ok(Some(superblock(10)))
    );
    assert_eq!(choose(&odd, &even), Err(Refusal::SuperblocksDisagree));
    assert_eq!(
        choose(&block(&superblock(12)), &odd),
        Err(Refusal::SuperblocksDisagree)
    );
    let zero = [0; BLOCK];
    assert_eq!(choose(&zero, &zero), Ok(None));
    assert_eq!(choose(&zero, &odd), Err(Refusal::SuperblockDamaged));
    assert_eq!(choose(&even, &zero), Err(Refusal::SuperblockDamaged));
    assert_eq!(choose(&[1; BLOCK], &[2; BLOCK]), Err(Refusal::Foreign));
    let mut torn = odd;
    torn[100] ^= 1;
    assert_eq!(choose(&even, &torn), Err(Refusal::SuperblockDamaged));
}

#[test]
fn an_interrupted_format_is_as_good_as_blank() {
    assert_eq!(choose(&[0; BLOCK], &block(&superblock(1))), Ok(None));
}

/// The first superblock was lost while the first activation was under way.
#[test]
fn what_was_in_use_is_no_interrupted_format() {
    let find = |second: &Block| Superblock::find(&[0; BLOCK], second, || false);
    let lost = Err(Refusal::SuperblockDamaged);
    assert_eq!(find(&block(&superblock(1))), lost);
    assert_eq!(find(&[0; BLOCK]), Err(Refusal::Foreign));
}

#[test]
fn later_versions_and_unknown_features_are_refused_as_such() {
    for (at, refusal) in [
        (16, Refusal::Version),
        (20, Refusal::Features),
        (TAKEN, Refusal::SuperblockInvalid),
        (TAKEN + 2, Refusal::SuperblockInvalid),
        (BLOCK_SIZE, Refusal::SuperblockInvalid),
        (72, Refusal::SuperblockInvalid),
    ] {
        let mut changed = block(&superblock(8));
        put_u32(&mut changed, at, 0x80);
        let crc = checksum(&changed);
        put_u32(&mut changed, CRC, crc);
        assert_eq!(Superblock::decode(&changed), Err(refusal));
    }
}

/// Nothing was released that wrote such.
#[test]
fn what_an_earlier_version_wrote_is_refused_as_such() {
    let mut earlier = block(&superblock(8));
    put_u32(&mut earlier, 20, 0);
    let crc = checksum(&earlier);
    put_u32(&mut earlier, CRC, crc);
    assert_eq!(Superblock::decode(&earlier), Err(Refusal::Earlier));
}

#[test]
fn samples_that_cannot_be_are_refused() {
    let mut behind_the_end = superblock(8);
    let block = behind_the_end.length / 8;
    let item = Item::Place { slot: 2, block };
    behind_the_end.source.take(item, b"a place");
    let mut too_small = superblock(8);
    too_small.clone_sectors = too_small.length - 1;
    let mut half_a_block = superblock(8);
    half_a_block.length += 1;
    for bad in [behind_the_end, too_small, half_a_block] {
        let decoded = Superblock::decode(&self::block(&bad));
        assert_eq!(decoded, Err(Refusal::SuperblockInvalid));
    }
}
