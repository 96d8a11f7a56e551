// SPDX-License-Identifier: GPL-2.0

//! What counts as recorded: nothing of a block that was given up. The end of a restore follows the last
//! durable clear, in the journal as in memory.

use super::*;
use crate::engine::base::run::Run;
use crate::engine::format::{Refusal, BLOCK};
use crate::engine::restoring::{Device, EXTENTS};

#[test]
fn no_block_is_written_before_the_last_clear_is_covered() {
    let mut device = Device::restoring(0..1);
    device.copied(0);
    assert_eq!(device.next_commit(), Commit::Nothing);
    device.flush();
    device.commit();
    assert_eq!(device.mode(), Mode::Tracking);
    assert_eq!(device.next_commit(), Commit::Nothing);
}

#[test]
fn a_block_without_the_end_does_not_end_a_restore() {
    let mut device = Device::restoring(0..1);
    device.copied(0);
    device.engine.first_touches.gather(Run::one(5)).unwrap();
    device.commit();
    assert_eq!(device.mode(), Mode::Restoring);
    device.flush();
    device.commit();
    assert_eq!(device.mode(), Mode::Tracking);
}

#[test]
fn the_end_waits_for_clears_that_a_block_has_no_room_for() {
    let mut device = Device::restoring((0..EXTENTS).step_by(2));
    (0..EXTENTS)
        .step_by(2)
        .for_each(|extent| device.copied(extent));
    device.flush();
    device.commit();
    assert_eq!(device.mode(), Mode::Restoring);
    device.commit();
    assert_eq!(device.mode(), Mode::Tracking);
    assert_eq!(device.engine.clears.waiting(), 0);
}

#[test]
fn a_block_that_is_given_up_has_recorded_nothing() {
    let mut device = Device::restoring(0..2);
    device.copied(0);
    device.flush();
    device.engine.first_touches.gather(Run::one(5)).unwrap();
    assert!(matches!(device.next_commit(), Commit::Write(_)));
    let Device { engine, shared, .. } = &mut device;
    let mut now = 1;
    while let Written::Again(at) = engine.commit_written(shared, false, now) {
        assert!(at > now && engine.is_committing());
        now = at;
    }
    assert!(!engine.is_committing());
    assert_eq!(engine.metadata_mode(), MetadataMode::ReadOnly);
    assert_eq!((engine.clears.durable(), engine.clears.waiting()), (0, 1));
    assert!(!shared.maps.view().prm.get(5), "the write would go");
}

#[test]
fn an_end_before_the_last_clear_is_refused() {
    for (delta, replayed) in [(1, Err(Refusal::JournalFinishEarly)), (0, Ok(None))] {
        let mut device = Device::restoring(0..1);
        let Device { engine, shared, .. } = &mut device;
        let place = Place {
            uuid: engine.superblock.uuid,
            activation: engine.superblock.activation,
            sequence: engine.journal.sequence,
            chain: engine.journal.chain,
        };
        engine.superblock.clean = false;
        let (mut forged, zeros) = ([0; BLOCK], [0; BLOCK]);
        let mut writer = Writer::new(&mut forged, &place);
        if delta == 0 {
            writer.push(Event::Restored(Run::one(0)));
        }
        writer.push(Event::RestoreFinished);
        writer.finish();
        let found = engine.replay(shared, |i| Some(if i == 0 { &forged } else { &zeros }));
        assert_eq!(found, replayed, "{delta} left");
    }
}

/// Each says what the maps say in memory: an overwritten extent is the host's, a copied one the clone's.
#[test]
fn each_cause_of_a_clear_has_an_event_of_its_own() {
    let run = Run::new(3, 2);
    let event = |cause, run| clear_event(Clear { run, cause });
    assert_eq!(event(Cause::Copied, run), Some(Event::Restored(run)));
    assert_eq!(
        event(Cause::Overwritten, run),
        Some(Event::Overwritten(run))
    );
    assert_eq!(event(Cause::Touched, run), Some(Event::Touched(run)));
    assert_eq!(event(Cause::Copied, Run::default()), None, "undone");
}

/// The next block names the one that is on the device, however often that was tried.
#[test]
fn a_block_that_is_tried_again_is_the_same_block() {
    let chain = |fails: bool| {
        let mut device = Device::restoring(0..2);
        device.copied(0);
        device.flush();
        assert!(matches!(device.next_commit(), Commit::Write(_)));
        let Device { engine, shared, .. } = &mut device;
        if fails {
            let written = engine.commit_written(shared, false, 1);
            assert!(matches!(written, Written::Again(_)), "{written:?}");
        }
        assert_eq!(engine.commit_written(shared, true, 2), Written::Done);
        engine.journal.chain
    };
    assert_eq!(chain(true), chain(false));
}
