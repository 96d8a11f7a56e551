// SPDX-License-Identifier: GPL-2.0

//! Superblocks: round trip, damage, and the choice between the two.

use super::*;
use crate::format::BLOCK;
use proptest::prelude::*;

fn superblock(generation: u64) -> Superblock {
    let mut clone = Fingerprint::new(5000);
    clone.take(3, b"content");
    Superblock {
        uuid: [7; 16],
        length: 4096,
        extent_sectors: 128,
        generation,
        activation: 3,
        clean: true,
        roles_swapped: true,
        mode: Mode::Restoring,
        tail: 17,
        chain: 99,
        table_area: 1,
        table_crc: 5,
        begun_with: 30,
        clone,
    }
}

fn block(superblock: &Superblock) -> Block {
    let mut block = [0xff; BLOCK];
    superblock.encode(&mut block);
    block
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
    assert_eq!(Superblock::choose(&even, &odd), Ok(Some(superblock(9))));
    assert_eq!(
        Superblock::choose(&block(&superblock(10)), &odd),
        Ok(Some(superblock(10)))
    );
    assert_eq!(
        Superblock::choose(&odd, &even),
        Err(Refusal::SuperblocksDisagree)
    );
    assert_eq!(
        Superblock::choose(&block(&superblock(12)), &odd),
        Err(Refusal::SuperblocksDisagree)
    );
    let zero = [0; BLOCK];
    assert_eq!(Superblock::choose(&zero, &zero), Ok(None));
    assert_eq!(
        Superblock::choose(&zero, &odd),
        Err(Refusal::SuperblockDamaged)
    );
    assert_eq!(
        Superblock::choose(&even, &zero),
        Err(Refusal::SuperblockDamaged)
    );
    assert_eq!(
        Superblock::choose(&[1; BLOCK], &[2; BLOCK]),
        Err(Refusal::Foreign)
    );
    let mut torn = odd;
    torn[100] ^= 1;
    assert_eq!(
        Superblock::choose(&even, &torn),
        Err(Refusal::SuperblockDamaged)
    );
}

#[test]
fn an_interrupted_format_is_as_good_as_blank() {
    assert_eq!(
        Superblock::choose(&[0; BLOCK], &block(&superblock(1))),
        Ok(None)
    );
}

#[test]
fn later_versions_and_unknown_features_are_refused_as_such() {
    for (at, refusal) in [
        (16, Refusal::Version),
        (20, Refusal::Features),
        (72, Refusal::SuperblockInvalid),
    ] {
        let mut changed = block(&superblock(8));
        put_u32(&mut changed, at, 0x80);
        let crc = checksum(&changed);
        put_u32(&mut changed, CRC, crc);
        assert_eq!(Superblock::decode(&changed), Err(refusal));
    }
}
