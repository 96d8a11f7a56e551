// SPDX-License-Identifier: GPL-2.0

//! Which success of a source flush is confirmed.

use crate::engine::base::run::Run;
use crate::engine::maps::Role;
use crate::engine::request::admit::Admission;
use crate::engine::request::in_flight::{Ended, InFlight, Taken};
use crate::engine::request::plan::{Op, Request};
use crate::engine::restoring::Device;
use crate::engine::sync::flushes::Settled;

/// The device may have dropped what it covers when the other one failed, and had nothing to flush then.
#[test]
fn a_success_is_not_confirmed_before_a_failure_is_taken_in() {
    let mut device = Device::restoring(0..2);
    device.copied(0);
    let Device { engine, shared, .. } = &mut device;
    let (mut failed, mut succeeded) = (InFlight::own_flush(shared), InFlight::own_flush(shared));
    failed.ended(shared, false);
    succeeded.ended(shared, true);
    engine.take_ended(shared, &mut succeeded);
    assert_eq!(engine.clears.covered(), 0);
    engine.take_ended(shared, &mut failed);
    assert_eq!(shared.maps.count(Role::Cdm), 2, "it is copied again");
}

/// A FUA write to the whole of an extent that is restored and marked.
fn fua(device: &Device) -> InFlight {
    let mut sent = InFlight::default();
    sent.begin(&device.shared, Op::Write, true);
    sent.to_source(&device.shared);
    sent
}

/// On a disk without FUA it is a write and a flush.
#[test]
fn a_failed_fua_write_is_a_failed_flush() {
    let mut device = Device::restoring(0..2);
    device.copied(0);
    let mut sent = fua(&device);
    let Device { engine, shared, .. } = &mut device;
    assert_eq!(sent.ended(shared, false), Ended::Queue);
    assert_eq!(engine.take_ended(shared, &mut sent), Taken::Answer(false));
    assert_eq!(shared.maps.count(Role::Cdm), 2, "it is copied again");
    let mut hosts = InFlight::flush(shared);
    assert_eq!(hosts.ended(shared, true), Ended::Queue);
    assert_eq!(engine.take_ended(shared, &mut hosts), Taken::Settle);
    assert_eq!(engine.settle(shared, &hosts), Settled::Failed);
}

/// Whichever way it fails: here it was sent before the worker had heard of the flush.
#[test]
fn a_fua_write_behind_a_failed_flush_tells_of_it_once() {
    let mut device = Device::restoring(0..2);
    let mut hosts = InFlight::flush(&device.shared);
    hosts.ended(&device.shared, false);
    let mut behind = fua(&device);
    device.engine.take_ended(&device.shared, &mut hosts);
    behind.ended(&device.shared, true);
    let taken = device.engine.take_ended(&device.shared, &mut behind);
    assert_eq!(taken, Taken::Answer(false));
    let mut later = fua(&device);
    later.ended(&device.shared, true);
    let taken = device.engine.take_ended(&device.shared, &mut later);
    assert_eq!(taken, Taken::Settle);
    let settled = device.engine.settle(&device.shared, &later);
    assert_eq!(settled, Settled::Durable);
}

/// What a device has not begun has dropped nothing.
#[test]
fn a_fua_write_that_was_not_begun_is_none() {
    let mut device = Device::restoring(0..2);
    device.copied(0);
    let mut sent = fua(&device);
    let Device { engine, shared, .. } = &mut device;
    let mut own = InFlight::own_flush(shared);
    own.ended(shared, true);
    engine.take_ended(shared, &mut own);
    assert_eq!(engine.clears.covered(), 0, "it is under way");
    assert_eq!(sent.not_begun(shared), Ended::Queue);
    assert_eq!(engine.take_ended(shared, &mut sent), Taken::Answer(false));
    assert_eq!(engine.clears.covered(), 1);
    assert_eq!(shared.maps.count(Role::Cdm), 1);
}

