// SPDX-License-Identifier: GPL-2.0

//! All of it together, and the choice of the next step.

use super::delta::Delta;
use super::devices::{Late, Op, OpKind};
use super::disk::{CloneDisk, DataDisk, MetaDisk, Stamp};
use super::host::{Request, Settling, Waiting};
use super::identity::Promised;
use super::life::Life;
use super::meta::{self, Running};
use super::oracle::Oracle;
use super::params::Params;
use super::promise::{Broken, Promise, Stop};
use super::rng::Rng;
use super::stats::Stats;
use crate::engine::base::geometry::Geometry;
use crate::engine::base::storage::Heap;
use crate::engine::format::Block;
use crate::engine::machine::Engine;
use crate::engine::maps::Mode;
use crate::engine::shared::Shared;
use crate::engine::words::settings::Settings;
use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;

/// The target, its devices, its host, and the oracle.
pub struct World {
    life: Life,
    /// Chances of the step under way, and for crash points in it. They are apart, so that looking
    /// at a crash point changes nothing.
    pub(super) rng: Rng,
    pub(super) fork_rng: Rng,
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
    pub(super) clone: CloneDisk,
    pub(super) meta: MetaDisk,
    /// The write of metadata that somebody waits for.
    pub(super) meta_coming: Option<(u64, Rc<Block>)>,
    pub(super) oracle: Oracle,
    pub(super) delta: Delta,
    pub(super) requests: Vec<Request>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) settling: Vec<Settling>,
    pub(super) ops: Vec<Op>,
    /// Failed writes that may yet land.
    pub(super) late: Vec<Late>,
    /// What has ended and is left to the worker.
    pub(super) ended: Vec<Op>,
    pub(super) checkpoint: Option<Running>,
    /// A journal block that has failed, and when it is written again.
    pub(super) failed_block: Option<(u64, OpKind)>,
    /// The metadata device fails until then.
    pub(super) meta_gone_until: u64,
    /// The journal block that is written, if that is in doubt.
    pub(super) doubtful: Option<OpKind>,
    pub(super) identical: bool,
    /// The one before it.
    pub(super) older_clone: Option<CloneDisk>,
    /// Its content is not the one that was recorded: the caller has made it anew, and could not say so.
    pub(super) unrecorded: bool,
    pub(super) promised: Promised,
    /// What is under way beside requests, for crash points.
    pub(super) during: During,
    /// The worker has found nothing to do so often.
    pub(super) idle_passes: u32,
    /// Where a sequential write begins.
    pub(super) next_sequential: u64,
    pub(super) last_id: Stamp,
    last_op: u64,
    /// A broken promise that was found where it could not be returned.
    pub(super) found: Option<Broken>,
    /// Crash points that were looked at.
    pub(super) seen: HashSet<u64>,
    pub(super) stats: Stats,
    /// What was done, if it is to be told.
    told: Option<RefCell<Vec<String>>>,
}

/// What is under way beside requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct During {
    /// The metadata is being formatted.
    pub formatting: bool,
    /// A superblock that begins a restore may be on the device.
    pub beginning: bool,
    /// The maps are being declared identical.
    pub assuming: bool,
    /// The device is suspended.
    pub suspended: bool,
    /// What a crash has left is being taken up.
    pub recovering: bool,
}

/// A life that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// In which step.
    pub step: u64,
    /// Which promise, and how.
    pub broken: Broken,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "step {}: {}", self.step, self.broken)
    }
}

/// Lives a life.
pub fn live(life: &Life) -> Result<Stats, Failure> {
    World::new(life).live()
}

/// Lives a life and tells what was done, step by step.
pub fn tell(life: &Life) -> (Vec<String>, Result<Stats, Failure>) {
    let mut world = World::new(life);
    world.told = Some(RefCell::default());
    let result = world.live();
    (world.told.unwrap_or_default().into_inner(), result)
}

impl World {
    fn new(life: &Life) -> Self {
        let mut rng = life.chances(0);
        let params = Params::any(life.style, &mut rng);
        let geometry = Geometry::new(params.length, params.extent_sectors).unwrap();
        let identical = params.window.start() > 0 || rng.below(4) == 0;
        let (engine, shared) = meta::blank(&params, Settings::default());
        let blocks = engine.layout().blocks();
        let mut world = Self {
            life: life.clone(),
            settings: Settings::default(),
            geometry,
            now: 1_000_000_000,
            tick: 0,
            source: DataDisk::new(params.window, 1),
            clone: CloneDisk::new(params.window, if identical { 0 } else { 2 }),
            meta: MetaDisk::new(blocks),
            meta_coming: None,
            oracle: Oracle::new(params.window, 1),
            delta: Delta::new(geometry.met_by(params.window), !identical),
            requests: Vec::new(),
            waiting: Vec::new(),
            settling: Vec::new(),
            ops: Vec::new(),
            late: Vec::new(),
            ended: Vec::new(),
            checkpoint: None,
            failed_block: None,
            meta_gone_until: 0,
            doubtful: None,
            identical,
            older_clone: None,
            unrecorded: false,
            promised: Promised::anew(),
            during: During::default(),
            idle_passes: 0,
            next_sequential: params.window.start(),
            last_id: 2,
            last_op: 0,
            found: None,
            seen: HashSet::new(),
            stats: Stats::default(),
            told: None,
            engine,
            shared,
            params,
            fork_rng: Rng::new(rng.bits()),
            rng,
        };
        if identical {
            // Somebody has just made it, and not synced.
            let content = vec![1; world.params.window.len() as usize];
            world.clone.fill(content, true);
        }
        world.settings = world.any_settings();
        world
    }

