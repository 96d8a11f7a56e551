// SPDX-License-Identifier: GPL-2.0

//! The engine: everything behind the fast path, as one state machine.
//!
//! The target calls it with what has happened (a request was deferred, a copy, a flush or a write
//! of metadata is done) and gets back what to do next. It never waits and never does I/O. One
//! caller at a time changes it (the target keeps it in a mutex); what the fast path looks at is in
//! [`Shared`], without a lock.
//!
//! Who waits for whom, so that nobody waits in a circle:
//!
//! ```text
//!   deferred write -> hold of a copy or an overwrite -> I/O on source and clone
//!   deferred write -> its batch in the journal       -> I/O on metadata
//!   host flush     -> source flush -> clears in the journal -> I/O on metadata
//!   journal batch  -> checkpoint (ring full)         -> I/O on metadata
//! ```
//!
//! Copies, overwrites and metadata I/O wait for nothing above them.

use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::base::storage::{NoMemory, Storage};
use crate::engine::copy::host_latency::Probe;
use crate::engine::copy::hot_reads::Wanted;
use crate::engine::copy::jobs::Copier;
use crate::engine::copy::pace::Pace;
use crate::engine::format::layout::Layout;
use crate::engine::format::samples::{Samples, Unstable};
use crate::engine::format::superblock::Superblock;
use crate::engine::format::table::Entry;
use crate::engine::identity::remembered::Remembered;
use crate::engine::maps::{Maps, Mode, Role};
use crate::engine::record::clears::Clears;
use crate::engine::record::first_touches::Touches;
use crate::engine::record::premark::Ahead;
use crate::engine::record::retry::Trouble;
use crate::engine::request::extent_locks::Holds;
use crate::engine::sync::cache::Cache;
use crate::engine::sync::flush_epochs::{Successes, Turns};
use crate::engine::sync::flushes::FlushPace;
use crate::engine::words::notices::{Failing, Notices, Tally};
use crate::engine::words::settings::{Features, Settings};

use crate::engine::base::atomics::{AtomicU64, Ordering};
use crate::engine::maps::bitmap::Bitmap;
use crate::engine::record::journal::Journal;

/// What the fast path looks at, without a lock.
pub struct Shared<S: Storage> {
    /// The maps.
    pub maps: Maps<S::Array<AtomicU64>>,
    /// Mirrors [`Clears::completed`]: a flush notes it when it is submitted.
    completed: AtomicU64,
    /// Mirrors [`Clears::durable`].
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
    /// Source flushes that have failed and were not taken in by [`Engine::take_ended`] yet.
    pub(in crate::engine) failing: AtomicU64,
    /// Source flushes under way.
    pub(in crate::engine) turns: Turns,
    /// What the host has read from the clone.
    pub(in crate::engine) wanted: Wanted,
    /// Whether the host is at work, and how long its requests take.
    pub probe: Probe,
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
            completed: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            undone: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            failed_flushes: AtomicU64::new(0),
            told_by_fua: AtomicU64::new(0),
            failing: AtomicU64::new(0),
            turns: Turns::new(),
            wanted: Wanted::new(),
            probe: Probe::new(),
            remembered: Remembered::new(),
            host_errors: [AtomicU64::new(0), AtomicU64::new(0)],
        })
    }

    /// What a flush that is submitted now covers.
    pub fn sync_point(&self) -> SyncPoint {
        // Pairs with the release in `publish_clears`: the data of every clear that is counted is on
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
        // Pairs with the release in `note_failed_flush`; the other is only changed by the worker.
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
        // Pairs with the release in `publish_clears`: the records are on the device.
        self.durable.load(Ordering::Acquire) >= point.mark
            && point.untold == 0
            && !point.unreported
            && losses == point.losses
            && losses == self.reported.load(Ordering::Relaxed)
    }

    /// Notes that the host has read these sectors from the clone: they are copied next. Returns whether
    /// the worker is to look.
    pub fn read_from_clone(&self, sectors: Run) -> bool {
        self.wanted.note(self.maps.geometry().met_by(sectors))
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
        // Pairs with the acquire in `losses`.
        self.losses.fetch_add(1, Ordering::Release);
        self.remembered.lost();
    }

    /// The same for a loss by a request that the host has not sent: it hears of it by its next flush,
    /// and by its next FUA write.
    pub(in crate::engine) fn count_loss_unheard(&self) {
        // Pairs with the acquire in `fua_point`.
        self.failed_flushes.fetch_add(1, Ordering::Release);
        self.count_loss();
    }

    /// Copies were undone that the host has not written to.
    pub(in crate::engine) fn count_undone(&self) {
        // Pairs with the acquire in `read_losses`.
        self.undone.fetch_add(1, Ordering::Release);
        self.remembered.lost();
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
    /// [`Engine::take_ended`] has taken it in nothing is settled by a look, and no success is believed.
    pub fn note_failed_flush(&self) {
        // Pairs with the acquire in `fua_point`.
        self.failed_flushes.fetch_add(1, Ordering::Release);
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

    /// Whether there was a loss since [`Shared::losses`] was `noted`. A write that was in flight
    /// meanwhile fails, though the source says that it has succeeded: its extents may be unrestored
    /// again, or copied over.
    pub fn lost_since(&self, noted: u64) -> bool {
        self.losses() != noted
    }
}

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
    /// For a flush that has succeeded: the batch with which that is believed, else 0.
    pub(in crate::engine) batch: u64,
}

