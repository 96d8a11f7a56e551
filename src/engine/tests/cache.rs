// SPDX-License-Identifier: GPL-2.0

//! One volatile cache for metadata and source.

use super::*;
use crate::engine::base::run::Run;
use crate::engine::format::{Block, BLOCK};
use crate::engine::maps::Role;
use crate::engine::record::checkpoint::{Checkpoint, Purpose, Step};
use crate::engine::record::commit::Commit;
use crate::engine::record::commit::Written;
use crate::engine::request::admit::{Admission, Ticket};
use crate::engine::request::in_flight::{Ended, InFlight, Taken};
use crate::engine::request::plan::{Op, Request};
use crate::engine::restoring::{Device, EXTENT};
use crate::engine::sync::flushes::Settled;

fn restoring(cache: Cache) -> Device {
    let mut device = Device::restoring(0..4);
    device.engine.cache = cache;
    device
}

/// A journal block with first touches is filled and sent.
fn commit_sent(device: &mut Device) {
    let ticket = &mut Ticket::new(write(Run::one(600)), device.shared.sync.losses());
    let admission = device.engine.admit(&device.shared, ticket, 0);
    assert_eq!(admission, Admission::Wait);
    assert!(matches!(device.next_commit(), Commit::Write(_)));
    device.engine.commit_sent(&device.shared);
}

fn write(extents: Run) -> Request {
    Request {
        op: Op::Write,
        sectors: Run::new(extents.start() * EXTENT, extents.len() * EXTENT),
        whole: false,
    }
}

/// The host overwrites an extent.
fn overwritten(device: &mut Device, extent: u64) {
    let Device { engine, shared, .. } = device;
    let mut ticket = Ticket::new(write(Run::one(extent)), shared.sync.losses());
    assert_eq!(engine.admit(shared, &mut ticket, 0), Admission::Go);
    assert!(engine.completed(shared, &mut ticket, true));
}

/// How a flush of the host ends that is sent now.
fn flushed(device: &mut Device) -> Settled {
    let Device { engine, shared, .. } = device;
    let mut sent = InFlight::flush(shared);
    sent.ended(shared, true);
    assert_eq!(engine.take_ended(shared, &mut sent), Taken::Settle);
    engine.settle(shared, &sent)
}

#[test]
fn a_failed_journal_write_is_a_failed_flush() {
    for cache in [Cache::Apart, Cache::Unknown, Cache::Shared] {
        let mut device = restoring(cache);
        device.copied(0);
        commit_sent(&mut device);
        let Device { engine, shared, .. } = &mut device;
        let written = engine.commit_written(shared, false, 0);
        assert!(matches!(written, Written::Again(_)));
        let left = shared.maps.count(Role::Cdm);
        assert_eq!(left, if cache == Cache::Apart { 3 } else { 4 });
        // The host has not written there.
        let failed = flushed(&mut device) == Settled::Failed;
        assert_eq!(failed, cache == Cache::Shared);
    }
}

#[test]
fn the_host_hears_of_an_overwrite_that_was_lost() {
    let mut device = restoring(Cache::Unknown);
    overwritten(&mut device, 1);
    commit_sent(&mut device);
    device.engine.commit_written(&device.shared, false, 0);
    assert_eq!(device.shared.maps.count(Role::Cdm), 4);
    assert_eq!(flushed(&mut device), Settled::Failed);
}

/// A request of the host, of any sectors, that goes to the source.
fn sent(device: &Device, op: Op) -> InFlight {
    let mut sent = InFlight::default();
    sent.begin(&device.shared, op, false);
    sent.to_source(&device.shared);
    sent
}

/// It is copied over.
#[test]
fn what_is_written_over_a_copy_that_is_undone_is_lost() {
    let mut device = restoring(Cache::Unknown);
    device.copied(0);
    device.shared.maps.set(Role::Prm, Run::one(0));
    let mut write = sent(&device, Op::Write);
    commit_sent(&mut device);
    device.engine.commit_written(&device.shared, false, 0);
    assert_eq!(device.shared.maps.count(Role::Cdm), 4);
    assert_eq!(write.ended(&device.shared, true), Ended::Answer(false));
    assert_eq!(flushed(&mut device), Settled::Failed);
}

#[test]
fn copies_that_are_undone_fail_reads_in_flight_and_no_writes() {
    let mut device = restoring(Cache::Unknown);
    device.copied(0);
    let (mut read, mut write) = (sent(&device, Op::Read), sent(&device, Op::Write));
    commit_sent(&mut device);
    device.engine.commit_written(&device.shared, false, 0);
    assert_eq!(device.shared.maps.count(Role::Cdm), 4);
    assert_eq!(read.ended(&device.shared, true), Ended::Answer(false));
    assert_eq!(write.ended(&device.shared, true), Ended::Answer(true));
    let mut later = sent(&device, Op::Read);
    assert_eq!(later.ended(&device.shared, true), Ended::Answer(true));
    assert_ne!(flushed(&mut device), Settled::Failed);
}

/// Nothing was covered since the last failure: there is nothing to undo a second time.
#[test]
fn what_is_undone_already_fails_nothing() {
    let mut device = restoring(Cache::Unknown);
    device.copied(0);
    overwritten(&mut device, 1);
    commit_sent(&mut device);
    device.engine.commit_written(&device.shared, false, 0);
    let (mut read, mut write) = (sent(&device, Op::Read), sent(&device, Op::Write));
    device.engine.commit_sent(&device.shared);
    device.engine.commit_written(&device.shared, false, 0);
    assert_eq!(read.ended(&device.shared, true), Ended::Answer(true));
    assert_eq!(write.ended(&device.shared, true), Ended::Answer(true));
}

