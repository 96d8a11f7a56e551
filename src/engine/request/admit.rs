// SPDX-License-Identifier: GPL-2.0

//! Deferred requests: what has to happen before a write or discard may go to the source.
//!
//! A deferred request is asked again whenever something it may wait for has happened, and is then
//! answered by the state it finds. It is handled whole, whatever mixture of extents it meets.

use crate::engine::base::atomics::AtomicU64;
use crate::engine::base::run::Run;
use crate::engine::base::storage::Storage;
use crate::engine::copy::job::Copy;
use crate::engine::machine::Engine;
use crate::engine::maps::bitmap::Bitmap;
use crate::engine::maps::{Mode, Role, View};
use crate::engine::record::clears::{Cause, Clear, MAX_CLEARS};
use crate::engine::record::first_touches::Batch;
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::request::extent_locks::HoldId;
use crate::engine::request::plan::{Op, Request};
use crate::engine::shared::Shared;
use core::ops::Deref;

/// Most runs of unrestored extents that one overwrite can record. It has one run when it comes, and
/// one more for each copy that was under way then; many more only if a source flush fails meanwhile,
/// and then the request fails too.
const MOST_RUNS: u64 = MAX_CLEARS / 2;

/// A deferred request and how far it has come.
#[derive(Debug)]
pub struct Ticket {
    request: Request,
    /// It waits for this batch of first touches.
    batch: Batch,
    /// It overwrites these extents, or waits to.
    hold: Option<HoldId>,
    /// Places in the queue of clears that are reserved for it.
    places: u64,
    /// It waits for the copy of this extent.
    wants: Option<u64>,
    /// The copy that it waited for has failed.
    failed: bool,
    /// Losses when it was mapped, see [`SyncState::lost_since`](crate::engine::sync::sync_state::SyncState::lost_since).
    losses: u64,
    /// Losses of the cache when it went to the source.
    cache_losses: u64,
}

impl Ticket {
    /// A request that was just deferred. `losses`: when it was mapped.
    pub fn new(request: Request, losses: u64) -> Self {
        Self {
            request,
            batch: Batch::default(),
            hold: None,
            places: 0,
            wants: None,
            failed: false,
            losses,
            cache_losses: 0,
        }
    }

    /// What was asked for.
    pub fn request(&self) -> Request {
        self.request
    }

    /// Whether [`Engine::completed`] has work to do for it when it is done.
    pub fn is_overwrite(&self) -> bool {
        self.hold.is_some()
    }

    /// A copy that a host write waited for has failed: if it was this one's, it fails too.
    pub fn copy_failed(&mut self, extents: Run) {
        if self.wants.is_some_and(|extent| extents.contains(extent)) {
            self.failed = true;
        }
    }
}

/// What a deferred request may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go to the source. When it is done, [`Engine::completed`] must be told.
    Go,
    /// It is complete, nothing changes.
    Complete,
    /// It fails.
    Fail,
    /// Wait and ask again.
    Wait,
    /// Make this copy, then ask again.
    Copy(Copy),
}

impl<S: Storage> Engine<S> {
    /// Asks what `ticket`'s request may do now.
    pub fn admit(&mut self, shared: &Shared<S>, ticket: &mut Ticket, now: u64) -> Admission {
        let answer = self.consider(shared, ticket, now);
        match answer {
            Admission::Fail | Admission::Complete => {
                self.let_go(ticket);
            }
            Admission::Go => {
                ticket.cache_losses = self.cache_losses;
                match ticket.request.op {
                    Op::Discard => shared.note_unstable(ticket.request.sectors),
                    Op::Write | Op::Read => shared.remembered.touch(ticket.request.sectors),
                }
            }
            Admission::Wait | Admission::Copy(_) => {}
        }
        answer
    }

    /// A request that had gone to the source is done. `ok`: it has succeeded, and no loss has taken
    /// the data along. Returns whether that is all: not if an overwrite can no longer be recorded, or
    /// may have been lost from the cache.
    pub fn completed(&mut self, shared: &Shared<S>, ticket: &mut Ticket, ok: bool) -> bool {
        let dropped = ticket.is_overwrite() && ticket.cache_losses != self.cache_losses;
        let ok = ok && !dropped;
        if self.metadata_mode == MetadataMode::ReadWrite {
            if ok {
                self.overwritten(shared, ticket);
            } else {
                self.may_land_later(shared, ticket);
            }
        }
        let given_up = self.let_go(ticket);
        ok && !given_up
    }

