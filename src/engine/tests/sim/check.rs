// SPDX-License-Identifier: GPL-2.0

//! Crash points, and what must hold at any time.

use super::disk::{DataDisk, Fate, OnItsWay, Stamp};
use super::meta::{self, Loaded};
use super::rng::Rng;
use super::world::{OpKind, Stop, World};
use crate::format::Block;
use crate::geometry::Geometry;
use crate::machine::Shared;
use crate::maps::{Mode, Role};
use crate::run::Run;
use crate::storage::Heap;
use std::rc::Rc;

/// What a read of `sector` returns.
pub fn visible(
    shared: &Shared<Heap>,
    geometry: &Geometry,
    source: &DataDisk,
    clone: &DataDisk,
    sector: u64,
) -> Stamp {
    let view = shared.maps.view();
    if view.state.mode == Mode::Restoring && view.cdm.get(geometry.extent_of(sector)) {
        clone.read(sector)
    } else {
        source.read(sector)
    }
}

/// What the bits may be, from the host's requests alone, and what may be copied.
pub struct Delta {
    /// The first extent of the window.
    first: u64,
    /// A restore is under way.
    pub(super) restoring: bool,
    /// Extents whose delta bit, or bit for host writes, may be set.
    cdm: Vec<bool>,
    prm: Vec<bool>,
    copied: Vec<u32>,
    overwritten: Vec<bool>,
    /// There was neither a crash nor a fault in this restore.
    exact: bool,
}

impl Delta {
    /// Tracking, with a full or an empty delta map.
    pub fn new(extents: Run, different: bool) -> Self {
        let len = extents.len() as usize;
        Self {
            first: extents.start(),
            restoring: false,
            cdm: vec![different; len],
            prm: vec![false; len],
            copied: vec![0; len],
            overwritten: vec![false; len],
            exact: false,
        }
    }

    fn extents(&self) -> Run {
        Run::new(self.first, self.cdm.len() as u64)
    }

    /// The host has sent a write.
    pub fn touched(&mut self, geometry: &Geometry, sectors: Run) {
        let map = if self.restoring {
            &mut self.prm
        } else {
            &mut self.cdm
        };
        let extents = geometry.met_by(sectors);
        for extent in extents.start()..extents.end() {
            map[(extent - self.first) as usize] = true;
        }
    }

    /// A write of the host was acknowledged.
    pub fn overwritten(&mut self, geometry: &Geometry, sectors: Run) {
        let extents = geometry.covered_by(sectors);
        for extent in extents.start()..extents.end() {
            self.overwritten[(extent - self.first) as usize] = true;
        }
    }

    /// A copy starts.
    pub fn copy_started(&mut self, geometry: &Geometry, sectors: Run) -> Result<(), String> {
        let extents = geometry.met_by(sectors);
        for extent in extents.start()..extents.end() {
            // A later piece of an extent is no copy of its own.
            if !sectors.contains(geometry.first_sector(extent)) {
                continue;
            }
            let i = (extent - self.first) as usize;
            self.copied[i] += 1;
            if !self.cdm[i] {
                return Err(format!("extent {extent} is copied and does not differ"));
            }
            if self.exact && self.copied[i] > 1 {
                return Err(format!("extent {extent} is copied again"));
            }
            if self.exact && self.overwritten[i] {
                return Err(format!(
                    "extent {extent} is copied though the host overwrote it"
                ));
            }
        }
        Ok(())
    }

    /// There was a crash or a fault: some extents may be copied again.
    pub fn inexact(&mut self) {
        self.exact = false;
    }

    /// A restore has begun.
    pub fn begun(&mut self) {
        self.restoring = true;
        self.exact = true;
        self.prm.fill(false);
        self.copied.fill(0);
        self.overwritten.fill(false);
    }

    /// It is over.
    pub fn finished(&mut self) {
        self.restoring = false;
        core::mem::swap(&mut self.cdm, &mut self.prm);
        self.prm.fill(false);
    }

    /// The clone was made anew, or everything counts as different.
    pub fn fill(&mut self, different: bool) {
        self.cdm.fill(different);
    }

