// SPDX-License-Identifier: GPL-2.0

//! Format, checkpoint and load: the order in which the target reads and writes blocks of metadata.

use super::devices::Op;
use super::disk::Fate;
use super::identity::Promised;
use super::params::Params;
use super::promise::Stop;
use super::world::World;
use crate::engine::base::geometry::Geometry;
use crate::engine::base::storage::Heap;
use crate::engine::format::bytes::is_zero;
use crate::engine::format::layout::{BLANK_BLOCKS, JOURNAL_BLOCKS, SUPERBLOCKS};
use crate::engine::format::superblock::Superblock;
use crate::engine::format::{Block, Refusal, BLOCK};
use crate::engine::machine::Engine;
use crate::engine::record::checkpoint::{Checkpoint, Progress, Step};
use crate::engine::record::load::{check_identity, NewMetadata};
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::shared::Shared;
use crate::engine::sync::cache::{Cache, MetadataFlush};
use crate::engine::words::settings::{Features, Settings};
use std::rc::Rc;

/// A checkpoint under way.
pub struct Running {
    checkpoint: Checkpoint,
    /// What was filled last: it may have to be written again.
    block: Block,
    /// When the next step is due.
    at: u64,
}

impl Running {
    /// One that has just begun.
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self {
            checkpoint,
            block: [0; BLOCK],
            at: 0,
        }
    }

    /// When the next step is due.
    pub(super) fn due(&self) -> u64 {
        self.at
    }
}

/// How a step of a checkpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// There is more to do.
    More,
    /// It is durable.
    Done,
    /// It has failed for good.
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
    let Some(superblock) = Superblock::find(&device[0], &device[1], || is_blank(device))? else {
        return Ok(None);
    };
    let (mut engine, shared) = blank(params, settings);
    let layout = *engine.layout();
    let geometry = Geometry::new(params.length, params.extent_sectors).unwrap();
    let sectors = device.len() as u64 * 8;
    check_identity(&superblock, &geometry, sectors, superblock.block_size)?;
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
    if params.passdown {
        engine.assume_unstable(&shared);
    }
    Ok(Some(Loaded {
        engine,
        shared,
        torn,
    }))
}

/// Whether nothing lies behind the superblocks where a blank device has nothing.
fn is_blank(device: &[Rc<Block>]) -> bool {
    let mut blank = device.iter().take(BLANK_BLOCKS as usize).skip(2);
    blank.all(|block| is_zero(&block[..]))
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
        let new = NewMetadata::plain(uuid, self.identical);
        self.engine.format(&self.shared, &new);
        self.engine.clone_is(self.clone_samples());
        self.promised = Promised::anew();
        self.sample_source(true);
        self.checkpoint_now(Checkpoint::formatting())?;
        self.checkpoint_now(Checkpoint::activation(None))?;
        Ok(())
    }

    /// A whole checkpoint, while the worker does nothing else. Returns whether it is durable.
    pub(super) fn checkpoint_now(&mut self, checkpoint: Checkpoint) -> Result<bool, Stop> {
        self.checkpoint = Some(Running::new(checkpoint));
        loop {
            let stepped = self.checkpoint_step()?;
            if stepped != Stepped::More {
                return Ok(stepped == Stepped::Done);
            }
            let due = self.checkpoint.as_ref().map_or(0, Running::due);
            self.now = self.now.max(due);
        }
    }

    /// The next step of the checkpoint under way, if there is one and its time has come.
    pub(super) fn checkpoint_step(&mut self) -> Result<Stepped, Stop> {
        let Some(running) = &mut self.checkpoint else {
            return Ok(Stepped::More);
        };
        if running.at > self.now {
            return Ok(Stepped::More);
        }
        let (engine, shared) = (&mut self.engine, &self.shared);
        let step = running.checkpoint.next(engine, shared, &mut running.block);
        let block = running.block;
        let ok = match step {
            Step::Write(place) => self.meta_write(place, block, false)?,
            Step::WriteFua(place) => self.meta_write(place, block, true)?,
            Step::Flush => self.meta_flush()?,
            Step::Wait => return Ok(Stepped::More),
            Step::Done => {
                self.checkpoint = None;
                return Ok(Stepped::Done);
            }
        };
        let Some(running) = &mut self.checkpoint else {
            return Ok(Stepped::More);
        };
        let (engine, shared) = (&mut self.engine, &self.shared);
        match running.checkpoint.done(engine, shared, ok, self.now) {
            Progress::Next => {}
            Progress::Again(at) => {
                self.stats.metadata_retries += 1;
                running.at = at;
            }
            Progress::Failed => {
                self.checkpoint = None;
                return Ok(Stepped::Failed);
            }
        }
        Ok(Stepped::More)
    }

    /// Whether a request to the metadata device fails that fails so `often`. It may be gone for a
    /// while then.
    pub(super) fn meta_fails(&mut self, often: u64) -> bool {
        if often == 0 {
            return false;
        }
        if self.now >= self.meta_gone_until {
            if !self.rng.per_mille(often) {
                return false;
            }
            let longest = self.rng.pick(&[0, 0, 0, 0, 300, 300, 3_000, 40_000]);
            let gone = self.rng.below(longest + 1);
            self.meta_gone_until = self.now + gone * 1_000_000;
        }
        self.stats.failed_metadata += 1;
        true
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
        let ok = !self.meta_fails(self.params.faults.meta_write);
        if ok {
            self.meta.write(place, block.clone());
        } else {
            let fate = Fate::any(&mut self.rng);
            self.meta.write_torn(place, block, fate, &mut self.rng);
        }
        ok
    }

    /// The data of a FUA write on a disk without FUA.
    pub(super) fn meta_write_half(&mut self, place: u64, block: &Rc<Block>) -> bool {
        let ok = !self.meta_fails(self.params.faults.meta_write);
        if ok {
            self.meta.write(place, block.clone());
        } else {
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
        // On two disks nothing is lost but what the target undoes.
        if self.params.cache == Cache::Unknown && self.params.one_disk {
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
        let ok = !self.meta_fails(self.params.faults.meta_flush);
        if ok {
            self.meta.flush();
            if self.params.one_disk && self.rng.below(2) == 0 {
                self.source.flush(submitted, &mut self.rng);
            }
        } else {
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
