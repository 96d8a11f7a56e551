// SPDX-License-Identifier: GPL-2.0

//! Telling devices apart: at each load the real ones must be accepted, and others refused as far as
//! the manual promises it.
//!
//! Promised is, without a look at what the target has recorded: a clone that differs in one of the 32
//! spread blocks or at an end is refused at every load; after a clean shutdown so is a source that
//! differs at an end that neither a discard nor a failed write has met since source and clone were
//! declared identical (nor may have met, before a crash); exchanged devices are refused where one of these differs, whatever
//! words are given. Where a bit is set and all is stable, something is sampled there.

use super::disk::{CloneDisk, DataDisk, Stamp};
use super::meta::Loaded;
use super::oracle::is_discard;
use super::promise::{ExtentLocks, Promise, Stop};
use super::world::World;
use crate::engine::base::run::Run;
use crate::engine::format::items::Item;
use crate::engine::format::items::Places;
use crate::engine::format::items::Wanted;
use crate::engine::format::items::ENDS;
use crate::engine::format::samples::Samples;
use crate::engine::format::Refusal;
use crate::engine::identity::devices::{Accepted, Exchange, Recorded};
use crate::engine::maps::{Mode, Role};
use crate::engine::words::settings::Features;

/// What the simulation itself knows of the source's samples.
#[derive(Clone, Copy, Debug)]
pub struct Promised {
    /// Neither a discard nor a failed write has met these ends.
    pub(super) stable: [bool; ENDS],
    /// These were sampled at the last clean suspend.
    pub(super) sampled: [bool; ENDS],
    /// Nor anything else.
    pub(super) all_stable: bool,
}

impl Promised {
    /// Source and clone were declared identical, or the metadata was formatted.
    pub fn anew() -> Self {
        Self {
            stable: [true; ENDS],
            sampled: [true; ENDS],
            all_stable: true,
        }
    }

    /// As long as nobody knows which of the two is on the device.
    pub fn or(self, other: Self) -> Self {
        let both = |a: [bool; ENDS], b: [bool; ENDS]| [a[0] && b[0], a[1] && b[1]];
        Self {
            stable: both(self.stable, other.stable),
            sampled: both(self.sampled, other.sampled),
            all_stable: self.all_stable && other.all_stable,
        }
    }

    /// Nobody knows what was discarded.
    pub fn crashed(&mut self) {
        self.stable = [false; ENDS];
        self.all_stable = false;
    }
}

/// A device: what each sector holds.
pub type Content<'a> = &'a dyn Fn(u64) -> Stamp;

/// Takes samples of a device.
pub fn sample(items: impl Iterator<Item = Item>, length: u64, content: Content<'_>) -> Samples {
    let mut samples = Samples::default();
    for item in items {
        let sectors = item.sectors(length);
        let stamps = (sectors.start()..sectors.end()).map(content);
        let bytes: Vec<u8> = stamps.flat_map(Stamp::to_le_bytes).collect();
        samples.take(item, &bytes);
    }
    samples
}

