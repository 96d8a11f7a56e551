// SPDX-License-Identifier: GPL-2.0

//! What a request may conclude from a bit or from the mode. Nothing here takes a lock on the side
//! of the request.

use super::atomic::{AtomicU64, Without};
use super::{fails, holds, request, restoring, route, spawn, Engine, Shared};
use crate::engine::base::run::Run;
use crate::engine::format::BLOCK;
use crate::engine::maps::{Mode, Role, View};
use crate::engine::record::clears::{Cause, Clear};
use crate::engine::record::commit::Commit;
use crate::engine::record::commit::Written;
use crate::engine::request::admit::{Admission, Ticket};
use crate::engine::request::plan::{plan, Op, Route};
use loom::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const FIRST: Run = Run::one(0);

/// A read that goes to the source, because the extent's bit is clear, finds the copied data there.
fn a_clear_bit() {
    let (mut engine, shared) = restoring(FIRST, Run::EMPTY);
    let (shared, source) = (Arc::new(shared), Arc::new(AtomicU64::new(0)));
    let copy = {
        let (shared, source) = (shared.clone(), source.clone());
        spawn(1, move || {
            source.store(1, Relaxed);
            let (run, cause) = (FIRST, Cause::Copied);
            engine.cleared(&shared, Clear { run, cause });
        })
    };
    if route(&shared, request(Op::Read, FIRST)) == Route::Source {
        assert_eq!(source.load(Relaxed), 1, "the source without the copy");
    }
    copy.join().expect("no panic");
}

#[test]
fn a_clear_bit_says_that_the_copy_is_there() {
    holds(a_clear_bit);
    fails("without the copy", Without::Acquire, a_clear_bit);
    fails("without the copy", Without::Release, a_clear_bit);
}

/// A write that goes at once, because the extent is marked, comes after the record of that.
fn a_set_bit() {
    let (mut engine, shared) = restoring(Run::one(3), Run::EMPTY);
    let write = request(Op::Write, FIRST);
    let mut ticket = Ticket::new(write, 0);
    assert_eq!(engine.admit(&shared, &mut ticket, 0), Admission::Wait);
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
    if route(&shared, write) == Route::Source {
        assert_eq!(record.load(Relaxed), 1, "a write before its record");
    }
    worker.join().expect("no panic");
}

#[test]
fn a_set_bit_says_that_it_is_durable() {
    holds(a_set_bit);
    fails("before its record", Without::Acquire, a_set_bit);
    fails("before its record", Without::Release, a_set_bit);
}

/// Whoever sees that an overwritten extent is no longer unrestored sees that the host has changed
/// it. Else the next write to it would not wait, and its mark would be missing in the next restore.
fn overwrite(worker: fn(&Shared, &mut Engine, &mut Ticket)) {
    let (mut engine, shared) = restoring(FIRST, Run::EMPTY);
    let mut ticket = Ticket::new(request(Op::Write, FIRST), 0);
    assert_eq!(engine.admit(&shared, &mut ticket, 0), Admission::Go);
    let shared = Arc::new(shared);
    let worker = {
        let shared = shared.clone();
        spawn(1, move || worker(&shared, &mut engine, &mut ticket))
    };
    let view = shared.maps.view();
    if !view.cdm.get(0) {
        assert!(view.prm.get(0), "neither unrestored nor the host's");
    }
    worker.join().expect("no panic");
    let view = shared.maps.view();
    assert!(!view.cdm.get(0) && view.prm.get(0));
}

fn together() {
    overwrite(|shared, engine, ticket| assert!(engine.completed(shared, ticket, true)));
}

fn cleared_first() {
    overwrite(|shared, _, _| {
        shared.maps.clear(Role::Cdm, FIRST);
        shared.maps.set(Role::Prm, FIRST);
    });
}

#[test]
fn an_overwritten_extent_is_never_neither() {
    holds(together);
    fails("neither", Without::Acquire, together);
    fails("neither", Without::Release, together);
    fails("neither", Without::Nothing, cleared_first);
}

/// A restore finishes while requests look at mode and maps: extent 0 is the host's, extent 1 is
/// restored, and what each request gets is the same before and after.
fn finish(look: fn(&Shared) -> View<'_, Vec<AtomicU64>>) {
    let (mut engine, shared) = restoring(Run::EMPTY, FIRST);
    let mut block = [0; BLOCK];
    let commit = engine.next_commit(&shared, &mut block);
    assert!(matches!(commit, Commit::Write(_)));
    let shared = Arc::new(shared);
    let worker = {
        let shared = shared.clone();
        spawn(1, move || {
            assert_eq!(engine.commit_written(&shared, true, 0), Written::Done);
            // The next first touch.
            shared.maps.set(Role::Cdm, Run::one(2));
        })
    };
    let view = look(&shared);
    let geometry = shared.maps.geometry();
    let route = |op, extent| plan(&view, geometry, request(op, Run::one(extent)), true).route;
    for extent in 0..3 {
        assert_eq!(route(Op::Read, extent), Route::Source, "another answer");
    }
    assert_eq!(route(Op::Write, 0), Route::Source, "another answer");
    assert_eq!(route(Op::Write, 1), Route::Defer, "another answer");
    worker.join().expect("no panic");
    assert_eq!(shared.maps.state().mode, Mode::Tracking);
}

fn one_word() {
    finish(|shared| shared.maps.view());
}

fn two_words() {
    finish(|shared| {
        let state = shared.maps.state();
        View {
            state,
            ..shared.maps.view()
        }
    });
}

#[test]
fn mode_and_roles_are_of_one_instant() {
    holds(one_word);
    fails("another answer", Without::Nothing, two_words);
}

/// A request that finds the restore finished goes to the source, whatever the bits say: all of it
/// is there.
fn finished() {
    let (mut engine, shared) = restoring(FIRST, Run::EMPTY);
    let (shared, source) = (Arc::new(shared), Arc::new(AtomicU64::new(0)));
    let worker = {
        let (shared, source) = (shared.clone(), source.clone());
        spawn(1, move || {
            source.store(1, Relaxed);
            let (run, cause) = (FIRST, Cause::Copied);
            engine.cleared(&shared, Clear { run, cause });
            engine.flush_succeeded(&shared, shared.sync.sync_point());
            let mut block = [0; BLOCK];
            let commit = engine.next_commit(&shared, &mut block);
            assert!(matches!(commit, Commit::Write(_)));
            assert_eq!(engine.commit_written(&shared, true, 0), Written::Done);
        })
    };
    // The bits are not looked at while tracking.
    if shared.maps.state().mode == Mode::Tracking {
        assert_eq!(source.load(Relaxed), 1, "finished without the copy");
    }
    worker.join().expect("no panic");
    assert_eq!(shared.maps.state().mode, Mode::Tracking);
}

#[test]
fn a_finished_restore_is_all_there() {
    holds(finished);
    fails("finished without", Without::Acquire, finished);
    fails("finished without", Without::Release, finished);
}
