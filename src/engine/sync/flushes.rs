// SPDX-License-Identifier: GPL-2.0

//! Source flushes: the host's and the target's own.
//!
//! A clear may go to the journal when a flush that was submitted after its data had completed has
//! succeeded. The host's flushes serve; when the host sends none, the target flushes by itself, so
//! that clears which are not durable stay few and young.

use crate::engine::base::storage::Storage;
use crate::engine::machine::Engine;
use crate::engine::maps::{Mode, Role};
use crate::engine::record::clears::MAX_CLEARS;
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::shared::Shared;
use crate::engine::sync::cache::Undone;
use crate::engine::sync::flush_pace::OLDEST;
use crate::engine::sync::sync_state::SyncPoint;
use crate::engine::words::notices::Failing;

/// Whether the target has to flush the source by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushNeed {
    /// No.
    None,
    /// At this time, if nothing else has until then.
    At(u64),
    /// Now.
    Now,
}

/// How a flush or a FUA write stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Everything it waited for is durable.
    Durable,
    /// Not yet.
    Waiting,
    /// It fails: a source flush was lost, or nothing can be recorded any more.
    Failed,
}

impl<S: Storage> Engine<S> {
    /// A source flush that noted `point` when it was submitted has succeeded. Returns the point with
    /// the batch that it is confirmed with.
    pub(in crate::engine) fn flush_succeeded(
        &mut self,
        shared: &Shared<S>,
        point: SyncPoint,
    ) -> SyncPoint {
        let batch = self.unconfirmed.add(point.mark);
        self.confirm(shared);
        SyncPoint { batch, ..point }
    }

    /// A FUA write has succeeded: it covers nothing but its own data. Returns its point with the batch
    /// that it is confirmed with.
    pub(in crate::engine) fn fua_succeeded(
        &mut self,
        shared: &Shared<S>,
        point: SyncPoint,
    ) -> SyncPoint {
        let batch = self.unconfirmed.add_fua();
        self.confirm(shared);
        SyncPoint { batch, ..point }
    }

    /// Takes what successful flushes have covered, as far as they can be confirmed now.
    pub(in crate::engine) fn confirm(&mut self, shared: &Shared<S>) {
        // In this order: whoever finds that the old ones have ended finds each of their failures noted.
        while self.unconfirmed.any()
            && shared.epochs.old_ended()
            && !shared.sync.has_untaken_failure()
        {
            if let Some(mark) = self.unconfirmed.confirm(&shared.epochs) {
                self.flushed(shared, mark);
            }
        }
    }

    /// All clears up to number `mark` are covered.
    fn flushed(&mut self, shared: &Shared<S>, mark: u64) {
        let was_stalled = self.is_stalled();
        self.clears.flushed(mark);
        self.flush_pace.succeeded();
        self.note_stall(shared, was_stalled);
    }

    /// A source flush has failed, the host's or the target's own, or a FUA write, which may be a
    /// flush too. What it should have covered is copied again; what is under way may have lost a part
    /// of its data, so copies begin anew, and reads and writes fail. The host's next flush fails in
    /// any case: the device may have dropped what it had acknowledged since this one was sent.
    pub(in crate::engine) fn flush_failed(&mut self, shared: &Shared<S>) {
        let was_stalled = self.is_stalled();
        self.failing = Failing::Flush;
        self.cache_lost();
        self.pause_flushes();
        self.undo(shared);
        self.note_stall(shared, was_stalled);
        shared.count_loss();
        shared.sync.take_failed_flush();
        self.confirm(shared);
    }

    /// If anything waits for a flush, no more is copied before one succeeds: it would be for nothing.
    fn pause_flushes(&mut self) {
        self.flush_pace.failed();
        self.flush_pace.stalled |= self.clears.completed() > self.clears.covered();
    }

    /// What no flush has covered is copied again.
    pub(in crate::engine) fn undo(&mut self, shared: &Shared<S>) -> Undone {
        self.jobs.flush_failed();
        let mut undone = Undone::Nothing;
        self.clears.flush_failed(|run| {
            // Before the host writes to an extent that is restored, it is marked.
            undone = undone.max(match shared.maps.view().prm.next_set(run) {
                Some(_) => Undone::Written,
                None if run.is_empty() => Undone::Nothing,
                None => Undone::Copied,
            });
            shared.maps.set(Role::Cdm, run);
        });
        undone
    }

    /// How a flush or FUA write that waits for `point` stands. `is_flush`: it tells the host of
    /// everything that was lost before it was submitted, not only of what was lost since. A FUA write
    /// tells of failed flushes once more: it may have come with one.
    pub(in crate::engine) fn settle_at(
        &mut self,
        shared: &Shared<S>,
        point: SyncPoint,
        is_flush: bool,
    ) -> Settled {
        if shared.sync.has_untaken_failure() || !self.unconfirmed.is_confirmed(point.batch) {
            return Settled::Waiting;
        }
        let untold = !is_flush && shared.sync.take_untold(point);
        // One that was submitted before the loss says nothing about writes that were acknowledged
        // between the two: then the next flush fails as well.
        if untold || shared.sync.lost_since(point.losses) {
            return Settled::Failed;
        }
        if is_flush && (shared.sync.take_unreported() || point.unreported) {
            return Settled::Failed;
        }
        if self.clears.durable() >= point.mark {
            Settled::Durable
        } else if self.metadata_mode == MetadataMode::ReadWrite {
            Settled::Waiting
        } else {
            Settled::Failed
        }
    }

    /// Whether a source flush of the target's own is due. `waited_for`: a FUA write waits for it.
    pub fn flush_need(&mut self, shared: &Shared<S>, now: u64, waited_for: bool) -> FlushNeed {
        let (completed, covered) = (self.clears.completed(), self.clears.covered());
        let uncovered = completed.saturating_sub(covered);
        if self.flush_pace.covered != covered || !self.flush_pace.any {
            self.flush_pace.covered = covered;
            self.flush_pace.since = now;
        }
        self.flush_pace.any = uncovered > 0;
        if uncovered == 0 || self.metadata_mode != MetadataMode::ReadWrite {
            return FlushNeed::None;
        }
        let last = shared.maps.state().mode == Mode::Restoring && shared.maps.count(Role::Cdm) == 0;
        let due = if waited_for || last || uncovered >= MAX_CLEARS / 4 {
            now
        } else {
            self.flush_pace.since.saturating_add(OLDEST)
        };
        // After a failure not before the pause is over, however urgent.
        let due = due.max(self.flush_pace.not_before);
        if now < due {
            return FlushNeed::At(due);
        }
        self.flush_pace.not_before = now.saturating_add(self.flush_pace.pause);
        FlushNeed::Now
    }
}

#[cfg(test)]
#[path = "../tests/flushes.rs"]
mod tests;