    /// A whole life. A panic is a broken promise, too.
    fn live(&mut self) -> Result<Stats, Failure> {
        let lived = catch_unwind(AssertUnwindSafe(|| self.life()));
        let broken = match lived {
            Ok(Ok(())) => {
                self.stats.lives = 1;
                return Ok(self.stats);
            }
            Ok(Err(Stop::Violation(broken))) => broken,
            Ok(Err(Stop::Crash)) => Promise::Recovery.broken("a crash that nobody took"),
            Err(panic) => Promise::Panic.broken(panic_text(&*panic)),
        };
        Err(Failure {
            step: self.stats.steps,
            broken,
        })
    }

    fn life(&mut self) -> Result<(), Stop> {
        self.during.formatting = true;
        let faults = core::mem::take(&mut self.params.faults);
        let done = self.format();
        self.survive(done)?;
        self.during.formatting = false;
        self.params.faults = faults;
        self.resumed();
        let mut step = 0;
        let mut some = self.life.steps.clone().unwrap_or_default().into_iter();
        while step < self.params.steps {
            step = match self.life.steps {
                None => step + 1,
                Some(_) => match some.next() {
                    Some(step) => step,
                    None => break,
                },
            };
            self.begin_step(step);
            let done = self.step();
            self.survive(done)?;
        }
        self.begin_step(self.params.steps + 1);
        loop {
            match self.come_to_an_end() {
                Err(Stop::Crash) => self.crash()?,
                other => return other,
            }
        }
    }

    /// Each step has chances of its own.
    fn begin_step(&mut self, step: u64) {
        self.rng = self.life.chances(step);
        self.fork_rng = Rng::new(self.rng.bits());
        self.stats.steps = step;
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
        if self.rng.below(10_000) < self.params.suspends / 2 {
            self.hibernate()?;
        }
        if self.rng.below(10_000) < self.params.crashes {
            return Err(Stop::Crash);
        }
        match self.rng.below(1000 + self.params.host) {
            0..=399 => {
                for _ in 0..self.params.burst {
                    self.progress()?;
                }
            }
            400..=449 => self.take_ended()?,
            450..=549 => self.admit()?,
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
        if !self.late.is_empty() && self.rng.below(50) == 0 {
            self.land_late();
        }
        if self.delta.restoring && self.shared.maps.state().mode == Mode::Tracking {
            self.stats.finished += 1;
            self.delta.finished();
        }
        if let Some(broken) = self.found.take() {
            return Err(broken.into());
        }
        self.maybe_crash_point(1)?;
        if !self.is_unaware() && self.fork_rng.per_mille(self.params.live_checks) {
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
            doomed: false,
            half: false,
        });
    }

    /// Some device does something, or reports it.
    pub(super) fn progress(&mut self) -> Result<(), Stop> {
        if self.ops.is_empty() {
            return Ok(());
        }
        let i = self.rng.below(self.ops.len() as u64) as usize;
        if self.ops[i].done.is_none() {
            self.execute(i);
            if self.params.each_write {
                self.crash_here()?;
            }
            if self.ops[i].done.is_none() || self.rng.below(2) == 0 {
                return Ok(());
            }
        }
        let op = self.ops.remove(i);
        match op.kind {
            OpKind::Copy { .. } => self.copy_done(op),
            OpKind::Commit { .. } => self.commit_done(op),
            _ => return self.io_ended(op),
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
            metadata_patience: self.rng.pick(&[1, 1, 2, 30]),
        }
    }

    /// A source flush has failed, and the engine does not know yet: what was copied may be gone.
    pub(super) fn is_unaware(&self) -> bool {
        let one_disk = self.params.one_disk;
        let mut under_way = self.ops.iter().chain(&self.ended);
        under_way.any(|op| op.is_failed_flush() || one_disk && op.is_failed_commit())
    }

    /// Says what is done, if it is to be told.
    pub(super) fn trace(&self, text: impl FnOnce() -> String) {
        if let Some(told) = &self.told {
            let text = format!("step {}: {}", self.stats.steps, text());
            told.borrow_mut().push(text);
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
    text.unwrap_or_else(|| "a panic".into())
}
