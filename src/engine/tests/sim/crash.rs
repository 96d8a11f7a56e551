// SPDX-License-Identifier: GPL-2.0

//! Crashes: points where one is only looked at, and those after which the life goes on.

use super::check::Mapped;
use super::devices::OpKind;
use super::disk::{CloneDisk, DataDisk, Fate, OnItsWay};
use super::meta::{self, Loaded};
use super::promise::{Broken, ExtentLocks, Promise, Stop};
use super::rng::Rng;
use super::world::{During, World};
use crate::engine::base::checksum::crc32c;
use crate::engine::format::Block;
use crate::engine::maps::{Mode, Role};
use crate::engine::record::checkpoint::Checkpoint;
use crate::engine::words::settings::Features;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// The disks as a crash may leave them.
struct Left {
    source: DataDisk,
    clone: CloneDisk,
    meta: Vec<Rc<Block>>,
}

impl World {
    /// Somewhere a crash may come: looks at crash points, and sometimes crashes.
    pub(super) fn crash_here(&mut self) -> Result<(), Stop> {
        if self.params.each_write {
            for fate in [Fate::Lost, Fate::Landed, Fate::Chance, Fate::Chance] {
                self.crash_point(fate)?;
            }
        } else {
            self.maybe_crash_point(3)?;
        }
        if self.rng.per_mille(self.params.crashes / 2) {
            return Err(Stop::Crash);
        }
        Ok(())
    }

    /// A crash point by chance: the oftener the more is at stake.
    pub(super) fn maybe_crash_point(&mut self, often: u64) -> ExtentLocks {
        let often = if self.is_in_mode_change() {
            often * 8
        } else {
            often
        };
        if self.fork_rng.per_mille(self.params.forks * often) {
            let fate = Fate::any(&mut self.fork_rng);
            self.crash_point(fate)?;
        }
        Ok(())
    }

    fn is_finishing(&self) -> bool {
        self.delta.restoring && self.shared.maps.count(Role::Cdm) == 0
    }

    fn is_in_mode_change(&self) -> bool {
        self.during.beginning || self.during.assuming || self.is_finishing()
    }

    /// What is on its way to the source.
    fn coming(&self) -> Vec<OnItsWay> {
        let mut coming = Vec::new();
        for late in &self.late {
            let sectors = late.sectors;
            coming.extend((sectors.start()..sectors.end()).map(|s| (s, late.stamp)));
        }
        for op in self.ops.iter().filter(|op| op.done.is_none()) {
            match &op.kind {
                OpKind::HostWrite { sectors, stamp, .. } if !op.half => {
                    coming.extend((sectors.start()..sectors.end()).map(|s| (s, *stamp)))
                }
                OpKind::Copy { copy, .. } => coming.extend(
                    (copy.sectors.start()..copy.sectors.end()).map(|s| (s, self.clone.read(s))),
                ),
                _ => {}
            }
        }
        coming
    }

    fn meta_on_its_way(&self) -> Option<(u64, Rc<Block>)> {
        let commit = self.ops.iter().find_map(|op| match &op.kind {
            OpKind::Commit { place, block } if op.done.is_none() && !op.half => {
                Some((*place, block.clone()))
            }
            _ => None,
        });
        self.meta_coming.clone().or(commit)
    }

    /// The disks as a crash now may leave them.
    fn crashed(&mut self, fate: Fate, rng: &mut Rng) -> Left {
        let media = self.source.after_crash(&self.coming(), fate, rng);
        let mut source = DataDisk::new(self.params.window, 0);
        source.restart(media);
        self.change_unstable(&mut source);
        let fate = if rng.below(2) == 0 {
            fate
        } else {
            Fate::any(rng)
        };
        let coming = self.meta_on_its_way();
        let meta = self.meta.after_crash(coming.as_ref(), fate, rng);
        let clone = self.clone.after_crash(fate, rng);
        Left {
            source,
            clone,
            meta,
        }
    }

    /// A crash point: the disks as a crash now may leave them, loaded and compared.
    fn crash_point(&mut self, fate: Fate) -> ExtentLocks {
        let mut rng = Rng::new(self.fork_rng.bits());
        let left = self.crashed(fate, &mut rng);
        if self.count_crash_point(&left) {
            self.recover(&left).map_err(|broken| {
                let how = format!("a crash here ({fate:?}): {}", broken.how);
                Broken { how, ..broken }
            })?;
        }
        Ok(())
    }

    /// Counts it, and by what is under way. False if it was there before: the same disks, and the
    /// same that they may hold.
    fn count_crash_point(&mut self, left: &Left) -> bool {
        let stats = &mut self.stats;
        let mut digest = DefaultHasher::new();
        left.source.media().hash(&mut digest);
        left.clone.media().hash(&mut digest);
        hash_blocks(&left.meta, &mut digest);
        self.oracle.hash_durable(&mut digest);
        self.delta.hash(&mut digest);
        if !self.seen.insert(digest.finish()) {
            stats.repeated += 1;
            return false;
        }
        stats.crash_points += 1;
        let on_its_way = self.ops.iter().any(|op| op.done.is_none() && op.writes());
        let on_source = on_its_way || self.source.is_dirty();
        let on_metadata = self.meta.is_dirty() || self.meta_on_its_way().is_some();
        let stats = &mut self.stats;
        stats.unflushed_source += u64::from(on_source);
        stats.unflushed_metadata += u64::from(on_metadata);
        stats.unflushed += u64::from(on_source || on_metadata);
        stats.in_checkpoint += u64::from(self.checkpoint.is_some());
        stats.wrapped += u64::from(self.engine.journal_wraps());
        stats.beginning += u64::from(self.during.beginning);
        stats.assuming += u64::from(self.during.assuming);
        stats.suspended += u64::from(self.during.suspended);
        stats.recovering += u64::from(self.during.recovering);
        stats.restoring += u64::from(self.delta.restoring);
        stats.busy += u64::from(self.requests.len() >= 8);
        stats.faulty += u64::from(!self.params.faults.none());
        let finishing = self.is_finishing();
        self.stats.finishing += u64::from(finishing);
        true
    }

