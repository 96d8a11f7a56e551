// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for a copy and overwrite beside it.

use super::*;
use crate::copier::CopyResult;
use crate::restoring::{Device, EXTENT};

const NOW: u64 = 1_000_000_000;

/// A failed flush has undone the copy of its second extent. While it waits for another one it must not
/// be in the way of who copies or overwrites the first.
#[test]
fn who_waits_for_a_copy_holds_nothing() {
    let mut device = Device::restoring(0..2);
    let Device { engine, shared, .. } = &mut device;
    let mut ticket = Ticket::new(Request {
        op: Op::Write,
        sectors: Run::new(0, EXTENT + EXTENT / 2),
        whole: false,
    });
    let Admission::Copy(copy) = engine.admit(shared, &mut ticket, NOW) else {
        panic!("the second extent is overwritten in part");
    };
    engine.copy_done(shared, copy.job, CopyResult::default(), NOW);
    assert_eq!(engine.admit(shared, &mut ticket, NOW), Admission::Wait);
    assert!(engine.holds.take(Run::one(0)).is_none());
    engine.own_flush_failed(shared);
    let admission = engine.admit(shared, &mut ticket, NOW);
    assert!(matches!(admission, Admission::Copy(_)), "{admission:?}");
    assert!(engine.holds.take(Run::one(0)).is_some());
}
