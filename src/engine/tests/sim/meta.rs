// SPDX-License-Identifier: GPL-2.0

//! Format, checkpoint and load: the order in which the target reads and writes blocks of metadata.

use super::devices::Op;
use super::disk::Fate;
use super::params::Params;
use super::promise::Stop;
use super::world::World;
use crate::cache::{Cache, MetadataFlush};
use crate::checkpoint::{Checkpoint, Purpose, Step};
use crate::format::fingerprint::Fingerprint;
use crate::format::layout::{JOURNAL_BLOCKS, SUPERBLOCKS};
use crate::format::superblock::Superblock;
use crate::format::{Block, Refusal, BLOCK};
use crate::geometry::Geometry;
use crate::load::check_identity;
use crate::machine::{Engine, MetadataMode, Shared};
use crate::settings::{Features, Settings};
use crate::storage::Heap;
use std::rc::Rc;

/// The clone's fingerprint: its content is not looked at here.
pub fn fingerprint() -> Fingerprint {
    Fingerprint::new(CLONE_SECTORS)
}

/// Sectors of the clone.
const CLONE_SECTORS: u64 = 1 << 30;

/// How a step of a checkpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to write.
    More,
    /// It is durable.
    Done,
    /// A write has failed.
    Failed,
}

/// What was loaded.
pub struct Loaded {
    /// The engine.
    pub engine: Engine<Heap>,
    /// What requests look at.
    pub shared: Shared<Heap>,
    /// A torn journal block that is to be zeroed.
    pub torn: Option<u64>,
}

/// An engine that has loaded nothing.
pub fn blank(params: &Params, settings: Settings) -> (Engine<Heap>, Shared<Heap>) {
    let geometry = Geometry::new(params.length, params.extent_sectors).unwrap();
    let mut engine = Engine::new(geometry, Features::default(), settings).unwrap();
    engine.cache = params.cache;
    (engine, Shared::new(geometry).unwrap())
}

/// Loads metadata from the blocks that `device` has; `None` if it is not formatted.
pub fn load(
    device: &[Rc<Block>],
    params: &Params,
    settings: Settings,
) -> Result<Option<Loaded>, Refusal> {
    let Some(superblock) = Superblock::choose(&device[0], &device[1])? else {
        return Ok(None);
    };
    let (mut engine, shared) = blank(params, settings);
    let layout = *engine.layout();
    let geometry = Geometry::new(params.length, params.extent_sectors).unwrap();
    let sectors = device.len() as u64 * 8;
    check_identity(
        &superblock,
        &geometry,
        layout.sectors(),
        sectors,
        CLONE_SECTORS,
    )?;
    engine.adopt(&shared, superblock);
    let (mut crc, mut index) = (0, 0);
    while let Some(place) = engine.table_place(index) {
        crc = engine.load_table(index, &device[place as usize], crc)?;
        index += 1;
    }
    engine.check_table(crc)?;
    for entry in 0..layout.entries() {
        if let Some(place) = engine.map_place(&shared, entry) {
            engine.load_map(&shared, entry, &device[place as usize])?;
        }
    }
    let torn = engine.replay(&shared, |i| {
        assert!(i < JOURNAL_BLOCKS);
        Some(&*device[(SUPERBLOCKS + i) as usize])
    })?;
    Ok(Some(Loaded {
        engine,
        shared,
        torn,
    }))
}

