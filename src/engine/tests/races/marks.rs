// SPDX-License-Identifier: GPL-2.0

//! What a flush or FUA write may conclude from the marks of the clears and from the counters of
//! what was lost.

use super::atomic::{AtomicU64, Without};
use super::{fails, holds, request, restoring, route, spawn, Engine, Shared};
use crate::engine::base::run::Run;
use crate::engine::format::BLOCK;
use crate::engine::maps::Role;
use crate::engine::record::clears::{Cause, Clear};
use crate::engine::record::commit::Commit;
use crate::engine::record::commit::Written;
use crate::engine::request::plan::{Op, Route};
use crate::engine::sync::sync_state::SyncPoint;
// The test's own: nothing is ever taken away from it.
use loom::sync::atomic::AtomicU64 as Flag;
use loom::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const FIRST: Run = Run::one(0);
const COPIED: Clear = Clear {
    run: FIRST,
    cause: Cause::Copied,
};

/// *Clear after durable*: a flush covers only clears whose data it covers, because it notes the
/// point before it is submitted.
fn flush(submit: fn(&Shared, &AtomicU64) -> (SyncPoint, u64)) {
    let (mut engine, shared) = restoring(FIRST, Run::EMPTY);
    let (shared, cache) = (Arc::new(shared), Arc::new(AtomicU64::new(0)));
    let worker = {
        let (shared, cache) = (shared.clone(), cache.clone());
        spawn(1, move || {
            cache.store(1, Relaxed);
            engine.cleared(&shared, COPIED);
        })
    };
    let (point, flushed) = submit(&shared, &cache);
    if point.mark == 1 {
        assert_eq!(flushed, 1, "covered but not flushed");
    }
    worker.join().expect("no panic");
}

fn noted_before() {
    flush(|shared, cache| {
        let point = shared.sync.sync_point();
        (point, cache.load(Relaxed))
    });
}

fn noted_behind() {
    flush(|shared, cache| {
        let flushed = cache.load(Relaxed);
        (shared.sync.sync_point(), flushed)
    });
}

#[test]
fn a_flush_covers_what_it_has_flushed() {
    holds(noted_before);
    fails("not flushed", Without::Acquire, noted_before);
    fails("not flushed", Without::Release, noted_before);
    fails("not flushed", Without::Nothing, noted_behind);
}

/// A FUA write that goes at once, because its extent is restored, waits for the record of that.
fn fua(clear: fn(&Shared, &mut Engine)) {
    let (mut engine, shared) = restoring(FIRST, FIRST);
    let shared = Arc::new(shared);
    let worker = {
        let shared = shared.clone();
        spawn(1, move || clear(&shared, &mut engine))
    };
    let point = shared.sync.sync_point();
    if route(&shared, request(Op::Write, FIRST)) == Route::Source {
        let point = shared.sync.later(point);
        assert!(!shared.sync.is_settled(point), "settled without its record");
    }
    worker.join().expect("no panic");
}

fn queued_first() {
    fua(|shared, engine| engine.cleared(shared, COPIED));
}

fn cleared_first() {
    fua(|shared, engine| {
        shared.maps.clear(Role::Cdm, FIRST);
        engine.cleared(shared, COPIED);
    });
}

#[test]
fn who_sees_a_bit_clear_waits_for_its_record() {
    holds(queued_first);
    fails("without its record", Without::Acquire, queued_first);
    fails("without its record", Without::Release, queued_first);
    fails("without its record", Without::Nothing, cleared_first);
}

/// A flush that finds itself settled at its end has all its records on the device.
fn settled() {
    let (mut engine, shared) = restoring(Run::new(0, 2), Run::EMPTY);
    engine.cleared(&shared, COPIED);
    let point = shared.sync.sync_point();
    engine.flush_succeeded(&shared, point);
    let mut block = [0; BLOCK];
    let commit = engine.next_commit(&shared, &mut block);
    assert!(matches!(commit, Commit::Write(_)));
    let (shared, record) = (Arc::new(shared), Arc::new(AtomicU64::new(0)));
    let worker = {
        let (shared, record) = (shared.clone(), record.clone());
        spawn(1, move || {
            record.store(1, Relaxed);
            assert_eq!(engine.commit_written(&shared, true, 0), Written::Done);
        })
    };
    if shared.sync.is_settled(point) {
        assert_eq!(record.load(Relaxed), 1, "settled but not durable");
    }
    worker.join().expect("no panic");
}

