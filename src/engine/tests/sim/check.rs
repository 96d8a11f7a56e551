// SPDX-License-Identifier: GPL-2.0

//! What must hold at any time.

use super::disk::{CloneDisk, DataDisk, Stamp};
use super::promise::{ExtentLocks, Promise};
use super::world::World;
use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::base::storage::Heap;
use crate::engine::maps::Mode;
use crate::engine::shared::Shared;

/// The mapped device, as whoever reads it sees it.
pub struct Mapped<'a> {
    /// Maps and mode.
    pub shared: &'a Shared<Heap>,
    /// Extents.
    pub geometry: &'a Geometry,
    /// What lies below.
    pub source: &'a DataDisk,
    /// And beside it.
    pub clone: &'a CloneDisk,
}

impl Mapped<'_> {
    /// What a read of `sector` returns.
    pub fn read(&self, sector: u64) -> Stamp {
        let view = self.shared.maps.view();
        if view.state.mode == Mode::Restoring && view.cdm.get(self.geometry.extent_of(sector)) {
            self.clone.read(sector)
        } else {
            self.source.read(sector)
        }
    }

    /// Where the bits are clear, source and clone are the same.
    pub fn check_identical(&self, extents: Run) -> ExtentLocks {
        let view = self.shared.maps.view();
        let restoring = view.state.mode == Mode::Restoring;
        for extent in extents.start()..extents.end() {
            if view.cdm.get(extent) || restoring && view.prm.get(extent) {
                continue;
            }
            let sectors = self.geometry.sectors_of(Run::one(extent));
            for sector in sectors.start()..sectors.end() {
                let (a, b) = (self.source.read(sector), self.clone.read(sector));
                if a != b {
                    return Err(Promise::Maps.broken(format!(
                        "extent {extent} is clear, sector {sector} holds {a}, the clone {b}"
                    )));
                }
            }
        }
        Ok(())
    }
}

impl World {
    /// The mapped device as it is now.
    pub(super) fn mapped(&self) -> Mapped<'_> {
        Mapped {
            shared: &self.shared,
            geometry: &self.geometry,
            source: &self.source,
            clone: &self.clone,
        }
    }

    /// What must hold while the device is in use.
    pub(super) fn check_live(&mut self) -> ExtentLocks {
        self.stats.live_checks += 1;
        let (window, mapped) = (self.params.window, self.mapped());
        for sector in window.start()..window.end() {
            self.oracle.check_now(sector, mapped.read(sector))?;
        }
        self.delta.check(&self.shared)?;
        mapped.check_identical(self.delta.extents())?;
        let mut status = String::new();
        let written = self.engine.write_status(&self.shared, &mut status);
        if written.is_err() || self.engine.restored(&self.shared) > self.geometry.extents() {
            return Err(Promise::Maps.broken(format!("status: {status}")));
        }
        Ok(())
    }
}