impl World {
    /// Formats a blank device: a checkpoint for a clean shutdown, then an activation.
    pub(super) fn format(&mut self) -> Result<(), Stop> {
        let (engine, shared) = blank(&self.params, self.settings);
        (self.engine, self.shared) = (engine, shared);
        if self.identical {
            self.settle_clone();
        }
        // Sooner around the end of the ring.
        let start = self.rng.pick(&[0, JOURNAL_BLOCKS - 16]);
        self.engine.journal.sequence = self.rng.below(JOURNAL_BLOCKS - start) + start;
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&self.rng.bits().to_le_bytes());
        let clone = fingerprint();
        self.engine
            .format(&self.shared, uuid, clone, self.identical);
        self.checkpoint_now(Checkpoint::new(Purpose::Suspended))?;
        self.checkpoint_now(Checkpoint::activation(None))?;
        Ok(())
    }

    /// A whole checkpoint, while the worker does nothing else. Returns whether it is durable.
    pub(super) fn checkpoint_now(&mut self, mut checkpoint: Checkpoint) -> Result<bool, Stop> {
        self.checkpoint = Some(checkpoint);
        loop {
            let progress = self.checkpoint_step(&mut checkpoint)?;
            if progress != Progress::More {
                self.checkpoint = None;
                return Ok(progress == Progress::Done);
            }
        }
    }

    /// The next step of a checkpoint.
    pub(super) fn checkpoint_step(&mut self, ckpt: &mut Checkpoint) -> Result<Progress, Stop> {
        let mut block = [0; BLOCK];
        let ok = match ckpt.next(&mut self.engine, &self.shared, &mut block) {
            Step::Write(place) => self.meta_write(place, block, false)?,
            Step::WriteFua(place) => self.meta_write(place, block, true)?,
            Step::Flush => self.meta_flush()?,
            Step::Wait => return Ok(Progress::More),
            Step::Done => return Ok(Progress::Done),
        };
        if ok {
            return Ok(Progress::More);
        }
        self.engine.checkpoint_failed(&self.shared, ckpt);
        Ok(Progress::Failed)
    }

    /// Writes one block and waits for it. A crash may come at any point.
    fn meta_write(&mut self, place: u64, block: Block, fua: bool) -> Result<bool, Stop> {
        let block = Rc::new(block);
        self.trace(|| format!("metadata write {place} fua {fua}"));
        self.meta_coming = Some((place, block.clone()));
        self.crash_here()?;
        self.meta_coming = None;
        let sent = fua.then(|| self.engine.metadata_flush_sent(&self.shared));
        let ok = if fua {
            self.meta_write_fua(place, &block)
        } else {
            self.meta_write_plain(place, &block)
        };
        self.trace(|| format!("ok {ok}"));
        if let Some(sent) = sent {
            self.metadata_flush_ended(sent, ok);
        }
        if ok {
            self.crash_here()?;
        }
        Ok(ok)
    }

    fn meta_write_plain(&mut self, place: u64, block: &Rc<Block>) -> bool {
        let ok = !self.rng.per_mille(self.params.faults.meta_write);
        if ok {
            self.meta.write(place, block.clone());
        } else {
            self.stats.failed_metadata += 1;
            let fate = Fate::any(&mut self.rng);
            self.meta.write_torn(place, block, fate, &mut self.rng);
        }
        ok
    }

    /// The data of a FUA write on a disk without FUA.
    pub(super) fn meta_write_half(&mut self, place: u64, block: &Rc<Block>) -> bool {
        let ok = !self.rng.per_mille(self.params.faults.meta_write);
        if ok {
            self.meta.write(place, block.clone());
        } else {
            self.stats.failed_metadata += 1;
            let fate = Fate::any(&mut self.rng);
            self.meta.write_fua_torn(place, block, fate, &mut self.rng);
        }
        ok
    }

    fn meta_write_fua(&mut self, place: u64, block: &Rc<Block>) -> bool {
        if self.params.has_fua {
            return self.execute_commit(place, block);
        }
        let ok = self.meta_write_half(place, block);
        // The source goes on meanwhile.
        for _ in 0..self.rng.below(3) {
            self.some_flush();
        }
        ok && self.execute_meta_flush(self.tick + 1)
    }

    /// Some flush or FUA write of the source is done, but not reported.
    fn some_flush(&mut self) {
        let flushes = |op: &Op| op.done.is_none() && (op.half || op.is_flush());
        if let Some(i) = self.ops.iter().position(flushes) {
            self.execute(i);
        }
    }

    /// The end of a request to the metadata device that is or contains a flush.
    pub(super) fn metadata_flush_ended(&mut self, sent: MetadataFlush, ok: bool) {
        self.engine.metadata_flush_ended(&self.shared, sent, ok);
        if !ok && self.params.cache != Cache::Apart {
            self.metadata_has_failed();
        }
    }

    /// What was copied or overwritten may be gone, or has been undone.
    pub(super) fn metadata_has_failed(&mut self) {
        self.oracle.lost(None);
        self.delta.inexact();
        if self.params.cache == Cache::Unknown {
            self.oracle.told();
        }
    }

    fn meta_flush(&mut self) -> Result<bool, Stop> {
        self.crash_here()?;
        let sent = self.engine.metadata_flush_sent(&self.shared);
        let ok = self.execute_meta_flush(self.tick + 1);
        self.trace(|| format!("metadata flush ok {ok}"));
        self.metadata_flush_ended(sent, ok);
        self.crash_here()?;
        Ok(ok)
    }

    /// The disk flushes, for the metadata. With one cache all that was complete when this was
    /// `submitted` goes with it.
    pub(super) fn execute_meta_flush(&mut self, submitted: u64) -> bool {
        let ok = !self.rng.per_mille(self.params.faults.meta_flush);
        if ok {
            self.meta.flush();
            if self.params.one_disk && self.rng.below(2) == 0 {
                self.source.flush(submitted, &mut self.rng);
            }
        } else {
            self.stats.failed_metadata += 1;
            self.meta.flush_failed(&mut self.rng);
            // What it has not dropped it has written.
            self.meta.flush();
            self.metadata_dropped(submitted);
        }
        ok
    }

    /// A failed flush for the metadata may have dropped what the source has in the same cache.
    pub(super) fn metadata_dropped(&mut self, submitted: u64) {
        if self.params.one_disk {
            self.source.flush_failed(submitted, &mut self.rng);
            self.metadata_has_failed();
        }
    }

    /// Whether anything can be recorded.
    pub(super) fn recordable(&self) -> bool {
        self.engine.metadata_mode() == MetadataMode::ReadWrite
    }
}
