// SPDX-License-Identifier: GPL-2.0

//! What a crash can have left of the journal, and what is damage.

use super::*;
use crate::checkpoint::{Checkpoint, Step};
use crate::format::BLOCK;
use crate::restoring::Device;

const BAD: Block = [1; BLOCK];
const ZEROS: Block = [0; BLOCK];

/// Replays an empty journal with bad blocks at these places.
fn replay(device: &mut Device, bad: &[u64]) -> Result<Option<u64>, Refusal> {
    let Device { engine, shared, .. } = device;
    engine.superblock.clean = false;
    engine.replay(shared, |i| {
        Some(if bad.contains(&i) { &BAD } else { &ZEROS })
    })
}

#[test]
fn a_torn_block_is_zeroed_before_anything_else_is_written() {
    let mut device = Device::restoring(0..1);
    let torn = device.engine.layout.journal(0);
    assert_eq!(replay(&mut device, &[0]), Ok(Some(torn)));
    let mut block = BAD;
    let step =
        Checkpoint::activation(Some(torn)).next(&mut device.engine, &device.shared, &mut block);
    assert_eq!(step, Step::WriteFua(torn));
    assert!(block == ZEROS);
}

#[test]
fn a_crash_tears_one_block_at_most_and_the_next_one_only() {
    for bad in [&[0, 1][..], &[0, 7], &[1]] {
        let mut device = Device::restoring(0..1);
        assert_eq!(replay(&mut device, bad), Err(Refusal::JournalHole));
    }
}