    /// Whether the maps have only bits that they may have.
    fn check(&self, shared: &Shared<Heap>) -> Result<(), String> {
        let view = shared.maps.view();
        let none = vec![false; self.cdm.len()];
        let (cdm, prm) = match (self.restoring, view.state.mode) {
            (true, Mode::Restoring) => (&self.cdm, &self.prm),
            (true, _) => (&self.prm, &none),
            (false, _) => (&self.cdm, &none),
        };
        let set = |run: Run| view.cdm.next_set(run).or(view.prm.next_set(run));
        let all = shared.maps.geometry().all();
        let outside = [
            Run::between(0, self.first),
            Run::between(self.extents().end(), all.end()),
        ];
        if let Some(extent) = outside.into_iter().find_map(set) {
            return Err(format!("bit of extent {extent} is set, nobody was there"));
        }
        for (i, (cdm, prm)) in cdm.iter().zip(prm).enumerate() {
            let extent = self.first + i as u64;
            if view.cdm.get(extent) && !cdm || view.prm.get(extent) && !prm {
                return Err(format!(
                    "extent {extent} has cdm {} prm {}, may have {cdm} {prm}",
                    view.cdm.get(extent),
                    view.prm.get(extent)
                ));
            }
        }
        for (role, map) in [(Role::Cdm, view.cdm), (Role::Prm, view.prm)] {
            if shared.maps.count(role) != map.count() {
                return Err(format!("{role:?} is miscounted"));
            }
        }
        Ok(())
    }
}

/// Where the bits are clear, source and clone are the same.
fn check_identical(
    shared: &Shared<Heap>,
    geometry: &Geometry,
    extents: Run,
    source: &DataDisk,
    clone: &DataDisk,
) -> Result<(), String> {
    let view = shared.maps.view();
    for extent in extents.start()..extents.end() {
        let restoring = view.state.mode == Mode::Restoring;
        if view.cdm.get(extent) || restoring && view.prm.get(extent) {
            continue;
        }
        let sectors = geometry.sectors_of(Run::one(extent));
        for sector in sectors.start()..sectors.end() {
            let (a, b) = (source.read(sector), clone.read(sector));
            if a != b {
                return Err(format!(
                    "the maps lie: extent {extent} is clear, sector {sector} holds {a}, the clone {b}"
                ));
            }
        }
    }
    Ok(())
}

impl World {
    /// What must hold while the device is in use.
    pub(super) fn check_live(&mut self) -> Result<(), Stop> {
        let result = self.check_content().and_then(|()| {
            self.delta.check(&self.shared)?;
            let extents = self.delta.extents();
            check_identical(
                &self.shared,
                &self.geometry,
                extents,
                &self.source,
                &self.clone,
            )
        });
        self.stats.live_checks += 1;
        let mut status = String::new();
        let written = self.engine.write_status(&self.shared, &mut status);
        if written.is_err() || self.engine.restored(&self.shared) > self.geometry.extents() {
            return Err(self.violation(&format!("status: {status}")));
        }
        result.map_err(|text| self.violation(&text))
    }

    fn check_content(&self) -> Result<(), String> {
        let window = self.params.window;
        for sector in window.start()..window.end() {
            let stamp = visible(
                &self.shared,
                &self.geometry,
                &self.source,
                &self.clone,
                sector,
            );
            self.oracle.check_now(sector, stamp)?;
        }
        Ok(())
    }

    /// Somewhere a crash may come: looks at crash points, and sometimes crashes.
    pub(super) fn crash_here(&mut self) -> Result<(), Stop> {
        if self.params.each_write {
            for fate in [Fate::Lost, Fate::Landed, Fate::Chance, Fate::Chance] {
                self.crash_point(fate)?;
            }
        } else if self.rng.per_mille(self.params.forks * 3) {
            let fate = Fate::any(&mut self.rng);
            self.crash_point(fate)?;
        }
        if self.rng.per_mille(self.params.crashes / 2) {
            return Err(Stop::Crash);
        }
        Ok(())
    }