#[test]
fn an_overwrite_under_way_may_be_lost() {
    let mut device = restoring(Cache::Unknown);
    let Device { engine, shared, .. } = &mut device;
    let mut ticket = Ticket::new(write(Run::one(1)), shared.sync.losses());
    assert_eq!(engine.admit(shared, &mut ticket, 0), Admission::Go);
    let sent = engine.metadata_flush_sent(shared);
    engine.metadata_flush_ended(shared, sent, false);
    assert!(!engine.completed(shared, &mut ticket, true));
    assert_eq!(shared.maps.count(Role::Cdm), 4);
}

/// While tracking there is nothing to undo.
#[test]
fn a_failed_journal_write_concerns_the_host_on_one_disk_only() {
    for cache in [Cache::Apart, Cache::Unknown, Cache::Shared] {
        let mut device = Device::restoring(0..0);
        device.engine.cache = cache;
        commit_sent(&mut device);
        device.engine.commit_written(&device.shared, false, 0);
        let failed = flushed(&mut device) == Settled::Failed;
        assert_eq!(failed, cache == Cache::Shared);
    }
}

#[test]
fn a_source_flush_waits_for_a_journal_write() {
    let mut device = restoring(Cache::Unknown);
    device.copied(0);
    commit_sent(&mut device);
    assert_eq!(flushed(&mut device), Settled::Waiting);
    assert_eq!(device.engine.clears.covered(), 0);
    let written = device.engine.commit_written(&device.shared, true, 0);
    assert_eq!(written, Written::Done);
    assert_eq!(device.engine.clears.covered(), 1);
}

/// The other way round: the block may have been dropped before the disk came to flush it.
#[test]
fn a_journal_write_waits_for_source_flushes() {
    let mut device = restoring(Cache::Unknown);
    let mut own = InFlight::own_flush(&device.shared);
    commit_sent(&mut device);
    let Device { engine, shared, .. } = &mut device;
    assert_eq!(engine.commit_written(shared, true, 0), Written::Waiting);
    assert_eq!(engine.commit_confirmed(shared), Written::Waiting);
    own.ended(shared, false);
    assert_eq!(engine.commit_confirmed(shared), Written::Waiting);
    engine.take_ended(shared, &mut own);
    assert_eq!(engine.commit_confirmed(shared), Written::Again(0));
    assert_eq!(engine.commit_confirmed(shared), Written::Waiting);
    engine.commit_sent(shared);
    assert_eq!(engine.commit_written(shared, true, 0), Written::Done);
    let prm = shared.maps.view().prm;
    assert!(prm.get(600));
}

/// Does what a checkpoint says; returns where blocks and superblocks went.
fn steps(device: &mut Device, checkpoint: &mut Checkpoint) -> (Vec<u64>, Vec<u64>, Step) {
    let (mut blocks, mut superblocks) = (vec![], vec![]);
    let mut block: Block = [0; BLOCK];
    loop {
        match checkpoint.next(&mut device.engine, &device.shared, &mut block) {
            Step::Write(place) => blocks.push(place),
            Step::WriteFua(place) => superblocks.push(place),
            Step::Flush => {}
            step @ (Step::Wait | Step::Done) => return (blocks, superblocks, step),
        }
    }
}

#[test]
fn a_checkpoint_whose_blocks_may_be_lost_writes_them_again() {
    let mut device = restoring(Cache::Unknown);
    commit_sent(&mut device);
    device.engine.commit_written(&device.shared, true, 0);
    let mut own = InFlight::own_flush(&device.shared);
    let mut checkpoint = Checkpoint::new(Purpose::Running);
    let (blocks, superblocks, step) = steps(&mut device, &mut checkpoint);
    assert_eq!((blocks.len(), superblocks.len(), step), (2, 0, Step::Wait));
    own.ended(&device.shared, false);
    device.engine.take_ended(&device.shared, &mut own);
    // Nor is the superblock confirmed while another one may fail.
    let mut next = InFlight::own_flush(&device.shared);
    let (again, none, step) = steps(&mut device, &mut checkpoint);
    assert_eq!((&again, none.len(), step), (&blocks, 0, Step::Wait));
    next.ended(&device.shared, true);
    device.engine.take_ended(&device.shared, &mut next);
    let mut last = InFlight::own_flush(&device.shared);
    let (none, superblocks, step) = steps(&mut device, &mut checkpoint);
    assert_eq!((none.len(), superblocks.len(), step), (0, 1, Step::Wait));
    last.ended(&device.shared, false);
    device.engine.take_ended(&device.shared, &mut last);
    let (none, again, step) = steps(&mut device, &mut checkpoint);
    assert_eq!((none.len(), &again, step), (0, &superblocks, Step::Done));
}

#[test]
fn apart_a_checkpoint_waits_for_nobody() {
    let mut device = restoring(Cache::Apart);
    let _own = InFlight::own_flush(&device.shared);
    let mut checkpoint = Checkpoint::new(Purpose::Running);
    let (_, superblocks, step) = steps(&mut device, &mut checkpoint);
    assert_eq!((superblocks.len(), step), (1, Step::Done));
}