/// Neither a flush nor a FUA write is done while a FUA write that came before may yet fail.
#[test]
fn a_success_waits_for_fua_writes() {
    let mut device = Device::restoring(0..2);
    device.copied(0);
    let (mut early, mut beside) = (fua(&device), fua(&device));
    let Device { engine, shared, .. } = &mut device;
    let mut hosts = InFlight::flush(shared);
    assert_eq!(hosts.ended(shared, true), Ended::Queue);
    assert_eq!(engine.take_ended(shared, &mut hosts), Taken::Settle);
    assert_eq!(beside.ended(shared, true), Ended::Queue);
    assert_eq!(engine.take_ended(shared, &mut beside), Taken::Settle);
    assert_eq!(engine.settle(shared, &beside), Settled::Waiting);
    assert_eq!(engine.clears.covered(), 0);
    early.ended(shared, false);
    engine.take_ended(shared, &mut early);
    assert_eq!(engine.settle(shared, &hosts), Settled::Failed);
    assert_eq!(engine.settle(shared, &beside), Settled::Failed);
    assert_eq!(shared.maps.count(Role::Cdm), 2);
}

/// A part of a write that has yet to go shares the fate of the other, which may be lost.
#[test]
fn a_failed_flush_fails_what_waits() {
    let mut device = Device::restoring(0..2);
    let Device { engine, shared, .. } = &mut device;
    let (mut sent, mut hosts) = (InFlight::default(), InFlight::flush(shared));
    sent.begin(shared, Op::Write, false);
    sent.defer(Request {
        op: Op::Write,
        sectors: Run::new(0, 1),
        whole: false,
    });
    hosts.ended(shared, false);
    engine.take_ended(shared, &mut hosts);
    let ticket = sent.ticket_mut().unwrap();
    assert_eq!(engine.admit(shared, ticket, 0), Admission::Fail);
    let mut next = InFlight::flush(shared);
    assert_eq!(next.ended(shared, true), Ended::Queue);
    engine.take_ended(shared, &mut next);
    assert_eq!(engine.settle(shared, &next), Settled::Failed);
}

/// What was discarded before the host wrote there may be what it was.
#[test]
fn places_that_a_failed_flush_may_have_lost_are_not_sampled() {
    let mut device = Device::restoring(0..2);
    let Device { engine, shared, .. } = &mut device;
    shared.note_unstable(Run::new(800, 8));
    shared.remembered.touch(Run::new(1600, 8));
    assert_eq!(shared.remembered.blocks().count(), 1);
    engine.flush_failed(shared);
    assert_eq!(shared.remembered.blocks().count(), 0);
}

/// A FUA write is not done before a flush beside it, which may have dropped its data.
#[test]
fn a_fua_write_waits_for_flushes_beside_it() {
    for ok in [true, false] {
        let mut device = Device::restoring(0..2);
        let mut sent = fua(&device);
        let Device { engine, shared, .. } = &mut device;
        let mut own = InFlight::own_flush(shared);
        assert_eq!(sent.ended(shared, true), Ended::Queue);
        assert_eq!(engine.take_ended(shared, &mut sent), Taken::Settle);
        assert_eq!(engine.settle(shared, &sent), Settled::Waiting);
        own.ended(shared, ok);
        engine.take_ended(shared, &mut own);
        let settled = if ok {
            Settled::Durable
        } else {
            Settled::Failed
        };
        assert_eq!(engine.settle(shared, &sent), settled);
    }
}

/// A FUA write waits for what was recorded while it was under way.
#[test]
fn a_fua_write_waits_for_records_made_meanwhile() {
    let mut device = Device::restoring(0..2);
    let mut sent = fua(&device);
    device.copied(0);
    assert_eq!(sent.ended(&device.shared, true), Ended::Queue);
    let taken = device.engine.take_ended(&device.shared, &mut sent);
    assert_eq!(taken, Taken::Settle);
    let settled = device.engine.settle(&device.shared, &sent);
    assert_eq!(settled, Settled::Waiting);
    device.flush();
    device.commit();
    let settled = device.engine.settle(&device.shared, &sent);
    assert_eq!(settled, Settled::Durable);
}

