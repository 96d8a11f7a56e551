// SPDX-License-Identifier: GPL-2.0

//! A copy and an overwrite of the same extent, each under the engine's lock for moments, and a
//! reader that takes none.

use super::atomic::{AtomicU64, Without};
use super::{fails, request, restoring, route, spawn, Engine, Shared};
use crate::engine::base::run::Run;
use crate::engine::copy::choose::Background;
use crate::engine::copy::job::Copy;
use crate::engine::copy::job::CopyResult;
use crate::engine::maps::Role;
use crate::engine::request::admit::{Admission, Ticket};
use crate::engine::request::plan::{Op, Route};
use loom::sync::{Arc, Mutex};
use std::sync::atomic::Ordering::Relaxed;

const FIRST: Run = Run::one(0);
/// What the source holds.
const OLD: u64 = 0;
const CLONE: u64 = 1;
const HOST: u64 = 2;

/// The extent on the source, and whether somebody is writing it.
struct Source {
    content: AtomicU64,
    busy: AtomicU64,
}

impl Source {
    fn write(&self, content: u64) {
        assert_eq!(self.busy.swap(1, Relaxed), 0, "two write at once");
        self.content.store(content, Relaxed);
        self.busy.store(0, Relaxed);
    }
}

struct World {
    engine: Mutex<Box<Engine>>,
    shared: Box<Shared>,
    source: Source,
}

impl World {
    fn engine<R>(&self, f: impl FnOnce(&mut Engine) -> R) -> R {
        f(&mut self.engine.lock().expect("no panic"))
    }

    /// The background copies the extent, if nobody holds it.
    fn copy(&self) {
        let next = self.engine(|engine| engine.next_copy(&self.shared, 0));
        if let Background::Copy(copy) = next {
            self.source.write(CLONE);
            self.copied(copy);
        }
    }

    fn copied(&self, copy: Copy) {
        let (job, result) = (copy.job, CopyResult::default());
        self.engine(|engine| engine.copy_done(&self.shared, job, result, 0));
    }

    /// The host writes the whole extent; false if it has to wait.
    fn overwrite(&self, ticket: &mut Ticket) -> bool {
        match self.engine(|engine| engine.admit(&self.shared, ticket, 0)) {
            Admission::Go => {
                self.source.write(HOST);
                self.engine(|engine| engine.completed(&self.shared, ticket, true))
            }
            Admission::Wait => false,
            other => panic!("{other:?}"),
        }
    }
}

fn model(copy: fn(&World), reader: bool) {
    let (engine, shared) = restoring(FIRST, Run::EMPTY);
    let world = Arc::new(World {
        engine: Mutex::new(engine),
        shared,
        source: Source {
            content: AtomicU64::new(OLD),
            busy: AtomicU64::new(0),
        },
    });
    let jobs = {
        let world = world.clone();
        spawn(1, move || copy(&world))
    };
    let reader = reader.then(|| {
        let world = world.clone();
        spawn(2, move || {
            if route(&world.shared, request(Op::Read, FIRST)) == Route::Source {
                assert_ne!(world.source.content.load(Relaxed), OLD, "stale");
            }
        })
    });
    let mut ticket = Ticket::new(request(Op::Write, FIRST), 0);
    let written = world.overwrite(&mut ticket);
    jobs.join().expect("no panic");
    if let Some(reader) = reader {
        reader.join().expect("no panic");
    }
    let view = world.shared.maps.view();
    if written {
        assert_eq!(world.source.content.load(Relaxed), HOST, "copied over");
        assert!(!view.cdm.get(0) && view.prm.get(0));
    } else {
        // It came while the copy was under way: now it is a first touch.
        assert_eq!(world.source.content.load(Relaxed), CLONE);
        assert!(!view.cdm.get(0) && !view.prm.get(0));
        let again = world.engine(|engine| engine.admit(&world.shared, &mut ticket, 0));
        assert_eq!(again, Admission::Wait, "for its record");
    }
    assert!(world.engine(|engine| engine.extent_locks.is_empty()));
}

/// loom stops where a thread was interrupted so often in one run.
fn bounded(model: fn()) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn exclusive() {
    model(World::copy, false);
}

fn with_a_reader() {
    model(World::copy, true);
}

/// A copy that asks nobody.
fn reckless() {
    model(
        |world| {
            world.source.write(CLONE);
            world.shared.maps.clear(Role::Cdm, FIRST);
        },
        false,
    );
}

#[test]
fn copy_and_overwrite_exclude_each_other() {
    super::holds(exclusive);
    bounded(with_a_reader);
    fails("", Without::Nothing, reckless);
    fails("stale", Without::Acquire, with_a_reader);
    fails("stale", Without::Release, with_a_reader);
}