#[test]
fn what_is_settled_is_durable() {
    holds(settled);
    fails("not durable", Without::Acquire, settled);
    fails("not durable", Without::Release, settled);
}

/// From where a failed flush is first seen nothing counts as settled: first because it is not taken
/// in, then because there was a loss.
fn failure(is_settled: fn(&Shared, SyncPoint) -> bool) {
    let (mut engine, shared) = restoring(FIRST, Run::EMPTY);
    let point = shared.sync.sync_point();
    let (shared, seen) = (Arc::new(shared), Arc::new(Flag::new(0)));
    let failed = {
        let (shared, seen) = (shared.clone(), seen.clone());
        spawn(1, move || {
            shared.sync.note_failed_flush();
            seen.store(1, Release);
            engine.flush_failed(&shared);
        })
    };
    if seen.load(Acquire) == 1 {
        assert!(!is_settled(&shared, point), "settled after a failed flush");
    }
    failed.join().expect("no panic");
}

fn failure_first() {
    failure(|shared, point| shared.sync.is_settled(point));
}

/// What it was once: the losses were looked at before the failures.
fn losses_first() {
    failure(|shared, point| {
        let lost = shared.sync.lost_since(point.losses);
        !shared.sync.has_untaken_failure() && !lost
    });
}

#[test]
fn nothing_is_settled_from_a_failed_flush_on() {
    holds(failure_first);
    fails("after a failed flush", Without::Acquire, failure_first);
    fails("after a failed flush", Without::Release, failure_first);
    fails("after a failed flush", Without::Nothing, losses_first);
}

/// A request that has found a bit clear, which a failed flush then sets again, learns at its end
/// that something was lost.
fn loss(worker: fn(&Shared, &mut Engine), noted: fn(&Shared) -> (u64, Route)) {
    let (mut engine, shared) = restoring(FIRST, Run::EMPTY);
    engine.cleared(&shared, COPIED);
    let (shared, over) = (Arc::new(shared), Arc::new(Flag::new(0)));
    let worker = {
        let (shared, over) = (shared.clone(), over.clone());
        spawn(1, move || {
            worker(&shared, &mut engine);
            over.store(1, Release);
        })
    };
    let (losses, route) = noted(&shared);
    if over.load(Acquire) == 1 && route == Route::Source {
        assert!(shared.sync.lost_since(losses), "lost, and nobody is told");
    }
    worker.join().expect("no panic");
}

fn noted_first(shared: &Shared) -> (u64, Route) {
    let losses = shared.sync.losses();
    (losses, route(shared, request(Op::Read, FIRST)))
}

fn looked_first(shared: &Shared) -> (u64, Route) {
    let route = route(shared, request(Op::Read, FIRST));
    (shared.sync.losses(), route)
}

fn set_then_counted() {
    loss(|shared, engine| engine.flush_failed(shared), noted_first);
}

fn counted_then_set() {
    let swapped = |shared: &Shared, _: &mut Engine| {
        shared.count_loss();
        shared.maps.set(Role::Cdm, FIRST);
    };
    loss(swapped, noted_first);
}

fn noted_too_late() {
    loss(|shared, engine| engine.flush_failed(shared), looked_first);
}

#[test]
fn who_has_seen_what_was_lost_is_told() {
    holds(set_then_counted);
    fails("nobody is told", Without::Acquire, set_then_counted);
    fails("nobody is told", Without::Release, set_then_counted);
    fails("nobody is told", Without::Nothing, counted_then_set);
    fails("nobody is told", Without::Nothing, noted_too_late);
}

/// Two flushes fail at once: both are still to be taken in.
fn two_failures(note: fn(&Shared)) {
    let (mut engine, shared) = restoring(FIRST, Run::EMPTY);
    let shared = Arc::new(shared);
    let other = {
        let shared = shared.clone();
        spawn(1, move || note(&shared))
    };
    note(&shared);
    other.join().expect("no panic");
    engine.flush_failed(&shared);
    assert!(
        shared.sync.has_untaken_failure(),
        "one failure is forgotten"
    );
    engine.flush_failed(&shared);
    assert!(!shared.sync.has_untaken_failure());
}

fn counted() {
    two_failures(|shared| shared.sync.note_failed_flush());
}

fn read_and_written() {
    two_failures(|shared| {
        let failing = shared.sync.failing.load(Acquire);
        shared.sync.failing.store(failing + 1, Release);
    });
}

#[test]
fn no_failed_flush_is_forgotten() {
    holds(counted);
    fails("forgotten", Without::Nothing, read_and_written);
}