/// Compares devices with what was recorded, as the target does.
fn compare(
    loaded: &Loaded,
    recorded: &Recorded,
    [source, clone]: [Content<'_>; 2],
    accepted: Accepted,
) -> Result<(), Refusal> {
    let length = loaded.engine.geometry().length();
    let found = sample(recorded.clone.items(), length, clone);
    let of_source = sample(recorded.source.items(), length, source);
    let fits_crossed = recorded.fits_crossed(
        &sample(recorded.source.items(), length, clone),
        &sample(recorded.clone.items(), length, source),
    );
    let exchange = if fits_crossed {
        let engine = &loaded.engine;
        engine.exchange(&loaded.shared, recorded, &found, &of_source)
    } else {
        Exchange::No
    };
    recorded
        .differences(&found, &of_source)
        .verdict(accepted, exchange)
}

fn any_differs(item: Item, length: u64, [a, b]: [Content<'_>; 2]) -> bool {
    let sectors = item.sectors(length);
    (sectors.start()..sectors.end()).any(|sector| a(sector) != b(sector))
}

/// What is always sampled of a clone.
fn always() -> impl Iterator<Item = Item> {
    let items: Vec<Item> = Wanted::of_clone(Places::default()).items().collect();
    items.into_iter()
}

impl World {
    fn length(&self) -> u64 {
        self.geometry.length()
    }

    /// What the source holds; outside of the window nothing.
    pub(super) fn source_content<'a>(&self, disk: &'a DataDisk) -> impl Fn(u64) -> Stamp + 'a {
        let window = self.params.window;
        move |sector| match window.contains(sector) {
            true => disk.read(sector),
            false => 0,
        }
    }

    /// What a clone holds.
    pub(super) fn clone_content<'a>(&self, disk: &'a CloneDisk) -> impl Fn(u64) -> Stamp + 'a {
        let window = self.params.window;
        move |sector| match window.contains(sector) {
            true => disk.read(sector),
            false => 0,
        }
    }

    /// Takes samples of the clone as the engine wants them.
    pub(super) fn clone_samples(&self) -> Samples {
        let wanted = self.engine.clone_wanted(&self.shared);
        sample(
            wanted.items(),
            self.length(),
            &self.clone_content(&self.clone),
        )
    }

    /// Takes places of the clone anew.
    pub(super) fn sample_clone_places(&mut self) {
        let places = self.engine.clone_places_wanted(&self.shared);
        let content = self.clone_content(&self.clone);
        let samples = sample(places.items(), self.length(), &content);
        drop(content);
        self.engine.clone_places_are(&samples);
    }

    /// Takes samples of the source for the next superblock; some cannot be read.
    pub(super) fn sample_source(&mut self, flushed: bool) {
        let wanted = self.engine.source_wanted(&self.shared);
        let often = self.params.faults.source_read;
        let mut items: Vec<Item> = wanted.items().collect();
        items.retain(|_| flushed && !self.rng.per_mille(often));
        self.promised.sampled = [0, 1].map(|i| items.contains(&Item::End(i)));
        let content = self.source_content(&self.source);
        let samples = sample(items.into_iter(), self.length(), &content);
        drop(content);
        self.engine.source_is(&self.shared, samples);
    }

    /// After a clean suspend: what can be told apart is sampled.
    pub(super) fn check_sampled(&self) -> ExtentLocks {
        let Promised {
            stable,
            sampled,
            all_stable,
        } = self.promised;
        let faults = &self.params.faults;
        // With one cache a failed write of metadata is a failed flush of the source.
        let flushes = faults.source_flush + faults.meta_write + faults.meta_flush;
        if faults.source_read > 0 || flushes > 0 {
            return Ok(());
        }
        if stable
            .iter()
            .zip(sampled)
            .any(|(stable, sampled)| *stable && !sampled)
        {
            return Err(Promise::Recovery.broken("an end of the source is not sampled"));
        }
        let marked = self.shared.maps.count(Role::Cdm) + self.shared.maps.count(Role::Prm);
        let places = self.engine.superblock.source.places();
        if all_stable && marked > 0 && places.iter().count() == 0 {
            return Err(Promise::Recovery.broken("no place is sampled where a bit is set"));
        }
        Ok(())
    }

    /// A discard goes to the source, or a write has failed.
    pub(super) fn note_unstable(&mut self, sectors: Run) {
        let length = self.length();
        self.promised.all_stable = false;
        for (i, stable) in self.promised.stable.iter_mut().enumerate() {
            *stable &= !Item::End(i).sectors(length).overlaps(sectors);
        }
    }

    /// What was discarded may read differently from now on, where the clone does not hold the same
    /// discarded content.
    pub(super) fn change_unstable(&mut self, source: &mut DataDisk) {
        let clone = self.clone.clone();
        let rng = &mut self.fork_rng;
        source.change(|sector, stamp| {
            let changes = is_discard(stamp) && !is_discard(clone.read(sector));
            (changes && rng.below(2) == 0).then_some(stamp ^ (1 << 20))
        });
    }

    /// The caller has made the clone anew, and could not say so. It says now that the clone is to be
    /// taken as it is, and we know that the maps are right.
    pub(super) fn recorded_anew(&self, loaded: &mut Loaded) {
        let items = loaded.engine.clone_wanted(&loaded.shared);
        let content = self.clone_content(&self.clone);
        let samples = sample(items.items(), self.length(), &content);
        loaded.engine.clone_is(samples);
    }

    /// Words of a table line by chance, for this state; the clone may change along.
    pub(super) fn any_words(&mut self, loaded: &Loaded) -> Features {
        let mut words = Features::default();
        if self.params.window.start() > 0 {
            // Bits outside of the window mean copies outside of it.
            return words;
        }
        let restoring = loaded.shared.maps.state().mode == Mode::Restoring;
        match self.rng.below(24) {
            0 | 1 if restoring => words.start_over = true,
            0 | 1 => words.assume_different = true,
            2 => words.assume_same = true,
            3 => words.accept_clone = true,
            _ => {}
        }
        if words.accept_clone {
            self.older_clone = Some(self.clone.clone());
            for _ in 0..3 {
                let sector = self.rng.below(self.length());
                self.last_id += 1;
                // Where it holds what a discard has left, the source is stable by what was declared.
                if !is_discard(self.clone.read(sector)) {
                    self.clone.spoil(sector, self.last_id);
                }
            }
        }
        words
    }

    /// The words of a line are carried out, with the oracle. There is no crash and no fault meanwhile:
    /// the clone may be another one already, and the metadata does not know it.
    pub(super) fn declare(&mut self, words: Features) -> Result<(), Stop> {
        self.trace(|| format!("declare {words:?}"));
        if words.accept_clone || words.start_over {
            // As with the start of a restore: later than that they do not land.
            self.land_all_late();
        }
        self.engine.features = words;
        let declared = self.engine.declare(&self.shared);
        declared.map_err(|refusal| Promise::Recovery.broken(format!("words: {refusal:?}")))?;
        if words.accept_clone {
            self.engine.clone_is(self.clone_samples());
        }
        self.source.flush_all();
        self.sample_source(true);
        if words.assume_different || words.accept_clone || words.start_over {
            self.delta.fill(true);
        }
        if self.delta.restoring && !words.assume_same {
            self.delta.begun();
            let clone = &self.clone;
            self.oracle.settle(|sector| clone.read(sector));
        }
        Ok(())
    }

    /// At a load: the real devices are accepted, others are refused.
    pub(super) fn check_identity(
        &self,
        loaded: &Loaded,
        (source, clone): (&DataDisk, &CloneDisk),
    ) -> ExtentLocks {
        let recorded = loaded.engine.recorded(&loaded.shared);
        let source = self.source_content(source);
        let clone = self.clone_content(clone);
        let (length, none) = (self.length(), Accepted::default());
        let offered = |devices: [Content<'_>; 2]| compare(loaded, &recorded, devices, none);
        match offered([&source, &clone]) {
            Ok(()) => {}
            Err(Refusal::CloneContent) if self.unrecorded => return Ok(()),
            Err(refusal) => {
                let found = sample(recorded.source.items(), length, &source);
                let item = recorded.source.difference(&found);
                let how = format!("the real devices are refused: {refusal:?}, source {item:?}");
                return Err(Promise::Recovery.broken(how));
            }
        }
        let refused = |what: &str, devices: [Content<'_>; 2]| match offered(devices) {
            Err(_) => Ok(()),
            Ok(()) => Err(Promise::Recovery.broken(format!("{what} is accepted"))),
        };
        refused("another clone", [&source, &|_| 7])?;
        if let Some(older) = &self.older_clone {
            let older = self.clone_content(older);
            if always().any(|item| any_differs(item, length, [&older, &clone])) {
                refused("an older clone", [&source, &older])?;
            }
        }
        let clean = loaded.engine.superblock.clean;
        let ends = (0..ENDS).filter(|i| clean && self.promised.sampled[*i]);
        for i in ends {
            let end = Item::End(i);
            let changed = end.sectors(length).end() - 1;
            let other = |sector| source(sector) ^ u32::from(sector == changed);
            refused("a source that was changed at its end", [&other, &clone])?;
            if any_differs(end, length, [&source, &clone]) {
                refused("an exchanged pair", [&clone, &source])?;
                let all = Accepted {
                    clone: true,
                    source: true,
                    order: false,
                };
                let told = compare(loaded, &recorded, [&clone, &source], all);
                if told != Err(Refusal::Exchanged) {
                    let how = format!("an exchanged pair, with all words given: {told:?}");
                    return Err(Promise::Recovery.broken(how));
                }
            }
        }
        if always().any(|item| any_differs(item, length, [&source, &clone])) {
            refused("an exchanged pair", [&clone, &source])?;
        }
        Ok(())
    }
}
