// SPDX-License-Identifier: GPL-2.0

//! What is durable on the source, and what was lost, as requests see it: without a lock.
//!
//! A flush or a FUA write notes a [`SyncPoint`] when it is sent. When it has ended, a look tells whether all
//! that the point waits for is durable and nothing was lost meanwhile.

use crate::engine::base::atomics::{AtomicU64, Ordering};

/// A point in the order of clears that a flush or a FUA write waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncPoint {
    pub(in crate::engine) mark: u64,
    pub(in crate::engine) losses: u64,
    /// The host had not been told of all of them. Another flush that was sent meanwhile may have done
    /// so since, but whoever waits for this one has not heard that.
    pub(in crate::engine) unreported: bool,
    /// For a FUA write: the number of the last failed flush, if none has told the host of it; else
    /// 0.
    pub(in crate::engine) untold: u64,
    /// For a flush that has succeeded: the batch with which that is confirmed, else 0.
    pub(in crate::engine) batch: u64,
}

impl SyncPoint {
    /// Losses at that point, for [`SyncState::lost_since`].
    pub fn losses(self) -> u64 {
        self.losses
    }
}

/// How far clears are durable, and counts of what was lost.
pub struct SyncState {
    /// Mirrors [`Clears::completed`](crate::engine::record::clears::Clears::completed): a flush notes it when it is submitted.
    completed: AtomicU64,
    /// Mirrors [`Clears::durable`](crate::engine::record::clears::Clears::durable).
    durable: AtomicU64,
    /// Counts source flushes that failed and lost what was to become durable.
    losses: AtomicU64,
    /// Counts failures that undid copies, but lost nothing that the host wrote.
    undone: AtomicU64,
    /// How many losses the host has been told of, by a flush of its own that failed.
    reported: AtomicU64,
    /// Counts source flushes that failed, and up to which of them a FUA write has told the host.
    /// Device-mapper splits a flush that comes with a write, forgets the flush's error, and sends
    /// the write all the same: whoever commits in this way hears of nothing unless the write fails too.
    failed_flushes: AtomicU64,
    told_by_fua: AtomicU64,
    /// Source flushes that have failed and were not taken in by `take_ended` yet.
    pub(in crate::engine) failing: AtomicU64,
}

impl SyncState {
    /// Nothing is durable yet, and nothing was lost.
    pub fn new() -> Self {
        Self {
            completed: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            undone: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            failed_flushes: AtomicU64::new(0),
            told_by_fua: AtomicU64::new(0),
            failing: AtomicU64::new(0),
        }
    }

    /// What a flush that is submitted now covers.
    pub fn sync_point(&self) -> SyncPoint {
        // Pairs with the release in `publish`: the data of every clear that is counted is on
        // the source, and a flush that is submitted from here on covers it.
        let mark = self.completed.load(Ordering::Acquire);
        let losses = self.losses();
        SyncPoint {
            mark,
            losses,
            // Relaxed: whoever reads too old a number fails once more.
            unreported: losses != self.reported.load(Ordering::Relaxed),
            untold: 0,
            batch: 0,
        }
    }

    /// What a FUA write that is sent now has to tell of and, when it is done, waits for.
    pub fn fua_point(&self) -> SyncPoint {
        // Pairs with the release in `count_failed_flush`; the other is only changed by the worker.
        let failed = self.failed_flushes.load(Ordering::Acquire);
        let told = self.told_by_fua.load(Ordering::Relaxed);
        SyncPoint {
            untold: if failed > told { failed } else { 0 },
            ..self.sync_point()
        }
    }

    /// `point` moved on to what is queued now, for what was recorded since.
    pub fn later(&self, point: SyncPoint) -> SyncPoint {
        SyncPoint {
            mark: self.sync_point().mark,
            ..point
        }
    }

