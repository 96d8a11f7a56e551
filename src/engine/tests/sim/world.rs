// SPDX-License-Identifier: GPL-2.0

//! All of it together, and the choice of the next step.

use super::check::Delta;
use super::disk::{DataDisk, Fate, MetaDisk, Stamp};
use super::host::{Request, Settling, Waiting};
use super::meta::{self, Checkpoint};
use super::oracle::Oracle;
use super::params::Params;
use super::rng::Rng;
use crate::copier::{Copy, CopyResult};
use crate::format::Block;
use crate::geometry::Geometry;
use crate::machine::{Engine, Shared, SyncPoint};
use crate::maps::Mode;
use crate::requests::Ticket;
use crate::run::Run;
use crate::settings::Settings;
use crate::storage::Heap;
use std::rc::Rc;

/// Why a life cannot just go on.
#[derive(Debug)]
pub enum Stop {
    /// The machine crashes here.
    Crash,
    /// A promise is broken.
    Violation(String),
}

/// What was done in one life or in many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Lives.
    pub lives: u64,
    /// Steps.
    pub steps: u64,
    /// Crash points: recovered and compared.
    pub crash_points: u64,
    /// Of these: with unflushed writes.
    pub with_unflushed: u64,
    /// Of these: in a checkpoint.
    pub in_checkpoint: u64,
    /// Of these: at the start or the end of a restore.
    pub in_mode_change: u64,
    /// Of these: with a journal that goes around the end of its ring.
    pub wrapped: u64,
    /// Crashes after which the life went on.
    pub crashes: u64,
    /// Requests of the host.
    pub requests: u64,
    /// Of these: failed.
    pub failed_requests: u64,
    /// Restores begun.
    pub restores: u64,
    /// Restores finished.
    pub finished: u64,
    /// Journal blocks.
    pub commits: u64,
    /// Checkpoints while in use.
    pub checkpoints: u64,
    /// Copies, or pieces of them.
    pub copies: u64,
    /// Suspends.
    pub suspends: u64,
    /// Reloads of the table.
    pub reloads: u64,
    /// Source flushes that failed.
    pub source_flush_faults: u64,
    /// Times that everything was compared while in use.
    pub live_checks: u64,
}

impl Stats {
    /// Adds those of another life.
    pub fn add(&mut self, other: &Stats) {
        let pairs = [
            (&mut self.lives, other.lives),
            (&mut self.steps, other.steps),
            (&mut self.crash_points, other.crash_points),
            (&mut self.with_unflushed, other.with_unflushed),
            (&mut self.in_checkpoint, other.in_checkpoint),
            (&mut self.in_mode_change, other.in_mode_change),
            (&mut self.wrapped, other.wrapped),
            (&mut self.crashes, other.crashes),
            (&mut self.requests, other.requests),
            (&mut self.failed_requests, other.failed_requests),
            (&mut self.restores, other.restores),
            (&mut self.finished, other.finished),
            (&mut self.commits, other.commits),
            (&mut self.checkpoints, other.checkpoints),
            (&mut self.copies, other.copies),
            (&mut self.suspends, other.suspends),
            (&mut self.reloads, other.reloads),
            (&mut self.source_flush_faults, other.source_flush_faults),
            (&mut self.live_checks, other.live_checks),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }
}

impl std::fmt::Display for Stats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "lives: {}, steps: {}, host requests: {} ({} failed)",
            self.lives, self.steps, self.requests, self.failed_requests
        )?;
        writeln!(
            f,
            "restores begun: {}, finished: {}, copies: {}, journal blocks: {}, checkpoints: {}",
            self.restores, self.finished, self.copies, self.commits, self.checkpoints
        )?;
        writeln!(
            f,
            "suspends: {}, reloads: {}, crashes survived: {}, failed source flushes: {}",
            self.suspends, self.reloads, self.crashes, self.source_flush_faults
        )?;
        write!(
            f,
            "of the crash points: {} with unflushed writes, {} in a checkpoint, {} with a wrapped journal, {} in a mode change",
            self.with_unflushed, self.in_checkpoint, self.wrapped, self.in_mode_change
        )
    }
}

/// An operation on a device.
pub struct Op {
    pub(super) id: u64,
    pub(super) kind: OpKind,
    /// When it was submitted.
    pub(super) submitted: u64,
    /// The device has done it, well or not; it is not reported yet.
    pub(super) done: Option<bool>,
}

