// SPDX-License-Identifier: GPL-2.0

//! When requests to the metadata device are tried again.

use super::*;
use crate::engine::base::run::Run;
use crate::engine::format::{Block, BLOCK};
use crate::engine::record::checkpoint::{Checkpoint, Progress, Purpose, Step};
use crate::engine::restoring::Device;

/// When attempts are made, in milliseconds from the first, if each fails at once.
fn attempts(patience: &Patience, since: u64) -> Vec<u64> {
    let (mut attempts, mut now, mut made) = (Attempts::default(), since, vec![0]);
    while let Some(next) = attempts.failed(now, patience) {
        assert!(next > now);
        now = next;
        made.push((now - since) / 1_000_000);
    }
    made
}

fn patience(seconds: u64, suspending: Option<u64>) -> Patience {
    Patience {
        in_use: seconds * SECOND,
        suspending,
    }
}

#[test]
fn pauses_grow_and_the_last_attempt_is_made_when_the_patience_ends() {
    let made = attempts(&patience(1, None), 7 * SECOND);
    assert_eq!(made, [0, 50, 150, 350, 750, 1000]);
    let made = attempts(&patience(30, None), 7 * SECOND);
    assert_eq!(made[..8], [0, 50, 150, 350, 750, 1550, 2550, 3550]);
    assert_eq!(made.last(), Some(&30_000));
    assert_eq!(made.len(), 35);
}

#[test]
fn a_suspension_does_not_wait_for_the_whole_patience() {
    let end = |suspending| {
        let made = attempts(&patience(30, suspending), 10 * SECOND);
        made.last().copied()
    };
    // Begun before the first failure, or 2 s after it.
    assert_eq!(end(Some(0)), Some(5_000));
    assert_eq!(end(Some(12 * SECOND)), Some(7_000));
    // Never longer than it would be in use.
    let made = attempts(&patience(1, Some(0)), 10 * SECOND);
    assert_eq!(made.last(), Some(&1_000));
}

#[test]
fn a_success_begins_the_patience_anew() {
    let (mut attempts, patience) = (Attempts::default(), patience(1, None));
    assert_eq!(attempts.failed(0, &patience), Some(50_000_000));
    assert!(attempts.are_failing());
    attempts.succeeded();
    assert!(!attempts.are_failing());
    let later = 10 * SECOND;
    assert_eq!(attempts.failed(later, &patience), Some(later + 50_000_000));
}

#[test]
fn a_slow_device_is_tried_twice_at_least() {
    let (mut attempts, patience) = (Attempts::default(), patience(1, None));
    assert!(attempts.failed(60 * SECOND, &patience).is_some());
    assert_eq!(attempts.failed(120 * SECOND, &patience), None);
}

/// Does what a checkpoint says until it says something else than to write; returns where that went.
fn written(
    device: &mut Device,
    checkpoint: &mut Checkpoint,
    block: &mut Block,
) -> (Vec<u64>, Step) {
    let mut places = vec![];
    loop {
        match checkpoint.next(&mut device.engine, &device.shared, block) {
            Step::Write(place) => places.push(place),
            step => return (places, step),
        }
        let done = checkpoint.done(&mut device.engine, &device.shared, true, 0);
        assert_eq!(done, Progress::Next);
    }
}

#[test]
fn a_checkpoint_whose_flush_has_failed_starts_over() {
    let mut device = Device::restoring(0..3);
    device.engine.first_touches.gather(Run::one(5)).unwrap();
    device.commit();
    let (mut checkpoint, mut block) = (Checkpoint::new(Purpose::Running), [0; BLOCK]);
    let first = written(&mut device, &mut checkpoint, &mut block);
    assert!(!first.0.is_empty() && first.1 == Step::Flush);
    let failed = checkpoint.done(&mut device.engine, &device.shared, false, 1);
    assert!(matches!(failed, Progress::Again(at) if at > 1));
    let second = written(&mut device, &mut checkpoint, &mut block);
    assert_eq!(first, second);
    let done = checkpoint.done(&mut device.engine, &device.shared, true, 2);
    assert_eq!(done, Progress::Next);
    // A write that fails is the same once more.
    let named = checkpoint.next(&mut device.engine, &device.shared, &mut block);
    let superblock = block;
    let failed = checkpoint.done(&mut device.engine, &device.shared, false, 3);
    assert!(matches!(
        (named, failed),
        (Step::WriteFua(_), Progress::Again(_))
    ));
    let again = checkpoint.next(&mut device.engine, &device.shared, &mut block);
    assert_eq!((again, block), (named, superblock));
}
