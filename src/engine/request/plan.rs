// SPDX-License-Identifier: GPL-2.0

//! What a host request gets: the behaviour table of the manual, in code.
//!
//! Pure and without a lock: it looks at the maps once and says where the first part of the
//! request goes and how long that part is. A request is cut only where its answer changes.

use crate::engine::base::atomics::AtomicU64;
use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::maps::bitmap::Bitmap;
use crate::engine::maps::{Mode, View};
use core::ops::Deref;

/// What the host asks for. Flushes carry no data and are not planned here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read.
    Read,
    /// Write, also write zeroes: both define what the sectors hold.
    Write,
    /// Discard: the sectors' content is undefined afterwards.
    Discard,
}

/// A host request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What.
    pub op: Op,
    /// Where: sectors from the start of the target, within its length.
    pub sectors: Run,
    /// It must not be cut (`REQ_ATOMIC`).
    pub whole: bool,
}

/// Where a part of a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the source, at once.
    Source,
    /// To the clone (reads only).
    Clone,
    /// Nowhere: it is complete, nothing changes.
    Complete,
    /// To the worker: a record, a copy or a hold must come first.
    Defer,
    /// Nowhere: it fails.
    Fail,
}

/// The first part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where it goes.
    pub route: Route,
    /// How many sectors of the request it has, at least one.
    pub sectors: u64,
}

/// Plans the first part of `request`. `passdown` is false with `no_discard_passdown`.
pub fn plan<W>(view: &View<'_, W>, geometry: &Geometry, request: Request, passdown: bool) -> Plan
where
    W: Deref<Target = [AtomicU64]>,
{
    let sectors = request.sectors;
    let all = |route| Plan {
        route,
        sectors: sectors.len(),
    };
    match (view.state.mode, request.op) {
        (Mode::Unloaded, _) => all(Route::Fail),
        (_, Op::Discard) if !passdown => all(Route::Complete),
        (Mode::Tracking, Op::Read) => all(Route::Source),
        (_, Op::Write | Op::Discard) if view.state.failed => all(Route::Fail),
        (Mode::Tracking, _) => all(marked_or_deferred(view.cdm, geometry.met_by(sectors))),
        (Mode::Restoring, Op::Read) => {
            let (unrestored, part) = same_answer(view.cdm, geometry, sectors);
            let route = if unrestored {
                Route::Clone
            } else {
                Route::Source
            };
            Plan {
                route,
                sectors: part.len(),
            }
        }
        (Mode::Restoring, _) if request.whole => all(undivided(view, geometry, sectors)),
        (Mode::Restoring, op) => {
            let (unrestored, part) = same_answer(view.cdm, geometry, sectors);
            if unrestored {
                over_unrestored(geometry, op, part)
            } else {
                Plan {
                    route: marked_or_deferred(view.prm, geometry.met_by(part)),
                    sectors: part.len(),
                }
            }
        }
    }
}

/// A write where every extent is marked already goes at once; a first touch is recorded first.
fn marked_or_deferred<W>(map: &Bitmap<W>, extents: Run) -> Route
where
    W: Deref<Target = [AtomicU64]>,
{
    if map.all_set(extents) {
        Route::Source
    } else {
        Route::Defer
    }
}

/// A write that must not be cut: at once if nothing stands in its way anywhere.
fn undivided<W>(view: &View<'_, W>, geometry: &Geometry, sectors: Run) -> Route
where
    W: Deref<Target = [AtomicU64]>,
{
    let extents = geometry.met_by(sectors);
    if view.cdm.next_set(extents).is_some() {
        return Route::Defer;
    }
    marked_or_deferred(view.prm, extents)
}

/// Whether the request's first extent is unrestored, and the part of the request up to where that
/// changes.
fn same_answer<W>(cdm: &Bitmap<W>, geometry: &Geometry, sectors: Run) -> (bool, Run)
where
    W: Deref<Target = [AtomicU64]>,
{
    let extents = geometry.met_by(sectors);
    let unrestored = cdm.get(extents.start());
    let change = if unrestored {
        cdm.next_clear(extents)
    } else {
        cdm.next_set(extents)
    };
    let part = match change {
        Some(extent) => Run::between(sectors.start(), geometry.first_sector(extent)),
        None => sectors,
    };
    (unrestored, part)
}

/// The first part of a write or discard to unrestored extents: the extents it covers whole are
/// overwritten, a part of an extent at either end is a request of its own.
fn over_unrestored(geometry: &Geometry, op: Op, part: Run) -> Plan {
    let covered = geometry.sectors_of(geometry.covered_by(part));
    let partial = |end: u64| Plan {
        // A part of an extent cannot be discarded before the rest of it is there, and need not be.
        route: if op == Op::Discard {
            Route::Complete
        } else {
            Route::Defer
        },
        sectors: end.saturating_sub(part.start()),
    };
    if !covered.is_empty() && covered.start() == part.start() {
        return Plan {
            route: Route::Defer,
            sectors: covered.len(),
        };
    }
    let first = geometry.sectors_of(Run::one(geometry.extent_of(part.start())));
    partial(first.end().min(part.end()))
}

#[cfg(test)]
#[path = "../tests/plan.rs"]
mod tests;