/// What an operation is.
pub enum OpKind {
    /// A part of a read of the host's.
    HostRead {
        /// Whose.
        request: Stamp,
        /// Which sectors.
        sectors: Run,
        /// From the clone, else from the source.
        from_clone: bool,
        /// When it was mapped.
        losses: u64,
        /// What is wrong with what it has returned.
        wrong: Option<String>,
    },
    /// A part of a write or discard of the host's, to the source.
    HostWrite {
        /// Whose.
        request: Stamp,
        /// Which sectors.
        sectors: Run,
        /// What they hold afterwards.
        stamp: Stamp,
        /// Durable by itself.
        fua: bool,
        /// If it was deferred.
        ticket: Option<Ticket>,
        /// When it was mapped.
        point: SyncPoint,
    },
    /// A source flush of the host's.
    HostFlush {
        /// Whose.
        request: Stamp,
        /// When it was submitted.
        point: SyncPoint,
    },
    /// A source flush of the target's own.
    OwnFlush {
        /// When it was submitted.
        point: SyncPoint,
    },
    /// A copy from clone to source.
    Copy {
        /// Which.
        copy: Copy,
        /// How it ended.
        result: CopyResult,
    },
    /// A journal block.
    Commit {
        /// Where to, in blocks.
        place: u64,
        /// What.
        block: Rc<Block>,
    },
}

/// The target, its devices, its host, and the oracle.
pub struct World {
    pub(super) rng: Rng,
    pub(super) params: Params,
    pub(super) settings: Settings,
    pub(super) geometry: Geometry,
    /// Nanoseconds, for the engine.
    pub(super) now: u64,
    /// Counts what happens, for disks and oracle.
    pub(super) tick: u64,
    pub(super) engine: Engine<Heap>,
    pub(super) shared: Shared<Heap>,
    pub(super) source: DataDisk,
    pub(super) clone: DataDisk,
    pub(super) meta: MetaDisk,
    /// The write of metadata that somebody waits for.
    pub(super) meta_coming: Option<(u64, Rc<Block>)>,
    pub(super) oracle: Oracle,
    pub(super) delta: Delta,
    pub(super) requests: Vec<Request>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) settling: Vec<Settling>,
    pub(super) ops: Vec<Op>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) identical: bool,
    /// The metadata is being formatted.
    pub(super) formatting: bool,
    /// A superblock that begins a restore may be on the device.
    pub(super) beginning: bool,
    pub(super) host_seen: bool,
    /// The worker has found nothing to do so often.
    pub(super) idle_passes: u32,
    pub(super) last_id: Stamp,
    last_op: u64,
    /// A broken promise that was found where it could not be returned.
    pub(super) found: Option<String>,
    pub(super) stats: Stats,
    tracing: bool,
}

impl World {
    /// A new world from `seed`.
    pub fn new(seed: u64, adjust: impl FnOnce(&mut Params)) -> Self {
        let mut rng = Rng::new(seed);
        let mut params = Params::any(&mut rng);
        adjust(&mut params);
        let geometry = Geometry::new(params.length, params.extent_sectors).unwrap();
        let identical = params.window.start() > 0 || rng.below(4) == 0;
        let (engine, shared) = meta::blank(&params, Settings::default());
        let blocks = engine.layout().blocks();
        let different = u32::from(!identical);
        let mut world = Self {
            settings: Settings::default(),
            geometry,
            now: 1_000_000_000,
            tick: 0,
            source: DataDisk::new(params.window, 1),
            clone: DataDisk::new(params.window, 1 + different),
            meta: MetaDisk::new(blocks),
            meta_coming: None,
            oracle: Oracle::new(params.window, 1),
            delta: Delta::new(geometry.met_by(params.window), !identical),
            requests: Vec::new(),
            waiting: Vec::new(),
            settling: Vec::new(),
            ops: Vec::new(),
            checkpoint: None,
            identical,
            formatting: false,
            beginning: false,
            host_seen: false,
            idle_passes: 0,
            last_id: 2,
            last_op: 0,
            found: None,
            stats: Stats::default(),
            tracing: std::env::var_os("SIM_TRACE").is_some(),
            engine,
            shared,
            params,
            rng,
        };
        world.settings = world.any_settings();
        world
    }

    /// A whole life.
    pub fn live(mut self) -> Result<Stats, String> {
        match self.life() {
            Ok(()) => {
                self.stats.lives = 1;
                self.stats.requests = u64::from(self.last_id) - 2;
                Ok(self.stats)
            }
            Err(Stop::Violation(text)) => Err(format!("{text} ({:?})", self.params.faults)),
            Err(Stop::Crash) => Err("a crash that nobody took".into()),
        }
    }