/// The record of what it covers is on its way, then on the device.
#[test]
fn a_flush_waits_for_the_records_of_what_it_covers() {
    let mut device = Device::restoring(0..2);
    device.copied(0);
    let mut hosts = InFlight::flush(&device.shared);
    assert_eq!(hosts.ended(&device.shared, true), Ended::Queue);
    let taken = device.engine.take_ended(&device.shared, &mut hosts);
    assert_eq!(taken, Taken::Settle);
    assert_eq!(device.engine.clears.covered(), 1);
    let settled = device.engine.settle(&device.shared, &hosts);
    assert_eq!(settled, Settled::Waiting);
    device.commit();
    let settled = device.engine.settle(&device.shared, &hosts);
    assert_eq!(settled, Settled::Durable);
}

/// Nor does it wait for more.
#[test]
fn a_flush_does_not_cover_what_comes_behind_it() {
    let mut device = Device::restoring(0..2);
    let mut hosts = InFlight::flush(&device.shared);
    device.copied(0);
    assert_eq!(hosts.ended(&device.shared, true), Ended::Answer(true));
    let mut own = InFlight::own_flush(&device.shared);
    device.copied(1);
    own.ended(&device.shared, true);
    device.engine.take_ended(&device.shared, &mut own);
    assert_eq!(device.engine.clears.covered(), 1);
}

/// The other one may drop what this one covers, and fail, before this one came to flush it.
#[test]
fn a_flush_is_not_answered_beside_a_later_one() {
    let mut device = Device::restoring(0..2);
    let Device { engine, shared, .. } = &mut device;
    let (mut hosts, mut later) = (InFlight::flush(shared), InFlight::own_flush(shared));
    assert_eq!(hosts.ended(shared, true), Ended::Queue);
    assert_eq!(engine.take_ended(shared, &mut hosts), Taken::Settle);
    later.ended(shared, false);
    assert_eq!(engine.settle(shared, &hosts), Settled::Waiting);
    engine.take_ended(shared, &mut later);
    assert_eq!(engine.settle(shared, &hosts), Settled::Failed);
}

/// It was sent before the loss, and says nothing about what was acknowledged between the two.
#[test]
fn an_older_flush_does_not_take_the_report_of_a_loss() {
    let mut device = Device::restoring(0..2);
    let Device { engine, shared, .. } = &mut device;
    let (mut older, mut own) = (InFlight::flush(shared), InFlight::own_flush(shared));
    own.ended(shared, false);
    engine.take_ended(shared, &mut own);
    for _ in 0..2 {
        assert_eq!(older.ended(shared, true), Ended::Queue);
        assert_eq!(engine.take_ended(shared, &mut older), Taken::Settle);
        assert_eq!(engine.settle(shared, &older), Settled::Failed);
        older = InFlight::flush(shared);
    }
    assert_eq!(older.ended(shared, true), Ended::Answer(true));
}

/// It ended on the device before the flush did, and was in its cache.
#[test]
fn an_overwrite_that_a_failed_flush_may_have_dropped_is_not_recorded() {
    let mut device = Device::restoring(0..2);
    let mut own = InFlight::own_flush(&device.shared);
    let mut sent = device.overwrite(0);
    let Device { engine, shared, .. } = &mut device;
    own.ended(shared, false);
    assert_eq!(sent.ended(shared, true), Ended::Queue);
    engine.take_ended(shared, &mut own);
    assert_eq!(engine.take_ended(shared, &mut sent), Taken::Answer(false));
    assert_eq!(shared.maps.count(Role::Cdm), 2);
    assert_eq!(shared.maps.count(Role::Prm), 1, "it may land later");
}
