// SPDX-License-Identifier: GPL-2.0

//! Which extents are copied next, and what follows when a copy is done or fails.
//!
//! The background goes through the clone delta map from front to back and around again, in runs of
//! neighbours up to `copy_size`. A run that fails is tried again extent by extent, to find the bad
//! ones; these are passed over and tried again with the next pass. When nothing makes progress the
//! copy is stalled: it tries one copy at a time, less and less often, until one succeeds. What the host
//! has just read from the clone comes before whatever the background would take next.

use crate::engine::base::atomics::AtomicU64;
use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::base::storage::{NoMemory, Storage};
use crate::engine::copy::job::{
    free_part, Copy, CopyResult, Ended, Job, Next, BACKGROUND_JOBS, URGENT_JOBS,
};
use crate::engine::maps::bitmap::Bitmap;
use crate::engine::request::extent_locks::ExtentLocks;
use core::ops::Deref;

/// So many failures in a row, with no success between them, are a stall.
const STALL_AFTER: u32 = 16;
/// The first pause after failures, and the longest.
const BACK_OFF: u64 = 1_000_000_000;
const LONGEST_BACK_OFF: u64 = 30 * BACK_OFF;

/// The state of the copying.
pub struct Jobs<S: Storage> {
    jobs: S::Array<Option<Job>>,
    background: usize,
    in_flight: u64,
    running: usize,
    urgent: usize,
    copying: u64,
    cursor: u64,
    /// Extents before this one are copied one by one.
    single_until: u64,
    failures: u32,
    pass_failed: bool,
    pass_succeeded: bool,
    back_off: u64,
    not_before: u64,
    stalled: bool,
}