impl SyncPoint {
    /// Losses at that point, for [`Shared::lost_since`].
    pub fn losses(self) -> u64 {
        self.losses
    }
}

/// The state of the metadata device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataMode {
    /// All is well.
    ReadWrite,
    /// A write has failed: nothing new can be recorded until the next load.
    ReadOnly,
    /// The truth on the device is unknown until the next load.
    Fail,
}

impl MetadataMode {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "rw",
            Self::ReadOnly => "ro",
            Self::Fail => "fail",
        }
    }
}

/// Failed requests since load, by device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Of the clone.
    pub clone: u64,
    /// Of the source.
    pub source: u64,
    /// Of the metadata device.
    pub metadata: u64,
}

/// The engine's state.
pub struct Engine<S: Storage> {
    pub(in crate::engine) geometry: Geometry,
    pub(in crate::engine) layout: Layout,
    /// As last written, or as it is to be written next.
    pub(in crate::engine) superblock: Superblock,
    pub(in crate::engine) table: S::Array<Entry>,
    pub(in crate::engine) journal: Journal,
    pub(in crate::engine) touches: Touches<S>,
    pub(in crate::engine) ahead: Ahead,
    pub(in crate::engine) clears: Clears<S>,
    pub(in crate::engine) holds: Holds<S>,
    pub(in crate::engine) copier: Copier<S>,
    pub(in crate::engine) pace: Pace,
    /// The slot table differs from the one on the device.
    pub(in crate::engine) table_changed: bool,
    /// The superblock on the device may say that the shutdown was clean.
    pub(in crate::engine) maybe_clean: bool,
    /// When the target flushes the source by itself.
    pub(in crate::engine) flush_pace: FlushPace,
    /// Successes that cannot be believed yet.
    pub(in crate::engine) successes: Successes,
    /// Whether metadata and source have a volatile cache in common.
    pub cache: Cache,
    /// Counts failures by which something may have been lost from the cache.
    pub(in crate::engine) cache_losses: u64,
    /// The kernel that has loaded the image has met one, and it was not taken in yet.
    pub(in crate::engine) lost_asleep: bool,
    /// The background copy waits: by message or feature.
    pub(in crate::engine) paused: bool,
    /// The background copy waits: the device is about to be suspended.
    pub(in crate::engine) quiesced: bool,
    /// The background copy waits: the machine goes to sleep.
    pub(in crate::engine) resting: bool,
    /// What has happened that `dmsetup wait` waits for.
    pub(in crate::engine) notices: Notices,
    /// What the restore that runs has come to.
    pub(in crate::engine) tally: Tally,
    /// What the copy has failed of last.
    pub(in crate::engine) failing: Failing,
    /// How requests to the metadata device fare.
    pub(in crate::engine) trouble: Trouble,
    /// What was loaded is in use: a checkpoint has taken it up.
    pub(in crate::engine) taken_up: bool,
    /// The features given.
    pub features: Features,
    /// The core args now.
    pub settings: Settings,
    /// Failed requests.
    pub errors: Errors,
    pub(in crate::engine) metadata_mode: MetadataMode,
}

