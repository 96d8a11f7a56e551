// SPDX-License-Identifier: GPL-2.0

//! Which metadata belongs to a table line; what a crash can have left of the journal, and what is
//! damage.

use super::*;
use crate::engine::base::storage::Heap;
use crate::engine::format::BLOCK;
use crate::engine::record::checkpoint::{Checkpoint, Step};
use crate::engine::restoring::Device;

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

#[test]
fn metadata_of_another_volume_is_refused() {
    let device = Device::restoring(0..1);
    let recorded = Superblock {
        block_size: 2048,
        ..device.engine.superblock
    };
    let (length, extent) = (recorded.length, recorded.extent_sectors);
    let sectors = device.engine.layout.sectors();
    let check = |length, extent, sectors, block_size| {
        let geometry = Geometry::new(length, extent).unwrap();
        check_identity(&recorded, &geometry, sectors, block_size)
    };
    assert_eq!(check(length, extent, sectors, 2048), Ok(()));
    assert_eq!(check(length, extent, sectors + 1, 512), Ok(()));
    let refused = Err(Refusal::OtherLength);
    assert_eq!(check(length + 8, extent, sectors, 512), refused);
    let refused = Err(Refusal::OtherExtentSize);
    assert_eq!(check(length, extent * 2, sectors, 512), refused);
    let refused = Err(Refusal::Truncated);
    assert_eq!(check(length, extent, sectors - 1, 512), refused);
    // Who uses the volume relies on the block size that it was made with.
    let refused = Err(Refusal::LargerBlocks {
        given: 4096,
        recorded: 2048,
    });
    assert_eq!(check(length, extent, sectors, 4096), refused);
}

#[test]
fn a_clone_that_has_grown_is_the_same_clone() {
    let mut engine = Device::restoring(0..1).engine;
    engine.superblock.clone_sectors = 7000;
    assert_eq!(engine.clone_has(7000), None);
    assert_eq!(engine.clone_has(9000), Some(7000));
    assert_eq!(engine.clone_has(9000), None, "it is recorded");
}

fn dirty(engine: &Engine<Heap>) -> usize {
    engine.table.iter().filter(|entry| entry.dirty).count()
}

/// Behind a hibernation the table is loaded while the maps in memory are ahead of it.
#[test]
fn what_has_changed_in_memory_is_still_to_be_written() {
    let Device {
        mut engine, shared, ..
    } = Device::restoring(0..1);
    let mut block = [0; BLOCK];
    engine
        .table
        .iter_mut()
        .for_each(|entry| entry.dirty = false);
    table::encode(&mut block, 0, &engine.table);
    engine.mark_dirty(&shared, Role::Cdm, Run::one(3));
    assert_eq!(dirty(&engine), 1);
    engine.load_table(0, &block, 0).unwrap();
    assert_eq!(dirty(&engine), 1);
}

/// A checkpoint writes each block that has a bit of the run.
#[test]
fn a_run_meets_the_blocks_from_its_first_extent_to_its_last() {
    use crate::engine::format::mapblock::{blocks_of, BITS_PER_BLOCK};
    let run = |start, end| crate::engine::base::run::Run::between(start, end);
    assert_eq!(blocks_of(run(0, BITS_PER_BLOCK)), 0..1);
    assert_eq!(blocks_of(run(BITS_PER_BLOCK - 1, BITS_PER_BLOCK + 1)), 0..2);
    assert_eq!(blocks_of(run(BITS_PER_BLOCK, 3 * BITS_PER_BLOCK)), 1..3);
}
