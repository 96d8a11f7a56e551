// SPDX-License-Identifier: GPL-2.0

//! The copying: the background's next copy, copies that host writes wait for, and results.

use crate::engine::base::run::Run;
use crate::engine::base::storage::Storage;
use crate::engine::copy::job::Copy;
use crate::engine::copy::job::CopyResult;
use crate::engine::copy::job::Next;
use crate::engine::copy::job::BACKGROUND_JOBS;
use crate::engine::format::BLOCK_SECTORS;
use crate::engine::machine::Engine;
use crate::engine::maps::{Mode, Role};
use crate::engine::record::clears::{Cause, Clear, MAX_CLEARS};
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::shared::Shared;
use crate::engine::words::notices::Failing;
use crate::engine::words::settings::BadWord;

/// How much the background may have in flight.
struct Room {
    /// A multiple of `copy_jobs` copies of `copy_size`.
    times: u64,
    /// Smaller copies may be more, if they are not larger together, but not more than this.
    most: usize,
}

/// What is next in the map.
const IN_TURN: Room = Room {
    times: 1,
    most: BACKGROUND_JOBS / 2,
};
/// What the host has read: it reads with more than one request in flight, and whatever is not copied
/// before it comes again is read from the clone again.
const WANTED: Room = Room {
    times: 4,
    most: BACKGROUND_JOBS,
};

/// What the background does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Make this copy.
    Copy(Copy),
    /// Nothing before this time.
    NotBefore(u64),
    /// Nothing until something changes.
    Nothing,
}

/// What follows when a copy is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyOutcome {
    /// Waiting requests and the next copies may be looked at again.
    Settled,
    /// Requests that waited for the copy of these extents fail: tell their tickets.
    Failed(Run),
}

/// What the copy is doing, as the status line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// There is nothing to copy.
    Idle,
    /// Extents are being copied, or will be as soon as pace permits.
    Copying,
    /// It waits for `resume_copy`, for the device to be resumed, or for the machine to be awake.
    Paused,
    /// Nothing makes progress.
    Stalled,
}

impl Activity {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Copying => "copying",
            Self::Paused => "paused",
            Self::Stalled => "stalled",
        }
    }
}

impl<S: Storage> Engine<S> {
    /// The background's next copy.
    pub fn next_copy(&mut self, shared: &Shared<S>, now: u64) -> Background {
        if shared.host_latency.take_seen() {
            self.pace.host_seen(now);
        }
        self.pace.host_took(shared.host_latency.take_times());
        let next = self.choose_copy(shared, now);
        shared.host_latency.set_copying(self.jobs.running() > 0);
        next
    }

    fn choose_copy(&mut self, shared: &Shared<S>, now: u64) -> Background {
        if let Some(copy) = self.jobs.next_hurried_piece(now) {
            self.pace.started(now, copy.sectors.len(), &self.settings);
            return Background::Copy(copy);
        }
        let may_copy = self.activity(shared) != Activity::Idle && !self.held_back();
        shared.hot_reads.set_open(may_copy);
        shared.host_latency.set_open(may_copy);
        if !may_copy {
            return Background::Nothing;
        }
        if let Some(copy) = self.start_wanted(shared, now) {
            self.pace.started(now, copy.sectors.len(), &self.settings);
            return Background::Copy(copy);
        }
        let next_at = self.pace.next_at(now, self.jobs.running(), &self.settings);
        if next_at > now {
            return Background::NotBefore(next_at);
        }
        let was_stalled = self.is_stalled();
        let copy = self
            .jobs
            .next_piece(now)
            .or_else(|| self.start_background(shared, now));
        self.note_stall(shared, was_stalled);
        match copy {
            Some(copy) => {
                self.pace.started(now, copy.sectors.len(), &self.settings);
                Background::Copy(copy)
            }
            None if self.jobs.not_before() > now && self.jobs.running() == 0 => {
                Background::NotBefore(self.jobs.not_before())
            }
            None => Background::Nothing,
        }
    }

    fn held_back(&self) -> bool {
        // Half of the queue of clears is left to the host's overwrites.
        let crowded = self.clears.waiting() >= MAX_CLEARS / 2;
        let in_vain = self.flush_pace.is_stalled() || self.metadata_mode != MetadataMode::ReadWrite;
        self.is_stopped() || crowded || in_vain
    }

    fn is_stopped(&self) -> bool {
        self.paused || self.quiesced || self.resting
    }

    /// Whether nothing makes progress, because the clone or the source fails.
    pub(in crate::engine) fn is_stalled(&self) -> bool {
        self.jobs.is_stalled() || self.flush_pace.is_stalled()
    }

    fn start_background(&mut self, shared: &Shared<S>, now: u64) -> Option<Copy> {
        if !self.reserve_job(&IN_TURN) {
            return None;
        }
        let limit = self.geometry.extent_of(self.piece(now));
        let all = self.geometry.all();
        let cdm = shared.maps.view().cdm;
        let run = self.jobs.choose(cdm, all, &self.extent_locks, limit, now);
        self.start_job(run, now)
    }

    /// What the host has read from the clone comes first, and takes no turns with the host.
    fn start_wanted(&mut self, shared: &Shared<S>, now: u64) -> Option<Copy> {
        let limit = self.geometry.extent_of(self.piece(now));
        while self.pace.next_wanted_at(&self.settings) <= now && self.reserve_job(&WANTED) {
            let wanted = shared.hot_reads.take();
            let (cdm, holds) = (shared.maps.view().cdm, &self.extent_locks);
            let run =
                wanted.and_then(|wanted| self.jobs.choose_wanted(cdm, wanted, holds, limit, now));
            let copy = self.start_job(run, now);
            if copy.is_some() || wanted.is_none() {
                return copy;
            }
        }
        None
    }