    fn life(&mut self) -> Result<(), Stop> {
        self.formatting = true;
        let faults = core::mem::take(&mut self.params.faults);
        let done = self.format();
        self.survive(done)?;
        self.formatting = false;
        self.params.faults = faults;
        self.engine.quiesce(false);
        for _ in 0..self.params.steps {
            self.stats.steps += 1;
            let done = self.step();
            self.survive(done)?;
        }
        loop {
            match self.come_to_an_end() {
                Err(Stop::Crash) => self.crash()?,
                other => return other,
            }
        }
    }

    fn survive(&mut self, done: Result<(), Stop>) -> Result<(), Stop> {
        match done {
            Err(Stop::Crash) => self.crash(),
            other => other,
        }
    }

    /// One step, by chance.
    fn step(&mut self) -> Result<(), Stop> {
        self.now += self.rng.below(2_000_000);
        if self.rng.below(10_000) < self.params.suspends {
            self.suspend_and_resume()?;
        }
        if self.rng.below(10_000) < self.params.crashes {
            return Err(Stop::Crash);
        }
        match self.rng.below(1000 + self.params.host) {
            0..=449 => self.progress()?,
            450..=549 => self.admit(),
            550..=679 => self.commit(),
            680..=719 => self.own_flush(),
            720..=819 => self.background(),
            820..=879 => self.settle()?,
            880..=959 => self.advance_checkpoint()?,
            960..=979 => self.map_rest()?,
            980..=984 => self.now += self.rng.below(2_000_000_000),
            985..=987 => self.engine.set_paused(true),
            988..=999 => self.engine.set_paused(false),
            _ => self.send()?,
        }
        self.after_step()
    }

    /// What is looked at after each step.
    pub(super) fn after_step(&mut self) -> Result<(), Stop> {
        self.tick += 1;
        if self.delta.restoring && self.shared.maps.state().mode == Mode::Tracking {
            self.stats.finished += 1;
            self.delta.finished();
        }
        if let Some(text) = self.found.take() {
            return Err(self.violation(&text));
        }
        if self.rng.per_mille(self.params.forks) {
            let fate = Fate::any(&mut self.rng);
            self.crash_point(fate)?;
        }
        if !self.is_unaware() && self.rng.per_mille(100) {
            self.check_live()?;
        }
        Ok(())
    }

    /// Submits an operation.
    pub(super) fn submit(&mut self, kind: OpKind) {
        self.last_op += 1;
        self.ops.push(Op {
            id: self.last_op,
            kind,
            submitted: self.tick,
            done: None,
        });
    }

    /// Some device does something, or reports it.
    pub(super) fn progress(&mut self) -> Result<(), Stop> {
        if self.ops.is_empty() {
            return Ok(());
        }
        let mut i = self.rng.below(self.ops.len() as u64) as usize;
        if self.ops[i].done.is_none() {
            self.execute(i);
            if self.params.each_write {
                self.crash_here()?;
            }
            if self.rng.below(2) == 0 {
                return Ok(());
            }
        }
        // Flushes that have failed are taken in first.
        if is_flush(&self.ops[i]) {
            let failed = |op: &Op| is_flush(op) && op.done == Some(false);
            i = self.ops.iter().position(failed).unwrap_or(i);
        }
        let op = self.ops.remove(i);
        self.report(op)
    }

    /// A device does an operation.
    fn execute(&mut self, i: usize) {
        let mut op = self.ops.remove(i);
        op.done = Some(match &mut op.kind {
            OpKind::HostRead {
                request,
                sectors,
                from_clone,
                wrong,
                ..
            } => self.execute_read(*request, *sectors, *from_clone, wrong),
            OpKind::HostWrite { .. } => self.execute_write(&op),
            OpKind::HostFlush { .. } | OpKind::OwnFlush { .. } => self.execute_flush(op.submitted),
            OpKind::Copy { copy, result } => {
                *result = self.execute_copy(op.id, copy.sectors);
                result.is_ok()
            }
            OpKind::Commit { place, block } => self.execute_commit(*place, block),
        });
        self.ops.insert(i, op);
    }

    fn execute_read(
        &mut self,
        request: Stamp,
        sectors: Run,
        from_clone: bool,
        wrong: &mut Option<String>,
    ) -> bool {
        let faults = &self.params.faults;
        let often = if from_clone {
            faults.clone_read
        } else {
            faults.source_read
        };
        if self.rng.per_mille(often) {
            return false;
        }
        let disk = if from_clone {
            &self.clone
        } else {
            &self.source
        };
        for sector in sectors.start()..sectors.end() {
            let returned = self
                .oracle
                .read_returned(request, sector, disk.read(sector));
            if let (Err(text), false) = (returned, self.is_unaware()) {
                wrong.get_or_insert(text);
            }
        }
        true
    }

