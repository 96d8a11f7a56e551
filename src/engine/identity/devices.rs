// SPDX-License-Identifier: GPL-2.0

//! Telling devices apart by their content: what is sampled, what is compared at a load, and what
//! follows from it.
//!
//! Of the clone samples are taken when it becomes the clone, and compared at every load. Of the
//! source they are taken at each clean suspend. After a clean shutdown all of them must match. After
//! a crash only what lies where no bit is set can be compared: the host has not written there since.
//! A restore writes there too, so its activation drops the source's samples.

use crate::engine::base::run::Run;
use crate::engine::base::storage::Storage;
use crate::engine::format::items::sectors_of;
use crate::engine::format::items::Item;
use crate::engine::format::items::Places;
use crate::engine::format::items::Unstable;
use crate::engine::format::items::Wanted;
use crate::engine::format::items::ENDS;
use crate::engine::format::items::PLACES;
use crate::engine::format::samples::Samples;
use crate::engine::format::superblock::Superblock;
use crate::engine::format::table::Entry;
use crate::engine::format::{Refusal, BLOCK_SECTORS};
use crate::engine::machine::Engine;
use crate::engine::maps::{Mode, Role};
use crate::engine::shared::Shared;
use crate::engine::words::settings::Features;

/// Places of the clone that are kept for as long as it is the clone.
const KEPT: usize = PLACES / 2;

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
    /// `assume_same` and `accept_clone`: the caller vouches for which device is which.
    pub order: bool,
}

/// Whether source and clone are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// No: each mismatch is one of its own.
    No,
    /// Each device may well be the other one, but one of them matches as it is given, too: the samples do
    /// not tell the two apart there.
    Likely,
    /// Each device is the other one, and neither is what it is given as.
    Certain,
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
            order: features.accept_clone && features.assume_same,
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

    /// Whether each device is what was recorded of the other, as far as that was: `clone` was sampled
    /// where the source was recorded, `source` where the clone was.
    pub fn fits_crossed(&self, clone: &Samples, source: &Samples) -> bool {
        self.source.equals(clone) && self.clone.equals(source)
    }
}

impl Differences {
    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.clone.is_some() || self.source.is_some()
    }

    /// What is refused. Of devices that are certainly exchanged no word declares that to be right.
    pub fn verdict(&self, accepted: Accepted, exchange: Exchange) -> Result<(), Refusal> {
        match exchange {
            Exchange::Certain => return Err(Refusal::Exchanged),
            Exchange::Likely if !accepted.order => return Err(Refusal::Exchanged),
            Exchange::Likely | Exchange::No => {}
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

impl Features {
    /// Whether these words can be right, by a superblock alone. After a crash, or in use, a restore that it
    /// tells of may be over.
    pub fn check_mode(&self, mode: Mode, clean: bool) -> Result<(), Refusal> {
        match mode {
            Mode::Restoring if clean && self.assume_different => {
                Err(Refusal::DifferentWhileRestoring)
            }
            Mode::Tracking if self.start_over => Err(Refusal::StartOverWhileTracking),
            _ => Ok(()),
        }
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

    /// Whether devices with these samples are exchanged. They [fit crossed](Recorded::fits_crossed), and
    /// where they differ from what was recorded source and clone may differ from one another: were it not
    /// so, a device was changed there. To be asked once the journal is replayed.
    pub fn exchange(
        &self,
        shared: &Shared<S>,
        recorded: &Recorded,
        clone: &Samples,
        source: &Samples,
    ) -> Exchange {
        let may_differ = |recorded: &Samples, found: &Samples| {
            let mut items = recorded.differences(found);
            items.all(|item| self.any_marked(shared, self.sectors(item)))
        };
        if !may_differ(&recorded.clone, clone) || !may_differ(&recorded.source, source) {
            return Exchange::No;
        }
        match recorded.differences(clone, source) {
            Differences {
                clone: None,
                source: None,
            } => Exchange::No,
            Differences {
                clone: Some(_),
                source: Some(_),
            } => Exchange::Certain,
            _ => Exchange::Likely,
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

    /// What is to be sampled of the clone when it becomes the clone.
    pub fn clone_wanted(&self, shared: &Shared<S>) -> Wanted {
        let mut places = Places::default();
        self.add_differing(shared, &mut places, true);
        Wanted::of_clone(places)
    }

    /// Where the clone is to be sampled anew. Places where it differs from the source tell the two apart,
    /// so it is done when a table is loaded and when a restore begins. They take the place of the last ones;
    /// the first ones tell the clone from older ones.
    pub fn clone_places_wanted(&self, shared: &Shared<S>) -> Places {
        let mut places = Places::default();
        self.add_differing(shared, &mut places, true);
        places.first(PLACES.saturating_sub(KEPT))
    }

    /// Blocks where source and clone may differ by the maps: those last touched, and then, if `fill`,
    /// the first ones of extents with a bit set, all over the device: what a restore has copied says
    /// nothing any more, and it goes from front to back.
    fn add_differing(&self, shared: &Shared<S>, places: &mut Places, fill: bool) {
        for block in shared.remembered.blocks() {
            if self.any_marked(shared, sectors_of(block)) {
                places.add(block);
            }
        }
        for role in [Role::Prm, Role::Cdm] {
            if fill && shared.maps.count(role) > 0 {
                self.add_marked(shared, role, places);
            }
        }
    }

    fn add_marked(&self, shared: &Shared<S>, role: Role, places: &mut Places) {
        let map = shared.maps.numbered(shared.maps.number(role));
        let end = self.geometry.extents();
        let mut add_next = |from: u64| {
            let extent = map.next_set(Run::between(from, end))?;
            places.add(self.geometry.first_sector(extent) / BLOCK_SECTORS);
            Some(extent.saturating_add(1)).filter(|_| !places.is_full())
        };
        let step = end.div_ceil(PLACES as u64).max(1);
        for part in (0..PLACES as u64).rev() {
            add_next(part.saturating_mul(step));
        }
        let mut next = Some(0);
        while let Some(from) = next {
            next = add_next(from);
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

    /// Samples of the clone were taken anew, in [`Engine::clone_places_wanted`].
    pub fn clone_places_are(&mut self, places: &Samples) {
        self.superblock.clone.replace_places(KEPT, places);
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
        // A kernel that goes on behind a hibernation must not take this for no more than an activation.
        self.superblock.activation = self.superblock.activation.saturating_add(1);
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
#[path = "../tests/devices.rs"]
mod tests;