    /// Whether the background may start a job; its place in the queue of clears is reserved then.
    fn reserve_job(&mut self, room: &Room) -> bool {
        let jobs = u64::from(self.settings.copy_jobs).saturating_mul(room.times);
        let sectors = jobs.saturating_mul(u64::from(self.settings.copy_size));
        let started = self.jobs.background();
        let has_room =
            (started as u64) < jobs || (started < room.most && self.jobs.in_flight() < sectors);
        has_room && self.clears.reserve(1)
    }

    /// Starts a job of the background's, or gives back what was reserved for it.
    fn start_job(&mut self, run: Option<Run>, now: u64) -> Option<Copy> {
        let (piece, geometry) = (self.piece(now), &self.geometry);
        let copy = run.and_then(|run| {
            self.jobs
                .start(&mut self.extent_locks, geometry, run, piece, false, now)
        });
        if copy.is_none() {
            self.clears.cancel(1);
        }
        copy
    }

    /// The largest single copy in sectors, in whole blocks of 4 KiB: a device may have such.
    fn piece(&self, now: u64) -> u64 {
        let largest = self.pace.largest(now);
        u64::from(self.settings.copy_size).min(largest) / BLOCK_SECTORS * BLOCK_SECTORS
    }

    /// Starts the copy of an extent that a host write waits for. It ignores pause and rates. `None`
    /// if somebody holds the extent or there is no place.
    pub(in crate::engine) fn start_urgent(&mut self, extent: u64, now: u64) -> Option<Copy> {
        if !self.clears.reserve(1) {
            return None;
        }
        let piece = self.piece(u64::MAX);
        let run = Run::one(extent);
        let copy = self.jobs.start(
            &mut self.extent_locks,
            &self.geometry,
            run,
            piece,
            true,
            now,
        );
        match copy {
            Some(copy) => self.pace.started(now, copy.sectors.len(), &self.settings),
            None => self.clears.cancel(1),
        }
        copy
    }

    /// What a copy is of, in extents, and what of it is under way, in sectors. For the log, before its
    /// result is taken.
    pub fn copy_under_way(&self, job: usize) -> Option<(Run, Run)> {
        self.jobs.under_way(job)
    }

    /// Takes the result of a copy.
    pub fn copy_done(
        &mut self,
        shared: &Shared<S>,
        job: usize,
        result: CopyResult,
        now: u64,
    ) -> CopyOutcome {
        self.count_errors(result);
        let was_stalled = self.is_stalled();
        let done = self.jobs.done(&mut self.extent_locks, job, result, now);
        shared.host_latency.set_copying(self.jobs.running() > 0);
        let outcome = match done {
            Next::Parked(since) => {
                self.pace.done(now, since);
                CopyOutcome::Settled
            }
            Next::Unknown => CopyOutcome::Settled,
            Next::Done(ended) => {
                if !ended.urgent {
                    self.pace.done(now, ended.started_at);
                }
                self.jobs.succeeded();
                let (run, cause) = (ended.extents, Cause::Copied);
                self.cleared(shared, Clear { run, cause });
                CopyOutcome::Settled
            }
            Next::Failed(ended) => {
                self.clears.cancel(1);
                if result.write_error {
                    shared.note_unstable(self.geometry.sectors_of(ended.extents));
                }
                if ended.urgent {
                    CopyOutcome::Failed(ended.extents)
                } else {
                    CopyOutcome::Settled
                }
            }
        };
        self.note_stall(shared, was_stalled);
        outcome
    }

    fn count_errors(&mut self, result: CopyResult) {
        if result.read_error {
            self.errors.clone = self.errors.clone.saturating_add(1);
            self.failing = Failing::Clone;
        }
        if result.write_error {
            self.count_source_error();
            self.failing = Failing::Source;
        }
    }

    /// What the copy is doing.
    pub fn activity(&self, shared: &Shared<S>) -> Activity {
        if shared.maps.state().mode != Mode::Restoring || shared.maps.count(Role::Cdm) == 0 {
            return Activity::Idle;
        }
        let recordable =
            self.metadata_mode == MetadataMode::ReadWrite && !self.trouble.is_failing();
        if self.is_stalled() || !recordable {
            return Activity::Stalled;
        }
        if self.is_stopped() {
            return Activity::Paused;
        }
        Activity::Copying
    }

    /// `pause_copy` and `resume_copy`.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Stops the background before a suspend, and lets it go on after a resume.
    pub fn quiesce(&mut self, quiesced: bool) {
        self.quiesced = quiesced;
    }

    /// Stops the background while the machine goes to sleep.
    pub fn rest(&mut self, resting: bool) {
        self.resting = resting;
    }

    /// Whether a copy of the background's is in flight.
    pub fn is_copying_behind(&self) -> bool {
        self.jobs.running() > 0
    }

    /// Whether the device is suspended, or about to be.
    pub fn is_quiesced(&self) -> bool {
        self.quiesced
    }

    /// Whether any copy is in flight.
    pub fn is_copying(&self) -> bool {
        self.jobs.running() > 0 || self.jobs.urgent() > 0
    }

    /// Changes a core arg.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), BadWord> {
        self.settings.set(key, value)?;
        self.pace.reset();
        Ok(())
    }
}

#[cfg(test)]
#[path = "../tests/choose.rs"]
mod tests;