    fn execute_write(&mut self, op: &Op) -> bool {
        let OpKind::HostWrite {
            sectors,
            stamp,
            fua,
            ticket,
            ..
        } = &op.kind
        else {
            return false;
        };
        let ok = !self.rng.per_mille(self.params.faults.source_write);
        // A failed write has landed in part; a device may do nothing for a discard.
        let all = ok && (stamp & (1 << 31) == 0 || self.rng.below(2) == 0);
        for sector in sectors.start()..sectors.end() {
            if !all && self.rng.below(2) == 0 {
                continue;
            }
            if *fua && ok {
                self.source.write_fua(sector, *stamp);
            } else {
                self.source.write(op.id, sector, *stamp);
            }
        }
        // The host learns of an overwrite later than the target.
        if ticket.as_ref().is_some_and(Ticket::is_overwrite) {
            self.source.complete(op.id, *sectors, self.tick);
        }
        ok
    }

    fn execute_flush(&mut self, submitted: u64) -> bool {
        let ok = !self.rng.per_mille(self.params.faults.source_flush);
        if ok {
            self.source.flush();
        } else {
            self.source.flush_failed(submitted, &mut self.rng);
            self.shared.note_failed_flush();
            self.oracle.lost();
        }
        ok
    }

    /// A source flush has failed, and the engine does not know yet: what was copied may be gone.
    pub(super) fn is_unaware(&self) -> bool {
        self.ops
            .iter()
            .any(|op| is_flush(op) && op.done == Some(false))
    }

    fn execute_copy(&mut self, id: u64, sectors: Run) -> CopyResult {
        let result = CopyResult {
            read_error: self.rng.per_mille(self.params.faults.clone_read),
            write_error: self.rng.per_mille(self.params.faults.source_write),
        };
        for sector in sectors.start()..sectors.end() {
            if result.is_ok() || self.rng.below(2) == 0 {
                self.source.write(id, sector, self.clone.read(sector));
            }
        }
        self.source.complete(id, sectors, self.tick);
        result
    }

    fn execute_commit(&mut self, place: u64, block: &Rc<Block>) -> bool {
        if !self.rng.per_mille(self.params.faults.meta_write) {
            self.meta.write_fua(place, block.clone());
            return true;
        }
        match self.rng.below(3) {
            0 => {}
            1 => self.meta.write_fua(place, block.clone()),
            _ => self
                .meta
                .write_fua_torn(place, block, Fate::Chance, &mut self.rng),
        }
        false
    }

    /// The target learns how an operation ended.
    fn report(&mut self, op: Op) -> Result<(), Stop> {
        let ok = op.done == Some(true);
        match op.kind {
            OpKind::HostRead {
                request,
                from_clone,
                losses,
                wrong,
                ..
            } => {
                let ok = ok && (from_clone || !self.shared.lost_since(losses));
                if let (true, Some(text)) = (ok, wrong) {
                    return Err(self.violation(&text));
                }
                self.part_done(request, ok);
            }
            OpKind::HostWrite { .. } => self.host_write_done(op, ok),
            OpKind::HostFlush { request, point } => {
                self.stats.source_flush_faults += u64::from(!ok);
                self.host_flush_done(request, point, ok)?;
            }
            OpKind::OwnFlush { point } if ok => self.engine.flushed(point),
            OpKind::OwnFlush { .. } => {
                self.trace(|| "own flush fails".into());
                self.stats.source_flush_faults += 1;
                self.source_flush_failed(true);
            }
            OpKind::Copy { .. } => self.copy_done(op),
            OpKind::Commit { .. } => self.commit_done(op),
        }
        Ok(())
    }

    /// Core args by chance.
    pub(super) fn any_settings(&mut self) -> Settings {
        Settings {
            copy_jobs: 1 + self.rng.below(8) as u32,
            copy_size: self.rng.pick(&[8, 8, 16, 32, 64]),
            copy_rate: self.rng.pick(&[0, 0, 0, 100_000]),
            copy_min_rate: self.rng.pick(&[0, 1024, 100_000]),
        }
    }

    /// A promise is broken.
    pub(super) fn violation(&self, text: &str) -> Stop {
        Stop::Violation(format!("step {}: {text}", self.stats.steps))
    }

    /// Says what is done, if `SIM_TRACE` is set.
    pub(super) fn trace(&self, text: impl FnOnce() -> String) {
        if self.tracing {
            eprintln!("{:6} {}", self.tick, text());
        }
    }
}

fn is_flush(op: &Op) -> bool {
    matches!(op.kind, OpKind::HostFlush { .. } | OpKind::OwnFlush { .. })
}
