// SPDX-License-Identifier: GPL-2.0

//! What requests look at without a lock, beside the engine.

use crate::engine::base::atomics::{AtomicU64, Ordering};
use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::base::storage::{NoMemory, Storage};
use crate::engine::copy::host_latency::HostLatency;
use crate::engine::copy::hot_reads::HotReads;
use crate::engine::identity::remembered::Remembered;
use crate::engine::maps::bitmap::Bitmap;
use crate::engine::maps::Maps;
use crate::engine::sync::flush_epochs::Epochs;
use crate::engine::sync::sync_state::SyncState;

/// What the fast path looks at, without a lock.
pub struct Shared<S: Storage> {
    /// The maps.
    pub maps: Maps<S::Array<AtomicU64>>,
    /// What is durable, and what was lost.
    pub sync: SyncState,
    /// Source flushes under way.
    pub(in crate::engine) epochs: Epochs,
    /// What the host has read from the clone.
    pub(in crate::engine) hot_reads: HotReads,
    /// Whether the host is at work, and how long its requests take.
    pub host_latency: HostLatency,
    /// Where the host has touched the source, and what is not stable there.
    pub(in crate::engine) remembered: Remembered,
    /// Requests of the host that the source and the clone have failed.
    host_errors: [AtomicU64; 2],
}

impl<S: Storage> Shared<S> {
    /// Maps for `geometry`, nothing loaded.
    pub fn new(geometry: Geometry) -> Result<Self, NoMemory> {
        let words = Bitmap::<S::Array<AtomicU64>>::words_for(geometry.extents());
        let zeroed = || S::filled(words, || AtomicU64::new(0));
        Ok(Self {
            maps: Maps::new(geometry, [zeroed()?, zeroed()?]),
            sync: SyncState::new(),
            epochs: Epochs::new(),
            hot_reads: HotReads::new(),
            host_latency: HostLatency::new(),
            remembered: Remembered::new(),
            host_errors: [AtomicU64::new(0), AtomicU64::new(0)],
        })
    }

    /// Notes that the host has read these sectors from the clone: they are copied next. Returns whether
    /// the worker is to look.
    pub fn read_from_clone(&self, sectors: Run) -> bool {
        self.hot_reads.note(self.maps.geometry().met_by(sectors))
    }

    /// What these sectors of the source hold may change by itself from now on: a discard goes there or
    /// has ended, or a write has failed. Any context.
    pub fn note_unstable(&self, sectors: Run) {
        self.remembered
            .forget(sectors, self.maps.geometry().length());
    }

    /// Counts a request that the source, or else the clone, has failed.
    pub fn count_error(&self, of_clone: bool) {
        let [source, clone] = &self.host_errors;
        let count = if of_clone { clone } else { source };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::engine) fn host_errors(&self) -> [u64; 2] {
        let [source, clone] = &self.host_errors;
        [
            source.load(Ordering::Relaxed),
            clone.load(Ordering::Relaxed),
        ]
    }

    pub(in crate::engine) fn count_loss(&self) {
        self.sync.count_loss();
        self.remembered.lost();
    }

    /// The same for a loss by a request that the host has not sent: it hears of it by its next flush,
    /// and by its next FUA write.
    pub(in crate::engine) fn count_loss_unheard(&self) {
        self.sync.count_failed_flush();
        self.count_loss();
    }

    /// Copies were undone that the host has not written to.
    pub(in crate::engine) fn count_undone(&self) {
        self.sync.count_undone();
        self.remembered.lost();
    }
}