    /// What is on its way to the source.
    fn coming(&self) -> Vec<OnItsWay> {
        let mut coming = Vec::new();
        for op in self.ops.iter().filter(|op| op.done.is_none()) {
            match &op.kind {
                OpKind::HostWrite { sectors, stamp, .. } => {
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
            OpKind::Commit { place, block } if op.done.is_none() => Some((*place, block.clone())),
            _ => None,
        });
        self.meta_coming.clone().or(commit)
    }

    /// The disks as a crash now may leave them.
    fn crashed(&mut self, fate: Fate, rng: &mut Rng) -> (DataDisk, Vec<Rc<Block>>) {
        let media = self.source.after_crash(&self.coming(), fate, rng);
        let mut source = DataDisk::new(self.params.window, 0);
        source.restart(media);
        let fate = if rng.below(2) == 0 {
            fate
        } else {
            Fate::any(rng)
        };
        let coming = self.meta_on_its_way();
        (source, self.meta.after_crash(coming.as_ref(), fate, rng))
    }

    /// A crash point: the disks as a crash now may leave them, loaded and compared.
    pub(super) fn crash_point(&mut self, fate: Fate) -> Result<(), Stop> {
        let mut rng = Rng::new(self.rng.bits());
        let (source, meta) = self.crashed(fate, &mut rng);
        self.count_crash_point();
        match self.recover(&source, &meta) {
            Ok(_) => Ok(()),
            Err(text) => Err(self.violation(&format!("crash point: {text}"))),
        }
    }

    fn count_crash_point(&mut self) {
        let stats = &mut self.stats;
        stats.crash_points += 1;
        let dirty = self.source.is_dirty() || self.meta.is_dirty() || !self.ops.is_empty();
        stats.with_unflushed += u64::from(dirty || self.meta_coming.is_some());
        stats.in_checkpoint += u64::from(self.checkpoint.is_some() || self.meta.is_dirty());
        let finishing = self.delta.restoring && self.shared.maps.count(Role::Cdm) == 0;
        stats.in_mode_change += u64::from(self.beginning || finishing);
        stats.wrapped += u64::from(self.engine.journal_wraps());
    }

    /// Loads what a crash has left and compares it; `None` if it is not formatted.
    fn recover(&self, source: &DataDisk, meta: &[Rc<Block>]) -> Result<Option<Loaded>, String> {
        let loaded = meta::load(meta, &self.params, self.settings)
            .map_err(|refusal| format!("refused: {refusal:?}"))?;
        let Some(loaded) = loaded else {
            return if self.formatting {
                Ok(None)
            } else {
                Err("the metadata is blank".into())
            };
        };
        self.compare(&loaded, source)?;
        Ok(Some(loaded))
    }

    fn compare(&self, loaded: &Loaded, source: &DataDisk) -> Result<(), String> {
        let shared = &loaded.shared;
        let restoring = shared.maps.state().mode == Mode::Restoring;
        if restoring && !self.delta.restoring && !self.beginning {
            return Err("a restore that nobody began, or that was finished".into());
        }
        let window = self.params.window;
        for sector in window.start()..window.end() {
            let stamp = visible(shared, &self.geometry, source, &self.clone, sector);
            if restoring && !self.delta.restoring {
                if stamp != self.clone.read(sector) {
                    return Err(format!("sector {sector} is not the clone's"));
                }
            } else {
                self.oracle.check_crashed(sector, stamp)?;
            }
        }
        self.delta.check(shared)?;
        let extents = self.delta.extents();
        check_identical(shared, &self.geometry, extents, source, &self.clone)
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
        let (source, meta) = self.crashed(fate, &mut rng);
        self.count_crash_point();
        let loaded = self.recover(&source, &meta);
        let loaded = loaded.map_err(|text| self.violation(&format!("after a crash: {text}")))?;
        self.source = source;
        self.meta.restart(meta);
        self.ops.clear();
        self.requests.clear();
        self.waiting.clear();
        self.settling.clear();
        self.checkpoint = None;
        self.meta_coming = None;
        match loaded {
            None => self.format(),
            Some(loaded) => {
                self.learn(&loaded, true);
                self.take_up(loaded, false)
            }
        }
    }

    /// Goes on with what was loaded. If it cannot be taken up the resume fails, and it is loaded
    /// anew with the next one.
    pub(super) fn take_up(&mut self, loaded: Loaded, different: bool) -> Result<(), Stop> {
        let mut next = Some(loaded);
        while let Some(mut loaded) = next.take() {
            let broken = |refusal| self.violation(&format!("load: {refusal:?}"));
            if different {
                let done = loaded.engine.assume_different(&loaded.shared);
                done.map_err(broken)?;
            }
            let torn = loaded.torn;
            (self.engine, self.shared) = (loaded.engine, loaded.shared);
            if !self.activate(torn)? {
                self.trace(|| "the resume fails".into());
                let view = self.meta.view();
                next = meta::load(&view, &self.params, self.settings).map_err(|refusal| {
                    self.violation(&format!("load after a failed resume: {refusal:?}"))
                })?;
            }
        }
        self.engine.quiesce(false);
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
        self.beginning = false;
        self.delta.inexact();
        if crashed || restoring && !was_restoring {
            let (shared, geometry) = (&loaded.shared, &self.geometry);
            let (source, clone) = (&self.source, &self.clone);
            self.oracle
                .settle(|sector| visible(shared, geometry, source, clone, sector));
        }
    }
}
