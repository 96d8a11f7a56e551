// SPDX-License-Identifier: GPL-2.0

//! What rests on atomics and on no lock, tried in every order.
//!
//! loom runs a model again and again, until it has had every order of the atomic accesses of its
//! threads, and every value that the memory model lets a load return. The engine is the one of the
//! module; only its atomics are loom's ([`atomic`]).
//!
//! | file | what |
//! |---|---|
//! | [`bits`] | what a request may conclude from a bit or from the mode |
//! | [`marks`] | what a flush or FUA write may conclude from the marks and counters |
//! | [`epochs`] | when the success of a flush may be confirmed |
//! | [`holds`] | copies and overwrites under the engine's lock, readers without one |
//!
//! A model that cannot fail says nothing. So each one is also run with something wrong, and must
//! then fail with its own words: without the ordering of the loads or of the stores ([`Without`]),
//! or with steps in another order.
//!
//!     RUSTFLAGS="--cfg loom" cargo test -p dm-restore-engine --lib races

pub mod atomic;
#[cfg(test)]
mod bits;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod holds;
#[cfg(test)]
mod marks;

#[cfg(test)]
pub use harness::*;

#[cfg(test)]
mod harness {
    use super::atomic::{enter, without, Without};
    use crate::engine::base::geometry::Geometry;
    use crate::engine::base::run::Run;
    use crate::engine::base::storage::Heap;
    use crate::engine::maps::{Mode, Role};
    use crate::engine::record::load::NewMetadata;
    use crate::engine::request::plan::{plan, Op, Request, Route};
    use crate::engine::words::settings::{Features, Settings};
    use crate::engine::{machine, shared};
    use loom::thread::JoinHandle;
    use std::panic::{catch_unwind, AssertUnwindSafe};

    /// The engine of the models.
    pub type Engine = machine::Engine<Heap>;
    /// What the requests of the models look at.
    pub type Shared = shared::Shared<Heap>;

    /// Sectors in an extent of the models.
    pub const EXTENT: u64 = 8;

    /// Starts one of the model's threads.
    pub fn spawn(number: usize, f: impl FnOnce() + 'static) -> JoinHandle<()> {
        loom::thread::spawn(move || {
            enter(number);
            f();
        })
    }

    /// Every order.
    pub fn holds(model: fn()) {
        loom::model(model);
    }

    /// Some order makes the model fail, and with these words.
    #[track_caller]
    pub fn fails(words: &str, what: Without, model: fn()) {
        let caught = catch_unwind(AssertUnwindSafe(|| without(what, || loom::model(model))));
        without(Without::Nothing, || {});
        let error = caught.expect_err("the model cannot fail");
        let text = error.downcast_ref::<String>().cloned();
        let text = text.or_else(|| error.downcast_ref::<&str>().map(|text| (*text).into()));
        let text = text.unwrap_or_default();
        assert!(text.contains(words), "it fails with other words: {text}");
    }

    /// On the heap, and in a call of its own: the model checker's stacks are small.
    #[inline(never)]
    fn engine(geometry: Geometry) -> Box<Engine> {
        let engine = Engine::new(geometry, Features::default(), Settings::default());
        Box::new(engine.expect("memory"))
    }

    /// The same.
    #[inline(never)]
    fn shared(geometry: Geometry) -> Box<Shared> {
        Box::new(Shared::new(geometry).expect("memory"))
    }

    /// A device of four extents in the middle of a restore.
    pub fn restoring(cdm: Run, prm: Run) -> (Box<Engine>, Box<Shared>) {
        let geometry = Geometry::new(4 * EXTENT, EXTENT).expect("a good one");
        let (mut engine, shared) = (engine(geometry), shared(geometry));
        engine.format(&shared, &NewMetadata::plain([1; 16], true));
        shared.maps.set(Role::Cdm, cdm);
        shared.maps.set(Role::Prm, prm);
        engine.superblock.mode = Mode::Restoring;
        engine.superblock.begun_with = cdm.len();
        engine.restore_begun(&shared);
        engine.quiesce(false);
        (engine, shared)
    }

    /// A request for whole extents.
    pub fn request(op: Op, extents: Run) -> Request {
        Request {
            op,
            sectors: Run::new(extents.start() * EXTENT, extents.len() * EXTENT),
            whole: false,
        }
    }

    /// Where the first part of a request goes, as `map` finds out.
    pub fn route(shared: &Shared, request: Request) -> Route {
        plan(&shared.maps.view(), shared.maps.geometry(), request, true).route
    }
}
