// SPDX-License-Identifier: GPL-2.0

//! When the success of a source flush may be confirmed, while the end of another one, which has
//! failed and dropped what both should have made durable, is still on its way.

use super::atomic::Without;
use super::{fails, holds, restoring, spawn, Shared};
use crate::engine::base::run::Run;
use crate::engine::record::clears::{Cause, Clear};
use crate::engine::request::in_flight::{Ended, InFlight};
use crate::engine::request::plan::Op;
use crate::engine::sync::flush_epochs::Epoch;
use loom::sync::Arc;

const FIRST: Run = Run::one(0);
const COPIED: Clear = Clear {
    run: FIRST,
    cause: Cause::Copied,
};

/// The worker takes in a success, while the failure is seen on another processor.
fn covered(failed: fn(&Shared, Epoch)) {
    let (mut engine, shared) = restoring(FIRST, Run::EMPTY);
    engine.cleared(&shared, COPIED);
    let (early, late) = (shared.epochs.start(), shared.epochs.start());
    let point = shared.sync.sync_point();
    shared.epochs.end(late);
    let shared = Arc::new(shared);
    let failure = {
        let shared = shared.clone();
        spawn(1, move || failed(&shared, early))
    };
    engine.flush_succeeded(&shared, point);
    let covered = engine.clears.covered();
    failure.join().expect("no panic");
    assert_eq!(covered, 0, "covered by a flush with empty hands");
    engine.flush_failed(&shared);
    assert_eq!(engine.clears.covered(), 1, "it waits for ever");
}

fn noted_then_ended() {
    covered(|shared, epoch| {
        shared.sync.note_failed_flush();
        shared.epochs.end(epoch);
    });
}

fn ended_then_noted() {
    covered(|shared, epoch| {
        shared.epochs.end(epoch);
        shared.sync.note_failed_flush();
    });
}

#[test]
fn a_success_waits_for_who_was_under_way() {
    holds(noted_then_ended);
    fails("empty hands", Without::Acquire, noted_then_ended);
    fails("empty hands", Without::Release, noted_then_ended);
    fails("empty hands", Without::Nothing, ended_then_noted);
}

/// One that is sent and is or contains a flush.
type Sender = fn(&Shared) -> InFlight;

fn fua(shared: &Shared) -> InFlight {
    let mut sent = InFlight::default();
    sent.begin(shared, Op::Write, true);
    sent.to_source(shared);
    sent
}

/// One ends well, while another one, which has failed, ends on another processor: nobody may answer
/// it before the worker has heard of that.
fn answered_beside(failing: Sender, ending: Sender, end: fn(&mut InFlight, &Shared) -> Ended) {
    let (_, shared) = restoring(Run::EMPTY, FIRST);
    let (mut failed, mut well) = (failing(&shared), ending(&shared));
    let shared = Arc::new(shared);
    let failure = {
        let shared = shared.clone();
        spawn(1, move || {
            failed.ended(&shared, false);
        })
    };
    let ended = end(&mut well, &shared);
    failure.join().expect("no panic");
    assert_eq!(ended, Ended::Queue, "answered behind a failed flush");
}

/// A flush of the host, while the target's own has failed.
fn answered(end: fn(&mut InFlight, &Shared) -> Ended) {
    answered_beside(InFlight::own_flush, InFlight::flush, end);
}

fn as_it_is() {
    answered(|sent, shared| sent.ended(shared, true));
}

fn flush_beside_fua() {
    answered_beside(fua, InFlight::flush, |sent, shared| {
        sent.ended(shared, true)
    });
}

fn fua_beside_flush() {
    answered_beside(InFlight::flush, fua, |sent, shared| {
        sent.ended(shared, true)
    });
}

/// A FUA write that is taken for data.
fn uncounted() {
    let data = |shared: &Shared| {
        let mut sent = InFlight::default();
        sent.begin(shared, Op::Write, true);
        sent
    };
    answered_beside(data, InFlight::flush, |sent, shared| {
        sent.ended(shared, true)
    });
}

/// A worker that looks at failures before it looks for flushes under way.
fn looked_too_early() {
    answered(|sent, shared| {
        let quiet = !shared.sync.has_untaken_failure();
        match sent.ended(shared, true) {
            Ended::Queue if quiet && shared.epochs.old_ended() => Ended::Answer(true),
            ended => ended,
        }
    });
}

#[test]
fn no_flush_is_answered_behind_a_failed_one() {
    holds(as_it_is);
    fails("behind a failed flush", Without::Acquire, as_it_is);
    fails("behind a failed flush", Without::Release, as_it_is);
    fails("behind a failed flush", Without::Nothing, looked_too_early);
}

#[test]
fn a_fua_write_counts_as_a_flush() {
    for model in [flush_beside_fua, fua_beside_flush] {
        holds(model);
        fails("behind a failed flush", Without::Acquire, model);
        fails("behind a failed flush", Without::Release, model);
    }
    fails("behind a failed flush", Without::Nothing, uncounted);
}
