// SPDX-License-Identifier: GPL-2.0

//! The planner against a model that asks the behaviour table for every single sector.

use super::*;
use crate::engine::base::storage::{Heap, Storage};
use crate::engine::maps::{Maps, Role, State};
use proptest::prelude::*;

const LENGTH: u64 = 8 * 12 + 3; // the last extent is short

/// The answer for one sector of a request, straight from the table.
fn naive(
    state: State,
    cdm: &[bool],
    marked: &[bool],
    geometry: &Geometry,
    request: Request,
    sector: u64,
) -> Route {
    let extent = geometry.extent_of(sector);
    let i = extent as usize;
    let whole = request
        .sectors
        .covers(geometry.sectors_of(Run::one(extent)));
    match (state.mode, request.op) {
        (Mode::Unloaded, _) => Route::Fail,
        (Mode::Tracking, Op::Read) => Route::Source,
        (Mode::Restoring, Op::Read) if cdm[i] => Route::Clone,
        (Mode::Restoring, Op::Read) => Route::Source,
        (_, _) if state.failed => Route::Fail,
        (Mode::Restoring, Op::Discard) if cdm[i] && !whole => Route::Complete,
        (Mode::Restoring, _) if cdm[i] => Route::Defer,
        (_, _) if marked[i] => Route::Source,
        _ => Route::Defer,
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![Just(Op::Read), Just(Op::Write), Just(Op::Discard)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Cut after cut, every sector gets the table's answer, where a deferred part may also have
    /// sectors that could have gone at once (it is handled whole), and no cut is without need.
    #[test]
    fn every_sector_gets_its_answer(
        cdm in prop::collection::vec(any::<bool>(), 13),
        prm in prop::collection::vec(any::<bool>(), 13),
        restoring in any::<bool>(),
        swapped in any::<bool>(),
        failed in prop::bool::weighted(0.1),
        op in op(),
        start in 0..LENGTH,
        len in 1..LENGTH,
    ) {
        let geometry = Geometry::new(LENGTH, 8).unwrap();
        let words = || Heap::filled(1, || AtomicU64::new(0)).unwrap();
        let maps = Maps::new(geometry, [words(), words()]);
        let mode = if restoring { Mode::Restoring } else { Mode::Tracking };
        let state = State { mode, roles_swapped: swapped, failed };
        maps.set_state(state);
        for i in 0..13 {
            if cdm[i as usize] { maps.set(Role::Cdm, Run::one(i)) }
            if prm[i as usize] { maps.set(Role::Prm, Run::one(i)) }
        }
        let marked = if restoring { &prm } else { &cdm };
        let request = Request { op, sectors: Run::between(start, (start + len).min(LENGTH)), whole: false };
        let mut at = request.sectors.start();
        while at < request.sectors.end() {
            let rest = Request { sectors: Run::between(at, request.sectors.end()), ..request };
            let plan = plan(&maps.view(), &geometry, rest, true);
            prop_assert!(plan.sectors >= 1 && at + plan.sectors <= request.sectors.end());
            let part = Run::new(at, plan.sectors);
            let answers: Vec<_> = (part.start()..part.end())
                .map(|s| naive(state, &cdm, marked, &geometry, request, s)).collect();
            if plan.route == Route::Defer {
                prop_assert!(answers.contains(&Route::Defer));
                prop_assert!(answers.iter().all(|a| matches!(a, Route::Defer | Route::Source)));
            } else {
                prop_assert!(answers.iter().all(|a| *a == plan.route), "{:?} {:?}", plan, answers);
            }
            // Extents of one deferred part are all restored or all not.
            let bits: Vec<_> = (part.start()..part.end()).map(|s| cdm[geometry.extent_of(s) as usize]).collect();
            if restoring && op != Op::Read && !failed {
                prop_assert!(bits.iter().all(|b| *b == bits[0]));
            }
            at = part.end();
        }
        if !restoring || op == Op::Read {
            // Not cut at extents: as many parts as there are runs of equal answers.
            let whole = plan_len(&maps, &geometry, request);
            let first = naive(state, &cdm, marked, &geometry, request, request.sectors.start());
            if !restoring { prop_assert_eq!(whole, request.sectors.len()); }
            else {
                let same = (request.sectors.start()..request.sectors.end())
                    .take_while(|s| naive(state, &cdm, marked, &geometry, request, *s) == first).count() as u64;
                prop_assert_eq!(whole, same);
            }
        }
    }
}

fn plan_len<W: Deref<Target = [AtomicU64]>>(
    maps: &Maps<W>,
    geometry: &Geometry,
    request: Request,
) -> u64 {
    plan(&maps.view(), geometry, request, true).sectors
}

#[test]
fn discards_that_stay_here_change_nothing() {
    let geometry = Geometry::new(LENGTH, 8).unwrap();
    let words = || Heap::filled(1, || AtomicU64::new(0)).unwrap();
    let maps = Maps::new(geometry, [words(), words()]);
    for mode in [Mode::Tracking, Mode::Restoring] {
        maps.set_state(State {
            mode,
            ..State::UNLOADED
        });
        let request = Request {
            op: Op::Discard,
            sectors: Run::new(3, 50),
            whole: false,
        };
        assert_eq!(
            plan(&maps.view(), &geometry, request, false),
            Plan {
                route: Route::Complete,
                sectors: 50
            }
        );
    }
}

#[test]
fn a_large_read_of_a_restored_area_stays_one() {
    let geometry = Geometry::new(1 << 20, 8).unwrap();
    let words = || Heap::filled(1 << 11, || AtomicU64::new(0)).unwrap();
    let maps = Maps::new(geometry, [words(), words()]);
    maps.set_state(State {
        mode: Mode::Restoring,
        ..State::UNLOADED
    });
    maps.set(Role::Cdm, Run::between(1000, 1 << 17));
    let request = Request {
        op: Op::Read,
        sectors: Run::new(0, 2048),
        whole: false,
    };
    assert_eq!(
        plan(&maps.view(), &geometry, request, true),
        Plan {
            route: Route::Source,
            sectors: 2048
        }
    );
}

#[test]
fn an_atomic_write_is_never_cut() {
    let geometry = Geometry::new(LENGTH, 8).unwrap();
    let words = || Heap::filled(1, || AtomicU64::new(0)).unwrap();
    let maps = Maps::new(geometry, [words(), words()]);
    maps.set_state(State {
        mode: Mode::Restoring,
        ..State::UNLOADED
    });
    maps.set(Role::Cdm, Run::one(1));
    let request = Request {
        op: Op::Write,
        sectors: Run::new(4, 16),
        whole: true,
    };
    assert_eq!(
        plan(&maps.view(), &geometry, request, true),
        Plan {
            route: Route::Defer,
            sectors: 16
        }
    );
}