    /// An overwrite has failed. The device may not be done with it: if it lands behind a copy of its
    /// extents, they differ. So they count as touched, which is recorded ahead of that copy: clears
    /// become durable in order. The host need not wait for it.
    fn may_land_later(&mut self, shared: &Shared<S>, ticket: &mut Ticket) {
        let Some(hold) = &ticket.hold else {
            return;
        };
        // It was granted, so it has a place.
        let Some(left) = ticket.places.checked_sub(1) else {
            return;
        };
        ticket.places = left;
        let (run, cause) = (self.extent_locks.run(hold), Cause::Touched);
        shared.maps.set(Role::Prm, run);
        self.clears.push(Clear { run, cause });
        self.publish_clears(shared);
    }

    /// The host has overwritten what the ticket holds. Does nothing if that cannot be recorded run
    /// by run any more, because a failed flush has added some.
    fn overwritten(&mut self, shared: &Shared<S>, ticket: &mut Ticket) {
        let Some(hold) = ticket.hold.take() else {
            return;
        };
        if unrestored_runs(shared.maps.view().cdm, self.extent_locks.run(&hold)) > ticket.places {
            ticket.hold = Some(hold);
            return;
        }
        let held = self.extent_locks.release(hold);
        // Rule *together*: marked as the host's first, then no longer unrestored.
        shared.maps.set(Role::Prm, held);
        let mut left = held;
        while let Some(run) = next_unrestored(shared.maps.view().cdm, left) {
            ticket.places = ticket.places.saturating_sub(1);
            let cause = Cause::Overwritten;
            self.cleared(shared, Clear { run, cause });
            left = Run::between(run.end(), held.end());
        }
    }

    /// Clears delta bits whose data is on the source, and queues the record.
    pub(in crate::engine) fn cleared(&mut self, shared: &Shared<S>, clear: Clear) {
        // Queued first: a checkpoint that finds the bit clear also finds it queued, and so does
        // whoever notes a sync point after having seen the bit (pairs with `Bitmap::clear`).
        self.clears.push(clear);
        self.publish_clears(shared);
        shared.maps.clear(Role::Cdm, clear.run);
    }

    /// Gives back whatever the ticket has; returns whether it had a hold.
    fn let_go(&mut self, ticket: &mut Ticket) -> bool {
        self.clears.cancel(core::mem::take(&mut ticket.places));
        match ticket.hold.take() {
            Some(hold) => {
                self.extent_locks.release(hold);
                true
            }
            None => false,
        }
    }

    fn consider(&mut self, shared: &Shared<S>, ticket: &mut Ticket, now: u64) -> Admission {
        let view = shared.maps.view();
        let extents = self.geometry.met_by(ticket.request.sectors);
        // Another part of the same write may have been lost.
        let lost = shared.sync.lost_since(ticket.losses);
        if ticket.failed || lost || view.state.failed {
            return Admission::Fail;
        }
        match view.state.mode {
            Mode::Unloaded => Admission::Fail,
            Mode::Tracking => self.touch(&view, ticket, view.cdm.clear_hull(extents)),
            Mode::Restoring => self.consider_restoring(&view, ticket, extents, now),
        }
    }

    fn consider_restoring<W>(
        &mut self,
        view: &View<'_, W>,
        ticket: &mut Ticket,
        extents: Run,
        now: u64,
    ) -> Admission
    where
        W: Deref<Target = [AtomicU64]>,
    {
        let covered = self.geometry.covered_by(ticket.request.sectors);
        let unrestored = view.cdm.next_set(extents).is_some();
        if unrestored && self.metadata_mode != MetadataMode::ReadWrite {
            return Admission::Fail;
        }
        if let Some(extent) = first_partial(view.cdm, extents, covered) {
            // Who waits for a copy holds nothing that somebody else waits for.
            self.let_go(ticket);
            return self.fill_up(ticket, extent, now);
        }
        if unrestored_runs(view.cdm, covered) > MOST_RUNS {
            return Admission::Fail;
        }
        if !self.may_overwrite(view.cdm, ticket, covered) {
            return Admission::Wait;
        }
        // Extents under the hold are recorded when the data is there, the others before.
        let missing = if view.cdm.all_set(extents) {
            Run::EMPTY
        } else {
            view.prm.clear_hull(extents)
        };
        self.touch(view, ticket, missing)
    }

