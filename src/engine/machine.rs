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
use crate::engine::base::storage::{NoMemory, Storage};
use crate::engine::copy::jobs::Jobs;
use crate::engine::copy::pace::Pace;
use crate::engine::format::items::Unstable;
use crate::engine::format::layout::Layout;
use crate::engine::format::samples::Samples;
use crate::engine::format::superblock::Superblock;
use crate::engine::format::table::Entry;
use crate::engine::maps::{Mode, Role};
use crate::engine::record::attempts::Trouble;
use crate::engine::record::clears::Clears;
use crate::engine::record::first_touches::FirstTouches;
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::record::premark::Premark;
use crate::engine::request::extent_locks::ExtentLocks;
use crate::engine::shared::Shared;
use crate::engine::sync::cache::Cache;
use crate::engine::sync::flush_epochs::Unconfirmed;
use crate::engine::sync::flush_pace::FlushPace;
use crate::engine::words::notices::Errors;
use crate::engine::words::notices::{Failing, Notices, Tally};
use crate::engine::words::settings::{Features, Settings};

use crate::engine::record::journal::Journal;

/// The engine's state.
pub struct Engine<S: Storage> {
    pub(in crate::engine) geometry: Geometry,
    pub(in crate::engine) layout: Layout,
    /// As last written, or as it is to be written next.
    pub(in crate::engine) superblock: Superblock,
    pub(in crate::engine) table: S::Array<Entry>,
    pub(in crate::engine) journal: Journal,
    pub(in crate::engine) first_touches: FirstTouches<S>,
    pub(in crate::engine) premark: Premark,
    pub(in crate::engine) clears: Clears<S>,
    pub(in crate::engine) extent_locks: ExtentLocks<S>,
    pub(in crate::engine) jobs: Jobs<S>,
    pub(in crate::engine) pace: Pace,
    /// The slot table differs from the one on the device.
    pub(in crate::engine) table_changed: bool,
    /// The superblock on the device may say that the shutdown was clean.
    pub(in crate::engine) maybe_clean: bool,
    /// When the target flushes the source by itself.
    pub(in crate::engine) flush_pace: FlushPace,
    /// Successes that cannot be confirmed yet.
    pub(in crate::engine) unconfirmed: Unconfirmed,
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
            first_touches: FirstTouches::new()?,
            premark: Premark::default(),
            clears: Clears::new()?,
            extent_locks: ExtentLocks::new()?,
            jobs: Jobs::new()?,
            pace: Pace::default(),
            table_changed: false,
            maybe_clean: false,
            flush_pace: FlushPace::default(),
            unconfirmed: Unconfirmed::default(),
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
        self.jobs.copying()
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
        shared
            .sync
            .publish(self.clears.completed(), self.clears.durable());
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