impl<S: Storage> Engine<S> {
    /// An engine with nothing loaded.
    pub fn new(
        geometry: Geometry,
        features: Features,
        settings: Settings,
    ) -> Result<Self, NoMemory> {
        let layout = Layout::new(geometry.extents());
        Ok(Self {
            geometry,
            layout,
            superblock: Superblock {
                uuid: [0; 16],
                length: geometry.length(),
                extent_sectors: geometry.extent_sectors(),
                generation: 0,
                activation: 0,
                clean: true,
                roles_swapped: false,
                lost: false,
                mode: Mode::Tracking,
                tail: 0,
                chain: 0,
                table_area: 0,
                table_crc: 0,
                begun_with: 0,
                block_size: 0,
                clone_sectors: 0,
                clone: Samples::default(),
                source: Samples::default(),
                unstable: Unstable::default(),
            },
            table: S::filled(layout.entries() as usize, || Entry::ZEROS)?,
            journal: Journal::default(),
            touches: Touches::new()?,
            ahead: Ahead::default(),
            clears: Clears::new()?,
            holds: Holds::new()?,
            copier: Copier::new()?,
            pace: Pace::default(),
            table_changed: false,
            maybe_clean: false,
            flush_pace: FlushPace::default(),
            successes: Successes::default(),
            cache: Cache::default(),
            cache_losses: 0,
            lost_asleep: false,
            paused: features.no_copy,
            quiesced: true,
            resting: false,
            notices: Notices::default(),
            tally: Tally::default(),
            failing: Failing::default(),
            trouble: Trouble::new(),
            taken_up: false,
            features,
            settings,
            errors: Errors::default(),
            metadata_mode: MetadataMode::ReadWrite,
        })
    }

    /// Its extents.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Where things are on the metadata device.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The logical block size of the mapped device in bytes, fixed at format; 0: the metadata is blank.
    pub fn block_size(&self) -> u32 {
        self.superblock.block_size
    }

    /// The state of the metadata device.
    pub fn metadata_mode(&self) -> MetadataMode {
        self.metadata_mode
    }

    /// Extents restored, by copy or overwrite, in the restore that runs or ran last.
    pub fn restored(&self, shared: &Shared<S>) -> u64 {
        let begun_with = self.superblock.begun_with;
        match shared.maps.state().mode {
            Mode::Unloaded => 0,
            Mode::Tracking => begun_with,
            Mode::Restoring => begun_with.saturating_sub(shared.maps.count(Role::Cdm)),
        }
    }

    /// Extents being copied.
    pub fn copying(&self) -> u64 {
        self.copier.copying()
    }

    /// Marks the map blocks that `run` lies in, in the map of `role`, as changed.
    pub(in crate::engine) fn mark_dirty(
        &mut self,
        shared: &Shared<S>,
        role: Role,
        run: crate::engine::base::run::Run,
    ) {
        let number = shared.maps.number(role);
        for block in crate::engine::format::mapblock::blocks_of(run) {
            let entry = self.layout.entry(number, block);
            if let Some(entry) = self.table.get_mut(entry as usize) {
                entry.dirty = true;
            }
        }
    }

    /// Lets the fast path see how far the clears have come.
    pub(in crate::engine) fn publish_clears(&self, shared: &Shared<S>) {
        // Pairs with the acquire in `sync_point`.
        shared
            .completed
            .store(self.clears.completed(), Ordering::Release);
        // Pairs with the acquire in `is_settled`.
        shared
            .durable
            .store(self.clears.durable(), Ordering::Release);
    }

    /// Counts a request of the target's own, or a flush, that the source has failed.
    pub(in crate::engine) fn count_source_error(&mut self) {
        self.errors.source = self.errors.source.saturating_add(1);
    }

    /// Counts a request to the metadata device that has failed, and is tried again or not.
    pub fn count_metadata_error(&mut self) {
        self.errors.metadata = self.errors.metadata.saturating_add(1);
    }

    /// A write of metadata has failed for good.
    pub(in crate::engine) fn metadata_lost(&mut self, shared: &Shared<S>, mode: MetadataMode) {
        if self.metadata_mode == MetadataMode::Fail || self.metadata_mode == mode {
            return;
        }
        self.metadata_mode = mode;
        self.note_metadata_mode();
        self.trouble.given_up();
        if mode == MetadataMode::Fail {
            let state = shared.maps.state();
            shared.maps.set_state(crate::engine::maps::State {
                failed: true,
                ..state
            });
        }
    }
}