impl<S: Storage> Jobs<S> {
    /// Nothing under way.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Self {
            jobs: S::filled(BACKGROUND_JOBS + URGENT_JOBS, || None)?,
            background: 0,
            in_flight: 0,
            running: 0,
            urgent: 0,
            copying: 0,
            cursor: 0,
            single_until: 0,
            failures: 0,
            pass_failed: false,
            pass_succeeded: false,
            back_off: BACK_OFF,
            not_before: 0,
            stalled: false,
        })
    }

    /// Begins anew, for a restore that begins or after a load.
    pub fn reset(&mut self) {
        self.cursor = 0;
        self.single_until = 0;
        self.failures = 0;
        self.pass_failed = false;
        self.pass_succeeded = false;
        self.back_off = BACK_OFF;
        self.not_before = 0;
        self.stalled = false;
    }

    /// Jobs of the background.
    pub fn background(&self) -> usize {
        self.background
    }

    /// Sectors that jobs of the background have in flight, or will have when it is their turn.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Background copies in flight.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Copies that host writes wait for, in flight.
    pub fn urgent(&self) -> usize {
        self.urgent
    }

    /// Extents being copied.
    pub fn copying(&self) -> u64 {
        self.copying
    }

    /// Whether nothing makes progress.
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Until when the background pauses after failures.
    pub fn not_before(&self) -> u64 {
        self.not_before
    }

    /// The next run for the background: neighbours of at most `limit` extents, none held. `None`
    /// if there is nothing to do now; [`Jobs::not_before`] may then have moved.
    pub fn choose<W>(
        &mut self,
        cdm: &Bitmap<W>,
        all: Run,
        holds: &ExtentLocks<S>,
        limit: u64,
        now: u64,
    ) -> Option<Run>
    where
        W: Deref<Target = [AtomicU64]>,
    {
        if now < self.not_before || (self.stalled && self.background > 0) {
            return None;
        }
        if let Some(run) = self.choose_from(cdm, all, holds, limit) {
            return Some(run);
        }
        if self.cursor == 0 || !self.end_pass(now) {
            return None;
        }
        self.choose_from(cdm, all, holds, limit)
    }

    fn choose_from<W>(
        &mut self,
        cdm: &Bitmap<W>,
        all: Run,
        holds: &ExtentLocks<S>,
        limit: u64,
    ) -> Option<Run>
    where
        W: Deref<Target = [AtomicU64]>,
    {
        let start = loop {
            let start = cdm.next_set(Run::between(self.cursor, all.end()))?;
            match holds.first_overlap(Run::one(start)) {
                Some(held) => self.cursor = held.end(),
                None => break start,
            }
        };
        let alone = start < self.single_until || self.stalled;
        let limit = if alone { 1 } else { limit.max(1) };
        let run = free_part(cdm, holds, Run::new(start, limit).intersection(all))?;
        self.cursor = run.end();
        Some(run)
    }

    /// What of `wanted` can be copied: its first unrestored neighbours, at most `limit` extents, unless
    /// somebody is at work there, or copies fail.
    pub fn choose_wanted<W>(
        &self,
        cdm: &Bitmap<W>,
        wanted: Run,
        holds: &ExtentLocks<S>,
        limit: u64,
        now: u64,
    ) -> Option<Run>
    where
        W: Deref<Target = [AtomicU64]>,
    {
        if now < self.not_before || self.stalled {
            return None;
        }
        let start = cdm.next_set(wanted)?;
        let run = Run::new(start, limit.max(1)).intersection(wanted);
        free_part(cdm, holds, run)
    }

    /// The end of the map is reached: whether the next pass may begin at once. A pass with failures
    /// is judged when its last copy is done: that one may succeed.
    fn end_pass(&mut self, now: u64) -> bool {
        if self.pass_failed && self.background > 0 {
            return false;
        }
        self.cursor = 0;
        self.single_until = 0;
        let failed = core::mem::take(&mut self.pass_failed);
        let succeeded = core::mem::take(&mut self.pass_succeeded);
        if failed {
            if !succeeded {
                self.stalled = true;
            }
            self.pause(now);
        }
        !failed
    }

    fn pause(&mut self, now: u64) {
        self.not_before = now.saturating_add(self.back_off);
        self.back_off = self.back_off.saturating_mul(2).min(LONGEST_BACK_OFF);
    }

    /// Starts a job for `extents`, in pieces of at most `piece` sectors. `None` if there is no
    /// free place or somebody holds an extent.
    pub fn start(
        &mut self,
        holds: &mut ExtentLocks<S>,
        geometry: &Geometry,
        extents: Run,
        piece: u64,
        urgent: bool,
        now: u64,
    ) -> Option<Copy> {
        let (first, places) = if urgent {
            (BACKGROUND_JOBS, URGENT_JOBS)
        } else {
            (0, BACKGROUND_JOBS)
        };
        let mut places = self.jobs.iter().skip(first).take(places);
        let place = places.position(Option::is_none)?.saturating_add(first);
        let hold = holds.take(extents)?;
        let sectors = geometry.sectors_of(extents);
        let job = Job {
            hold,
            extents,
            sectors,
            left: sectors,
            piece: piece.max(1),
            started_at: now,
            running: false,
            hurried: urgent,
            again: false,
        };
        let largest = job.largest();
        *self.jobs.get_mut(place)? = Some(job);
        self.copying = self.copying.saturating_add(extents.len());
        if !urgent {
            self.background = self.background.saturating_add(1);
            self.in_flight = self.in_flight.saturating_add(largest);
        }
        self.run(place, now)
    }

    /// A host write waits for whoever copies an extent of `run`: such jobs do not wait for their
    /// turn any more.
    pub fn hurry(&mut self, run: Run) {
        for job in self.jobs.iter_mut().flatten() {
            job.hurried |= job.extents.overlaps(run);
        }
    }

    /// A source flush has failed: what the jobs under way have copied may be lost, so they begin
    /// anew.
    pub fn flush_failed(&mut self) {
        for job in self.jobs.iter_mut().flatten() {
            if job.running {
                job.again = true;
            } else {
                job.left = job.sectors;
            }
        }
    }

    /// The next piece of a job that a host write waits for.
    pub fn next_hurried_piece(&mut self, now: u64) -> Option<Copy> {
        self.parked(|job| job.hurried, now)
    }

    /// The next piece of a job that waits for its turn.
    pub fn next_piece(&mut self, now: u64) -> Option<Copy> {
        self.parked(|_| true, now)
    }

    fn parked(&mut self, wanted: impl Fn(&Job) -> bool, now: u64) -> Option<Copy> {
        let is_parked =
            |job: &Option<Job>| job.as_ref().is_some_and(|job| !job.running && wanted(job));
        if self.copying == 0 {
            return None;
        }
        let place = self.jobs.iter().position(is_parked)?;
        self.run(place, now)
    }

    /// Lets the next piece of a job run.
    fn run(&mut self, place: usize, now: u64) -> Option<Copy> {
        let job = self.jobs.get_mut(place)?.as_mut()?;
        let urgent = place >= BACKGROUND_JOBS;
        let count = if urgent {
            &mut self.urgent
        } else {
            &mut self.running
        };
        *count = count.saturating_add(1);
        job.running = true;
        job.started_at = now;
        Some(Copy {
            job: place,
            sectors: job.next_piece(),
            at_once: urgent || job.hurried || self.running == 1,
        })
    }

    /// What a job copies, in extents, and the piece of it under way, in sectors.
    pub fn under_way(&self, place: usize) -> Option<(Run, Run)> {
        let job = self.jobs.get(place)?.as_ref()?;
        Some((job.extents, job.next_piece()))
    }

    /// Takes the result of a job's piece.
    pub fn done(
        &mut self,
        holds: &mut ExtentLocks<S>,
        place: usize,
        result: CopyResult,
        now: u64,
    ) -> Next {
        let urgent = place >= BACKGROUND_JOBS;
        let Some(mut job) = self.jobs.get_mut(place).and_then(Option::take) else {
            return Next::Unknown;
        };
        let count = if urgent {
            &mut self.urgent
        } else {
            &mut self.running
        };
        *count = count.saturating_sub(1);
        job.running = false;
        let since = job.started_at;
        if result.is_ok() {
            let done = job.left.start().saturating_add(job.piece);
            job.left = if core::mem::take(&mut job.again) {
                job.sectors
            } else {
                Run::between(done, job.left.end())
            };
            if let (false, Some(free)) = (job.left.is_empty(), self.jobs.get_mut(place)) {
                *free = Some(job);
                return Next::Parked(since);
            }
        }
        let largest = job.largest();
        let ended = Ended {
            extents: holds.release(job.hold),
            urgent,
            started_at: since,
        };
        self.copying = self.copying.saturating_sub(job.extents.len());
        if !urgent {
            self.background = self.background.saturating_sub(1);
            self.in_flight = self.in_flight.saturating_sub(largest);
        }
        if result.is_ok() {
            return Next::Done(ended);
        }
        if !urgent {
            self.failed(ended.extents, now);
        }
        Next::Failed(ended)
    }

    /// Notes that something was copied: this ends a stall.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.pass_succeeded = true;
        self.back_off = BACK_OFF;
        if self.stalled {
            self.not_before = 0;
        }
        self.stalled = false;
    }

    fn failed(&mut self, extents: Run, now: u64) {
        if extents.len() > 1 {
            self.cursor = self.cursor.min(extents.start());
            self.single_until = self.single_until.max(extents.end());
            return;
        }
        self.pass_failed = true;
        self.failures = self.failures.saturating_add(1);
        if now < self.not_before {
            // It was under way when the pause began, and says nothing new.
            return;
        }
        if self.stalled || self.failures >= STALL_AFTER {
            self.stalled = true;
            self.pause(now);
        }
    }
}

#[cfg(test)]
#[path = "../tests/jobs.rs"]
mod tests;
