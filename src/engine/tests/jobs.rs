// SPDX-License-Identifier: GPL-2.0

//! The choice of copies: coalescing, holds, finding bad extents, stalls.

use super::*;
use crate::engine::base::storage::Heap;

const SECOND: u64 = 1_000_000_000;

const OK: CopyResult = CopyResult {
    read_error: false,
    write_error: false,
};
const BAD: CopyResult = CopyResult {
    read_error: true,
    write_error: false,
};

struct World {
    jobs: Jobs<Heap>,
    extent_locks: ExtentLocks<Heap>,
    geometry: Geometry,
    cdm: Bitmap<Vec<AtomicU64>>,
}

fn world(set: &[Run]) -> World {
    let geometry = Geometry::new(8 * 200, 8).unwrap();
    let cdm = Bitmap::new((0..4).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
    set.iter().for_each(|run| {
        cdm.set(*run);
    });
    World {
        jobs: Jobs::new().unwrap(),
        extent_locks: ExtentLocks::new().unwrap(),
        geometry,
        cdm,
    }
}

impl World {
    fn next(&mut self, limit: u64, now: u64) -> Option<Copy> {
        let run = self.jobs.choose(
            &self.cdm,
            self.geometry.all(),
            &self.extent_locks,
            limit,
            now,
        )?;
        self.jobs.start(
            &mut self.extent_locks,
            &self.geometry,
            run,
            limit * 8,
            false,
            now,
        )
    }

    fn done(&mut self, copy: Copy, result: CopyResult, now: u64) -> Next {
        let next = self
            .jobs
            .done(&mut self.extent_locks, copy.job, result, now);
        if let Next::Done(ended) = next {
            self.cdm.clear(ended.extents);
            self.jobs.succeeded();
        }
        next
    }
}

#[test]
fn neighbours_are_copied_together_up_to_the_limit() {
    let mut world = world(&[Run::new(10, 20), Run::new(50, 1)]);
    let sectors: Vec<_> = std::iter::from_fn(|| world.next(16, 0))
        .map(|copy| copy.sectors)
        .collect();
    assert_eq!(
        sectors,
        [Run::new(80, 128), Run::new(208, 32), Run::new(400, 8)]
    );
}

#[test]
fn held_extents_are_left_alone() {
    let mut world = world(&[Run::new(0, 10)]);
    let hold = world.extent_locks.take(Run::new(4, 2)).unwrap();
    assert_eq!(world.next(16, 0).unwrap().sectors, Run::new(0, 32));
    assert_eq!(world.next(16, 0).unwrap().sectors, Run::new(48, 32));
    assert!(world.next(16, 0).is_none());
    world.extent_locks.release(hold);
    assert_eq!(world.next(16, 0).unwrap().sectors, Run::new(32, 16));
}

#[test]
fn a_bad_extent_is_found_and_the_rest_is_copied() {
    let mut world = world(&[Run::new(0, 16)]);
    let (mut copied, mut now) = (0, 0);
    for _ in 0..40 {
        let Some(copy) = world.next(8, now) else {
            break;
        };
        let bad = copy.sectors.contains(5 * 8);
        match world.done(copy, if bad { BAD } else { OK }, now) {
            Next::Done(ended) => copied += ended.extents.len(),
            Next::Failed(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (copied, world.cdm.count(), world.jobs.is_stalled()),
        (15, 1, false)
    );
    // It is tried again, but not at once.
    now = world.jobs.not_before();
    assert!(now > 0);
    assert_eq!(world.next(8, now).unwrap().sectors, Run::new(40, 8));
}

#[test]
fn a_dead_clone_stalls_the_copy_and_one_success_ends_it() {
    let mut world = world(&[Run::new(0, 100)]);
    let (mut now, mut attempts) = (0, 0);
    while now < 200 * SECOND {
        match world.next(8, now) {
            Some(copy) => {
                attempts += 1;
                world.done(copy, BAD, now);
            }
            None => now = world.jobs.not_before().max(now + 1),
        }
    }
    assert!(world.jobs.is_stalled());
    assert!(attempts < 60, "{attempts} attempts in 200 s");
    let copy = world.next(8, now + LONGEST_BACK_OFF).unwrap();
    assert!(
        world.next(8, now + 2 * LONGEST_BACK_OFF).is_none(),
        "one at a time"
    );
    world.done(copy, OK, now);
    assert!(!world.jobs.is_stalled());
    assert!(world.next(8, now).is_some());
}

#[test]
fn copies_under_way_when_it_stalls_do_not_lengthen_the_pause() {
    let mut world = world(&[Run::new(0, 40)]);
    let mut copies: Vec<_> = std::iter::from_fn(|| world.next(1, 0)).take(20).collect();
    let rest = copies.split_off(STALL_AFTER as usize);
    for copy in copies {
        assert!(!world.jobs.is_stalled());
        world.done(copy, BAD, SECOND);
    }
    assert!(world.jobs.is_stalled());
    let pause = world.jobs.not_before();
    for copy in rest {
        world.done(copy, BAD, SECOND);
    }
    assert_eq!(world.jobs.not_before(), pause);
}

#[test]
fn a_pass_is_judged_when_its_last_copy_is_done() {
    let mut world = world(&[Run::new(0, 4)]);
    let mut copies: Vec<_> = std::iter::from_fn(|| world.next(1, 0)).take(4).collect();
    world.done(copies.remove(0), BAD, 0);
    assert!(world.next(1, 0).is_none());
    assert!(!world.jobs.is_stalled(), "others may succeed");
    for copy in copies {
        world.done(copy, OK, 0);
    }
    assert!(world.next(1, 0).is_none());
    assert!(!world.jobs.is_stalled(), "others have succeeded");
    let now = world.jobs.not_before();
    let copy = world.next(1, now).unwrap();
    assert_eq!(copy.sectors, Run::new(0, 8));
    world.done(copy, BAD, now);
    assert!(world.next(1, now).is_none());
    assert!(world.jobs.is_stalled(), "a pass without success");
}

#[test]
fn an_extent_larger_than_a_copy_is_copied_in_pieces_and_cleared_once() {
    let mut world = world(&[Run::one(3)]);
    world.geometry = Geometry::new(100 * 64, 64).unwrap();
    let first = world
        .jobs
        .start(
            &mut world.extent_locks,
            &world.geometry,
            Run::one(3),
            24,
            false,
            0,
        )
        .unwrap();
    assert_eq!(first.sectors, Run::new(192, 24));
    assert_eq!(world.done(first, OK, 0), Next::Parked(0));
    assert_eq!((world.jobs.running(), world.jobs.background()), (0, 1));
    assert!(world.jobs.next_hurried_piece(0).is_none());
    world.jobs.hurry(Run::one(3));
    let second = world.jobs.next_hurried_piece(0).unwrap();
    assert_eq!((second.sectors, second.at_once), (Run::new(216, 24), true));
    assert_eq!(world.done(second, OK, 0), Next::Parked(0));
    let third = world.jobs.next_piece(0).unwrap();
    assert_eq!(third.sectors, Run::new(240, 16));
    assert!(matches!(world.done(third, OK, 0), Next::Done(ended) if ended.extents == Run::one(3)));
    assert!(world.extent_locks.is_empty());
}

#[test]
fn what_the_host_has_read_is_chosen_up_to_who_is_at_work() {
    let mut world = world(&[Run::new(10, 20)]);
    let chosen = |world: &World, wanted, limit| {
        let (cdm, holds) = (&world.cdm, &world.extent_locks);
        world.jobs.choose_wanted(cdm, wanted, holds, limit, 0)
    };
    assert_eq!(chosen(&world, Run::new(0, 5), 8), None, "restored");
    assert_eq!(chosen(&world, Run::new(8, 40), 8), Some(Run::new(10, 8)));
    assert_eq!(chosen(&world, Run::new(26, 40), 8), Some(Run::new(26, 4)));
    let hold = world.extent_locks.take(Run::new(15, 2)).unwrap();
    assert_eq!(chosen(&world, Run::new(12, 9), 8), Some(Run::new(12, 3)));
    assert_eq!(chosen(&world, Run::new(16, 4), 8), None, "held");
    world.extent_locks.release(hold);
}