    /// Whether all that `point` waits for is durable and nothing was lost: then a flush or FUA
    /// write that has succeeded on the source is done.
    pub fn is_settled(&self, point: SyncPoint) -> bool {
        // First: a failure is counted as a loss before it is taken in. So whoever finds none that is
        // not taken in finds its loss. The other way round both may be missed.
        if self.has_untaken_failure() {
            return false;
        }
        let losses = self.losses();
        // Pairs with the release in `publish`: the records are on the device.
        self.durable.load(Ordering::Acquire) >= point.mark
            && point.untold == 0
            && !point.unreported
            && losses == point.losses
            && losses == self.reported.load(Ordering::Relaxed)
    }

    /// Whether a loss is still to be reported to the host; it counts as reported from now on.
    pub(in crate::engine) fn take_unreported(&self) -> bool {
        let losses = self.losses();
        // Relaxed: whoever reads too old a number only leaves the flush to the worker.
        self.reported.swap(losses, Ordering::Relaxed) != losses
    }

    /// Whether a FUA write was sent behind a flush that has failed, of which none had told the host
    /// then; from now on one has.
    pub(in crate::engine) fn take_untold(&self, point: SyncPoint) -> bool {
        // Relaxed: only the worker changes it, and whoever reads too old a number fails once more.
        let told = self.told_by_fua.load(Ordering::Relaxed);
        self.told_by_fua
            .store(told.max(point.untold), Ordering::Relaxed);
        point.untold > 0
    }

    /// Notes that a source flush has failed, where its end is seen first. Until
    /// `take_ended` has taken it in nothing is settled by a look, and no success is confirmed.
    pub fn note_failed_flush(&self) {
        self.count_failed_flush();
        // Pairs with the acquire in `has_untaken_failure`.
        self.failing.fetch_add(1, Ordering::Release);
    }

    /// Whether a source flush has failed that was not taken in yet.
    pub(in crate::engine) fn has_untaken_failure(&self) -> bool {
        // Pairs with the release in `take_failed_flush`: whoever finds a failure taken in finds the
        // loss counted.
        self.failing.load(Ordering::Acquire) > 0
    }

    /// A failure is taken in, noted or not.
    pub(in crate::engine) fn take_failed_flush(&self) {
        // Nobody else takes failures in, so there is still one when it is taken off.
        let failing = self.failing.load(Ordering::Relaxed);
        if failing > 0 {
            // Pairs with the acquire in `has_untaken_failure`.
            self.failing.fetch_sub(1, Ordering::Release);
        }
    }

    /// Counts losses. A write notes it **before** the maps are looked at for it.
    pub fn losses(&self) -> u64 {
        // Pairs with the release in `count_loss`: whoever notes the loss as past sees its bits set.
        self.losses.load(Ordering::Acquire)
    }

    /// The same for a read: what it finds may be older than a copy that was undone.
    pub fn read_losses(&self) -> u64 {
        // As in `losses`. Both only grow, so their sum is the same only if both are.
        let undone = self.undone.load(Ordering::Acquire);
        undone.saturating_add(self.losses())
    }

    /// Whether there was a loss since [`SyncState::losses`] was `noted`. A write that was in flight
    /// meanwhile fails, though the source says that it has succeeded: its extents may be unrestored
    /// again, or copied over.
    pub fn lost_since(&self, noted: u64) -> bool {
        self.losses() != noted
    }

    /// Lets requests see how far the clears have come.
    pub(in crate::engine) fn publish(&self, completed: u64, durable: u64) {
        // Pairs with the acquire in `sync_point`.
        self.completed.store(completed, Ordering::Release);
        // Pairs with the acquire in `is_settled`.
        self.durable.store(durable, Ordering::Release);
    }

    /// Counts a loss.
    pub(in crate::engine) fn count_loss(&self) {
        // Pairs with the acquire in `losses`.
        self.losses.fetch_add(1, Ordering::Release);
    }

    /// Counts copies that were undone and that the host has not written to.
    pub(in crate::engine) fn count_undone(&self) {
        // Pairs with the acquire in `read_losses`.
        self.undone.fetch_add(1, Ordering::Release);
    }

    /// Counts a source flush that has failed.
    pub(in crate::engine) fn count_failed_flush(&self) {
        // Pairs with the acquire in `fua_point`.
        self.failed_flushes.fetch_add(1, Ordering::Release);
    }
}

impl Default for SyncState {
    fn default() -> Self {
        Self::new()
    }
}