    /// Loads what a crash has left and compares it; `None` if it is not formatted.
    fn recover(&self, left: &Left) -> Result<Option<Loaded>, Broken> {
        let loaded = meta::load(&left.meta, &self.params, self.settings)
            .map_err(|refusal| Promise::Recovery.broken(format!("refused: {refusal:?}")))?;
        match loaded {
            Some(loaded) => {
                self.compare(&loaded, left)?;
                self.check_identity(&loaded, (&left.source, &left.clone))?;
                Ok(Some(loaded))
            }
            None if self.during.formatting => Ok(None),
            None => Err(Promise::Recovery.broken("the metadata is blank")),
        }
    }

    fn compare(&self, loaded: &Loaded, left: &Left) -> ExtentLocks {
        let shared = &loaded.shared;
        let restoring = shared.maps.state().mode == Mode::Restoring;
        if restoring && !self.delta.restoring && !self.during.beginning {
            let how = "a restore that nobody began, or that was finished";
            return Err(Promise::Recovery.broken(how));
        }
        let mapped = Mapped {
            shared,
            source: &left.source,
            clone: &left.clone,
            ..self.mapped()
        };
        let window = self.params.window;
        for sector in window.start()..window.end() {
            let stamp = mapped.read(sector);
            if restoring && !self.delta.restoring {
                if stamp != left.clone.read(sector) {
                    let how = format!("sector {sector} holds {stamp}, not the clone's");
                    return Err(Promise::Reads.broken(how));
                }
            } else {
                self.oracle.check_crashed(sector, stamp)?;
            }
        }
        self.delta.check(shared)?;
        mapped.check_identical(self.delta.extents())
    }

    /// The machine crashes, perhaps several times, and comes back.
    pub(super) fn crash(&mut self) -> Result<(), Stop> {
        loop {
            match self.crash_and_recover() {
                Err(Stop::Crash) => continue,
                other => return other,
            }
        }
    }

    fn crash_and_recover(&mut self) -> Result<(), Stop> {
        let mut rng = Rng::new(self.rng.bits());
        let fate = Fate::any(&mut rng);
        self.trace(|| format!("crash {fate:?}"));
        self.stats.crashes += 1;
        let left = self.crashed(fate, &mut rng);
        self.count_crash_point(&left);
        let loaded = self.recover(&left)?;
        self.source = left.source;
        self.clone = left.clone;
        self.meta.restart(left.meta);
        self.ops.clear();
        self.late.clear();
        self.ended.clear();
        self.requests.clear();
        self.waiting.clear();
        self.settling.clear();
        self.checkpoint = None;
        self.failed_block = None;
        self.doubtful = None;
        self.meta_coming = None;
        if self.params.passdown {
            self.promised.crashed();
        }
        self.during = During {
            formatting: self.during.formatting,
            ..During::default()
        };
        match loaded {
            None => self.format(),
            Some(loaded) => {
                self.learn(&loaded, true);
                self.during.recovering = true;
                self.take_up(loaded, Features::default())?;
                self.during.recovering = false;
                Ok(())
            }
        }
    }

    /// Goes on with what was loaded. If it cannot be taken up the resume fails, and it is loaded
    /// anew with the next one.
    pub(super) fn take_up(&mut self, loaded: Loaded, words: Features) -> Result<(), Stop> {
        let mut next = Some(loaded);
        while let Some(mut loaded) = next.take() {
            if self.unrecorded {
                self.recorded_anew(&mut loaded);
            }
            let torn = loaded.torn;
            (self.engine, self.shared) = (loaded.engine, loaded.shared);
            if words.declare() {
                self.declare(words)?;
            } else {
                self.sample_clone_places();
            }
            if !self.checkpoint_now(Checkpoint::activation(torn))? {
                self.trace(|| "the resume fails".into());
                let view = self.meta.view();
                next = meta::load(&view, &self.params, self.settings).map_err(|refusal| {
                    let how = format!("load after a failed resume: {refusal:?}");
                    Promise::Recovery.broken(how)
                })?;
            }
        }
        self.unrecorded = false;
        self.resumed();
        Ok(())
    }

    /// The oracle learns what was loaded.
    pub(super) fn learn(&mut self, loaded: &Loaded, crashed: bool) {
        let was_restoring = self.delta.restoring;
        let restoring = loaded.shared.maps.state().mode == Mode::Restoring;
        match (was_restoring, restoring) {
            (false, true) => self.delta.begun(),
            (true, false) => self.delta.finished(),
            _ => {}
        }
        self.during.beginning = false;
        self.delta.inexact();
        if crashed || restoring && !was_restoring {
            let mapped = Mapped {
                shared: &loaded.shared,
                geometry: &self.geometry,
                source: &self.source,
                clone: &self.clone,
            };
            self.oracle.settle(|sector| mapped.read(sector));
        }
    }
}

/// Most blocks are zeros and shared.
fn hash_blocks(blocks: &[Rc<Block>], digest: &mut impl Hasher) {
    let mut last = None;
    for (place, block) in blocks.iter().enumerate() {
        if last.is_some_and(|last| Rc::ptr_eq(last, block)) {
            continue;
        }
        last = Some(block);
        digest.write_usize(place);
        digest.write_u32(crc32c(0, &block[..]));
    }
}