    /// An unrestored extent that the request covers in part: it is copied first.
    fn fill_up(&mut self, ticket: &mut Ticket, extent: u64, now: u64) -> Admission {
        if ticket.request.op == Op::Discard {
            return Admission::Complete;
        }
        match self.start_urgent(extent, now) {
            Some(copy) => {
                ticket.wants = Some(extent);
                Admission::Copy(copy)
            }
            None => {
                self.jobs.hurry(Run::one(extent));
                Admission::Wait
            }
        }
    }

    /// Holds the extents that the request covers whole, if any of them is unrestored; false if the
    /// request has to wait for that.
    fn may_overwrite<W>(&mut self, cdm: &Bitmap<W>, ticket: &mut Ticket, covered: Run) -> bool
    where
        W: Deref<Target = [AtomicU64]>,
    {
        let runs = unrestored_runs(cdm, covered);
        if runs == 0 {
            // Restored while it waited.
            self.let_go(ticket);
            return true;
        }
        if ticket.hold.is_none() {
            ticket.hold = self.extent_locks.queue(covered);
        }
        let is_granted = ticket
            .hold
            .as_ref()
            .is_some_and(|hold| self.extent_locks.is_granted(hold));
        if !is_granted {
            self.jobs.hurry(covered);
            return false;
        }
        let more = runs.saturating_sub(ticket.places);
        if !self.clears.reserve(more) {
            return false;
        }
        ticket.places = ticket.places.saturating_add(more);
        true
    }

    /// First touches of `missing` are recorded before the write goes, and with them what lies ahead of
    /// a sequential writer.
    fn touch<W>(&mut self, view: &View<'_, W>, ticket: &mut Ticket, missing: Run) -> Admission
    where
        W: Deref<Target = [AtomicU64]>,
    {
        if missing.is_empty() {
            return Admission::Go;
        }
        if self.metadata_mode != MetadataMode::ReadWrite {
            return Admission::Fail;
        }
        if self.first_touches.is_durable(ticket.batch) {
            let ahead = self.premark.of(view, &self.geometry, missing);
            if let Some(batch) = self.first_touches.gather(missing.hull(ahead)) {
                ticket.batch = batch;
                self.premark.note(missing, ahead);
            }
        }
        Admission::Wait
    }

    /// What was last marked ahead of a request. For tests: these extents may be marked though no
    /// request has met them.
    pub fn last_ahead(&self) -> Run {
        self.premark.last()
    }
}

/// The first run of unrestored extents in `within`.
fn next_unrestored<W>(cdm: &Bitmap<W>, within: Run) -> Option<Run>
where
    W: Deref<Target = [AtomicU64]>,
{
    let start = cdm.next_set(within)?;
    let rest = Run::between(start, within.end());
    Some(Run::between(
        start,
        cdm.next_clear(rest).unwrap_or(rest.end()),
    ))
}

/// How many places in the queue of clears the unrestored extents in `within` need.
fn unrestored_runs<W>(cdm: &Bitmap<W>, within: Run) -> u64
where
    W: Deref<Target = [AtomicU64]>,
{
    let (mut runs, mut left) = (0u64, within);
    while let Some(run) = next_unrestored(cdm, left) {
        runs = runs.saturating_add(1);
        left = Run::between(run.end(), within.end());
        if runs > MOST_RUNS {
            break;
        }
    }
    runs
}

/// The first unrestored extent of `extents` that is not among the `covered` ones. Only the first
/// and the last can be.
fn first_partial<W>(cdm: &Bitmap<W>, extents: Run, covered: Run) -> Option<u64>
where
    W: Deref<Target = [AtomicU64]>,
{
    let ends = [extents.start(), extents.end().saturating_sub(1)];
    ends.into_iter()
        .find(|extent| !covered.contains(*extent) && cdm.get(*extent))
}

#[cfg(test)]
#[path = "../tests/admit.rs"]
mod tests;
