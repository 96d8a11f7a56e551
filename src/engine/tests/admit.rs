// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for a copy and overwrite beside it.

use super::*;
use crate::engine::copy::job::CopyResult;
use crate::engine::format::event::Event;
use crate::engine::restoring::{Device, EXTENT};

const NOW: u64 = 1_000_000_000;

/// A failed request to metadata on the same disk has undone the copy of its second extent. While it waits
/// for another one it must not be in the way of whoever copies or overwrites the first.
#[test]
fn who_waits_for_a_copy_holds_nothing() {
    let mut device = Device::restoring(0..2);
    let Device { engine, shared, .. } = &mut device;
    let mut ticket = Ticket::new(
        Request {
            op: Op::Write,
            sectors: Run::new(0, EXTENT + EXTENT / 2),
            whole: false,
        },
        0,
    );
    let Admission::Copy(copy) = engine.admit(shared, &mut ticket, NOW) else {
        panic!("the second extent is overwritten in part");
    };
    engine.copy_done(shared, copy.job, CopyResult::default(), NOW);
    assert_eq!(engine.admit(shared, &mut ticket, NOW), Admission::Wait);
    assert!(engine.extent_locks.take(Run::one(0)).is_none());
    engine.undo(shared);
    let again = engine.admit(shared, &mut ticket, NOW);
    assert!(matches!(again, Admission::Copy(_)), "{again:?}");
    assert!(engine.extent_locks.take(Run::one(0)).is_some());
}

/// Behind a copy of its extent it would be a difference that nobody knows of.
#[test]
fn a_failed_overwrite_is_recorded_as_a_touch() {
    let mut device = Device::restoring(0..3);
    let Device { engine, shared, .. } = &mut device;
    let request = Request {
        op: Op::Write,
        sectors: Run::new(0, 2 * EXTENT),
        whole: false,
    };
    let mut ticket = Ticket::new(request, shared.sync.losses());
    assert_eq!(engine.admit(shared, &mut ticket, NOW), Admission::Go);
    assert!(!engine.completed(shared, &mut ticket, false));
    let maps = &shared.maps;
    assert_eq!((maps.count(Role::Cdm), maps.count(Role::Prm)), (3, 2));
    assert!(engine.extent_locks.is_empty());
    device.copied(0);
    device.flush();
    device.commit();
    let events: Vec<_> = device.events().collect();
    let [touched, copied] = [Run::new(0, 2), Run::one(0)];
    assert_eq!(events, [Event::Touched(touched), Event::Restored(copied)]);
}
