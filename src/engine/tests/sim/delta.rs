// SPDX-License-Identifier: GPL-2.0

//! What the bits may be, from the host's requests alone, and what may be copied.

use super::promise::{ExtentLocks, Promise};
use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::base::storage::Heap;
use crate::engine::maps::{Mode, Role};
use crate::engine::shared::Shared;

/// What the bits may be, from the host's requests alone, and what may be copied.
#[derive(Hash)]
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

    /// The extents of the window.
    pub fn extents(&self) -> Run {
        Run::new(self.first, self.cdm.len() as u64)
    }

    /// The host has sent a write.
    pub fn touched(&mut self, geometry: &Geometry, sectors: Run) {
        self.may_be_marked(geometry.met_by(sectors));
    }

    /// These extents may be marked as the host's.
    pub fn may_be_marked(&mut self, extents: Run) {
        let map = if self.restoring {
            &mut self.prm
        } else {
            &mut self.cdm
        };
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
    pub fn copy_started(&mut self, geometry: &Geometry, sectors: Run) -> ExtentLocks {
        let broken = |how: String| Err(Promise::Delta.broken(how));
        let extents = geometry.met_by(sectors);
        for extent in extents.start()..extents.end() {
            // A later piece of an extent is no copy of its own.
            if !sectors.contains(geometry.first_sector(extent)) {
                continue;
            }
            let i = (extent - self.first) as usize;
            self.copied[i] += 1;
            if !self.cdm[i] {
                return broken(format!("extent {extent} is copied and does not differ"));
            }
            if self.exact && self.copied[i] > 1 {
                return broken(format!("extent {extent} is copied again"));
            }
            if self.exact && self.overwritten[i] {
                return broken(format!(
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
    pub fn check(&self, shared: &Shared<Heap>) -> ExtentLocks {
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
            let how = format!("bit of extent {extent} is set, nobody was there");
            return Err(Promise::Delta.broken(how));
        }
        for (i, (cdm, prm)) in cdm.iter().zip(prm).enumerate() {
            let extent = self.first + i as u64;
            if view.cdm.get(extent) && !cdm || view.prm.get(extent) && !prm {
                return Err(Promise::Delta.broken(format!(
                    "extent {extent} has cdm {} prm {}, may have {cdm} {prm}",
                    view.cdm.get(extent),
                    view.prm.get(extent)
                )));
            }
        }
        for (role, map) in [(Role::Cdm, view.cdm), (Role::Prm, view.prm)] {
            if shared.maps.count(role) != map.count() {
                return Err(Promise::Maps.broken(format!("{role:?} is miscounted")));
            }
        }
        Ok(())
    }
}
