// SPDX-License-Identifier: GPL-2.0

//! The behaviour table once more, extent by extent and without any thought of speed: which bits
//! must be set, and what a read must return, after each request of the host. Copies of the background
//! are unknown to it: they change no content, and bits only where the target says so.

use super::model::{Content, Model};
use std::collections::BTreeSet;
use std::ops::Range;

/// The maps and the content as they must be.
#[derive(Clone)]
pub struct Tracker {
    extent: u64,
    length: u64,
    /// Extents that may differ between source and clone, but for those copied in the background.
    pub cdm: BTreeSet<u64>,
    /// Extents that the host has changed since the restore began.
    pub prm: BTreeSet<u64>,
    /// A restore is under way.
    pub restoring: bool,
    /// Discards reach the source.
    pub passdown: bool,
    /// What a read returns.
    pub model: Model,
}

impl Tracker {
    /// Tracking, with the given extents in the clone delta map.
    pub fn new(extent: u64, length: u64, cdm: BTreeSet<u64>, passdown: bool, model: Model) -> Self {
        Self {
            extent,
            length,
            cdm,
            prm: BTreeSet::new(),
            restoring: false,
            passdown,
            model,
        }
    }

    /// How many extents there are.
    pub fn extents(&self) -> u64 {
        self.length.div_ceil(self.extent)
    }

    /// The sectors of an extent.
    pub fn sectors_of(&self, extent: u64) -> Range<u64> {
        extent * self.extent..((extent + 1) * self.extent).min(self.length)
    }

    /// The extents that `sectors` meets.
    pub fn met_by(&self, sectors: &Range<u64>) -> Range<u64> {
        sectors.start / self.extent..sectors.end.div_ceil(self.extent)
    }

    /// A restore begins: what is in the clone delta map reads as the clone.
    pub fn begin_restore(&mut self) {
        if self.cdm.is_empty() {
            return;
        }
        self.restoring = true;
        for extent in &self.cdm {
            self.model.set(self.sectors_of(*extent), Content::Clone);
        }
    }

    /// The restore is over: the maps change roles.
    pub fn finish_restore(&mut self) {
        self.restoring = false;
        self.cdm = std::mem::take(&mut self.prm);
    }

    /// The host has written or zeroed `sectors`.
    pub fn written(&mut self, sectors: Range<u64>, content: Content) {
        for extent in self.met_by(&sectors) {
            self.mark(extent);
        }
        self.model.set(sectors, content);
    }

    /// The host has discarded `sectors`.
    pub fn discarded(&mut self, sectors: Range<u64>) {
        if !self.passdown {
            return;
        }
        for extent in self.met_by(&sectors) {
            let own = self.sectors_of(extent);
            let part = own.start.max(sectors.start)..own.end.min(sectors.end);
            if self.restoring && self.cdm.contains(&extent) && part != own {
                continue;
            }
            self.mark(extent);
            self.model.set(part, Content::Undefined);
        }
    }

    fn mark(&mut self, extent: u64) {
        if self.restoring {
            self.cdm.remove(&extent);
            self.prm.insert(extent);
        } else {
            self.cdm.insert(extent);
        }
    }
}
