// SPDX-License-Identifier: GPL-2.0

//! Telling devices apart by their content: what is sampled, what is compared at a load, and what
//! follows from it.
//!
//! Of the clone samples are taken when it becomes the clone, and compared at every load. Of the
//! source they are taken at each clean suspend. After a clean shutdown all of them must match. After
//! a crash only what lies where no bit is set can be compared: the host has not written there since.
//! A restore writes there too, so its activation drops the source's samples.

use super::format::samples::{Item, Places, Samples, Unstable, Wanted, ENDS};
use super::format::superblock::Superblock;
use super::format::table::Entry;
use super::format::{Refusal, BLOCK_SECTORS};
use super::machine::{Engine, Shared};
use super::maps::{Mode, Role};
use super::run::Run;
use super::settings::Features;
use super::storage::Storage;

/// What is compared at a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Of the clone.
    pub clone: Samples,
    /// Of the source.
    pub source: Samples,
}

/// Which differences the words of the table line declare to be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// `accept_clone`.
    pub clone: bool,
    /// While tracking `assume_different` or `assume_same`, in a restore `start_over` or
    /// `assume_same`.
    pub source: bool,
}

impl Accepted {
    /// By these words in this mode.
    pub fn by(features: &Features, mode: Mode) -> Self {
        let source = match mode {
            Mode::Restoring => features.start_over,
            Mode::Tracking | Mode::Unloaded => features.assume_different,
        };
        Self {
            clone: features.accept_clone,
            source: source || features.assume_same,
        }
    }
}

/// Where the devices differ from what was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The clone.
    pub clone: Option<Item>,
    /// The source.
    pub source: Option<Item>,
}

impl Recorded {
    /// By a superblock alone, before the journal is replayed: the source only after a clean shutdown.
    pub fn before_load(superblock: &Superblock) -> Self {
        Self {
            clone: superblock.clone,
            source: if superblock.clean {
                superblock.source
            } else {
                Samples::default()
            },
        }
    }

    /// Where devices differ, by samples that were taken of them in the same places.
    pub fn differences(&self, clone: &Samples, source: &Samples) -> Differences {
        Differences {
            clone: self.clone.difference(clone),
            source: self.source.difference(source),
        }
    }

    /// Whether source and clone are exchanged: the device given as the clone has what was recorded of
    /// the source, and the other way round. `clone` was sampled where the source was recorded,
    /// `source` where the clone was.
    pub fn are_exchanged(&self, clone: &Samples, source: &Samples) -> bool {
        !self.source.is_empty() && self.source.equals(clone) && self.clone.equals(source)
    }
}

impl Differences {
    /// What is refused. `exchanged`: see [`Recorded::are_exchanged`]. No word declares that to be
    /// right.
    pub fn verdict(&self, accepted: Accepted, exchanged: bool) -> Result<(), Refusal> {
        if self.source.is_some() && exchanged {
            return Err(Refusal::Exchanged);
        }
        if self.clone.is_some() && !accepted.clone {
            return Err(Refusal::CloneContent);
        }
        if self.source.is_some() && !accepted.source {
            return Err(Refusal::SourceContent);
        }
        Ok(())
    }
}

impl<S: Storage> Engine<S> {
    /// What can be compared, once the journal is replayed.
    pub fn recorded(&self, shared: &Shared<S>) -> Recorded {
        let superblock = &self.superblock;
        let untouched = |item: Item| !self.any_marked(shared, self.sectors(item));
        Recorded {
            clone: superblock.clone,
            source: if superblock.clean {
                superblock.source
            } else {
                superblock.source.only(untouched)
            },
        }
    }

    /// After a crash nobody knows what discards have met: what the host may have touched is not sampled,
    /// if the source takes discards.
    pub fn assume_unstable(&mut self, shared: &Shared<S>) {
        if self.superblock.clean {
            return;
        }
        let mut ends = self.superblock.unstable.ends;
        for (met, i) in ends.iter_mut().zip(0..ENDS) {
            *met |= self.any_marked(shared, self.sectors(Item::End(i)));
        }
        let unstable = Unstable { any: true, ends };
        self.superblock.unstable = unstable;
        shared.remembered.replace(&Places::default(), unstable);
    }

    /// What is to be sampled of the source now.
    pub fn source_wanted(&self, shared: &Shared<S>) -> Wanted {
        let unstable = shared.remembered.unstable();
        let mut places = Places::default();
        // Where a bit is set there may be nothing but these.
        self.add_differing(shared, &mut places, !unstable.any);
        for block in shared.remembered.blocks() {
            places.add(block);
        }
        Wanted {
            spread: false,
            ends: unstable.ends.map(|met| !met),
            places,
        }
    }

    /// What is to be sampled of the clone now.
    pub fn clone_wanted(&self, shared: &Shared<S>) -> Wanted {
        let mut places = Places::default();
        self.add_differing(shared, &mut places, true);
        Wanted::of_clone(places)
    }

    /// Blocks where source and clone may differ by the maps: those last touched, and then, if `fill`,
    /// the first ones of extents with a bit set.
    fn add_differing(&self, shared: &Shared<S>, places: &mut Places, fill: bool) {
        for block in shared.remembered.blocks() {
            let sectors = Run::new(block.saturating_mul(BLOCK_SECTORS), BLOCK_SECTORS);
            if self.any_marked(shared, sectors) {
                places.add(block);
            }
        }
        for role in [Role::Prm, Role::Cdm] {
            let map = shared.maps.numbered(shared.maps.number(role));
            let mut left = self.geometry.all();
            while fill && !places.is_full() && shared.maps.count(role) > 0 {
                let Some(extent) = map.next_set(left) else {
                    break;
                };
                places.add(self.geometry.first_sector(extent) / BLOCK_SECTORS);
                left = Run::between(extent.saturating_add(1), left.end());
            }
        }
    }

    /// Samples of the source were taken.
    pub fn source_is(&mut self, shared: &Shared<S>, samples: Samples) {
        self.superblock.source = samples;
        self.superblock.unstable = shared.remembered.unstable();
    }

    /// Samples of the clone were taken.
    pub fn clone_is(&mut self, samples: Samples) {
        self.superblock.clone = samples;
    }

    /// The words of the table line that declare what was changed, in memory. The caller takes samples
    /// of what was declared, and an activation makes it durable.
    pub fn declare(&mut self, shared: &Shared<S>) -> Result<(), Refusal> {
        let features = self.features;
        let restoring = shared.maps.state().mode == Mode::Restoring;
        if features.assume_different {
            self.assume_different(shared)?;
        }
        if features.start_over && !restoring {
            return Err(Refusal::StartOverWhileTracking);
        }
        if restoring && (features.start_over || features.accept_clone) {
            self.start_over(shared);
        } else if features.accept_clone {
            self.fill_map(shared, Role::Cdm, Entry::ONES);
        }
        Ok(())
    }

    /// Everything is unrestored again.
    fn start_over(&mut self, shared: &Shared<S>) {
        self.fill_map(shared, Role::Cdm, Entry::ONES);
        self.fill_map(shared, Role::Prm, Entry::ZEROS);
        self.superblock.begun_with = self.geometry.extents();
    }

    fn sectors(&self, item: Item) -> Run {
        item.sectors(self.geometry.length())
    }

    fn any_marked(&self, shared: &Shared<S>, sectors: Run) -> bool {
        let extents = self.geometry.met_by(sectors);
        let view = shared.maps.view();
        view.cdm.next_set(extents).is_some() || view.prm.next_set(extents).is_some()
    }
}

#[cfg(test)]
#[path = "tests/identity.rs"]
mod tests;
