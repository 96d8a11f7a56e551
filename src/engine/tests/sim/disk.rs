// SPDX-License-Identifier: GPL-2.0

//! Modelled disks with a volatile cache.
//!
//! What was written and not flushed lies in the cache: reads see it, a crash keeps any part of it,
//! sector by sector and in any order, and a failed flush may drop what it covered. A FUA write is
//! durable by itself.

use super::rng::Rng;
use crate::engine::base::run::Run;
use crate::engine::format::{Block, BLOCK};
use std::rc::Rc;

/// What a sector of source or clone holds: the number of the request that wrote it.
pub type Stamp = u32;

const SECTOR: usize = 512;
const SECTORS_PER_BLOCK: usize = BLOCK / SECTOR;

/// What becomes of unflushed sectors in a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All are lost.
    Lost,
    /// All have landed.
    Landed,
    /// Each by chance.
    Chance,
}

impl Fate {
    /// One by chance.
    pub fn any(rng: &mut Rng) -> Self {
        rng.pick(&[Fate::Lost, Fate::Landed, Fate::Chance, Fate::Chance])
    }

    /// Whether one sector lands.
    pub fn lands(self, rng: &mut Rng) -> bool {
        self.choose(1, rng).is_some()
    }

    /// Which of `candidates` values, oldest first, lands; `None`: none.
    fn choose(self, candidates: usize, rng: &mut Rng) -> Option<usize> {
        match self {
            Fate::Lost => None,
            Fate::Landed => candidates.checked_sub(1),
            Fate::Chance => (rng.below(candidates as u64 + 1) as usize).checked_sub(1),
        }
    }
}

/// A sector in the cache.
#[derive(Clone, Copy, Debug)]
struct Cached {
    value: Stamp,
    /// The operation that wrote it, and when that was complete: a flush covers what was complete
    /// when it was submitted.
    op: u64,
    complete: u64,
}

/// A write on its way to a disk: a crash may keep any part of it.
pub type OnItsWay = (u64, Stamp);

/// Source or clone: a window of sectors, each with a stamp.
#[derive(Clone)]
pub struct DataDisk {
    window: Run,
    media: Vec<Stamp>,
    cache: Vec<Vec<Cached>>,
}

impl DataDisk {
    /// A disk of which only `window` is looked at, filled with one stamp.
    pub fn new(window: Run, stamp: Stamp) -> Self {
        Self {
            window,
            media: vec![stamp; window.len() as usize],
            cache: vec![Vec::new(); window.len() as usize],
        }
    }

    fn index(&self, sector: u64) -> usize {
        assert!(
            self.window.contains(sector),
            "sector {sector} is outside the disk"
        );
        (sector - self.window.start()) as usize
    }

    /// What a read of `sector` returns.
    pub fn read(&self, sector: u64) -> Stamp {
        let i = self.index(sector);
        self.cache[i]
            .last()
            .map_or(self.media[i], |cached| cached.value)
    }

    /// What is durable.
    pub fn media(&self) -> &[Stamp] {
        &self.media
    }

    /// A write into the cache.
    pub fn write(&mut self, op: u64, sector: u64, value: Stamp) {
        let i = self.index(sector);
        self.cache[i].push(Cached {
            value,
            op,
            complete: u64::MAX,
        });
    }

    /// A write to the media. What the cache had of it is gone.
    pub fn write_fua(&mut self, sector: u64, value: Stamp) {
        let i = self.index(sector);
        self.cache[i].clear();
        self.media[i] = value;
    }

    /// The operation is complete for whoever issued it.
    pub fn complete(&mut self, op: u64, sectors: Run, at: u64) {
        for sector in sectors.start()..sectors.end() {
            let i = self.index(sector);
            for cached in self.cache[i].iter_mut().filter(|cached| cached.op == op) {
                cached.complete = cached.complete.min(at);
            }
        }
    }

    /// A flush that succeeds: what was complete before it was submitted is on the media, of what
    /// came later any part.
    pub fn flush(&mut self, submitted: u64, rng: &mut Rng) {
        let fate = Fate::any(rng);
        for (media, cache) in self.media.iter_mut().zip(&mut self.cache) {
            let covered = cache.iter().rposition(|c| c.complete < submitted);
            let covered = covered.map_or(0, |last| last + 1);
            let more = fate.choose(cache.len() - covered, rng);
            let flushed = covered + more.map_or(0, |last| last + 1);
            if let Some(last) = cache.drain(..flushed).next_back() {
                *media = last.value;
            }
        }
    }

    /// The device itself changes what some sectors hold.
    pub fn change(&mut self, mut other: impl FnMut(u64, Stamp) -> Option<Stamp>) {
        for (i, media) in self.media.iter_mut().enumerate() {
            if let Some(stamp) = other(self.window.start() + i as u64, *media) {
                *media = stamp;
            }
        }
    }

    /// A flush of everything, while nothing is in flight.
    pub fn flush_all(&mut self) {
        self.flush(u64::MAX, &mut Rng::new(0));
    }

    /// A flush that fails: some of what was complete before it was submitted is dropped. Returns
    /// when the first of that was complete.
    pub fn flush_failed(&mut self, submitted: u64, rng: &mut Rng) -> Option<u64> {
        let all = rng.per_mille(300);
        let mut first = None;
        for cache in &mut self.cache {
            cache.retain(|cached| {
                let drop = cached.complete < submitted && (all || rng.per_mille(500));
                if drop {
                    first = Some(first.map_or(cached.complete, |at: u64| at.min(cached.complete)));
                }
                !drop
            });
        }
        first
    }

    /// The media after a crash. `coming` are sectors that were on their way.
    pub fn after_crash(&self, coming: &[OnItsWay], fate: Fate, rng: &mut Rng) -> Vec<Stamp> {
        let mut media = self.media.clone();
        for (media, cache) in media.iter_mut().zip(&self.cache) {
            if let Some(chosen) = fate.choose(cache.len(), rng) {
                *media = cache[chosen].value;
            }
        }
        for (sector, value) in coming {
            if fate.lands(rng) {
                media[self.index(*sector)] = *value;
            }
        }
        media
    }

    /// The disk after a crash.
    pub fn restart(&mut self, media: Vec<Stamp>) {
        self.media = media;
        self.cache.iter_mut().for_each(Vec::clear);
    }

    /// Whether anything would be lost in a crash.
    pub fn is_dirty(&self) -> bool {
        self.cache.iter().any(|cache| !cache.is_empty())
    }
}

/// The clone: nothing of the target's can write to it. A copy that was just made may be in its
/// volatile cache, or not even there: in the page cache, which is not what requests read.
#[derive(Clone)]
pub struct CloneDisk {
    disk: DataDisk,
    pages: Option<Vec<Stamp>>,
}

impl CloneDisk {
    /// Filled with one stamp.
    pub fn new(window: Run, stamp: Stamp) -> Self {
        let disk = DataDisk::new(window, stamp);
        let pages = None;
        Self { disk, pages }
    }

    /// Somebody makes a copy on it that holds `content`, through the page cache or past it.
    pub fn fill(&mut self, content: Vec<Stamp>, buffered: bool) {
        self.pages = Some(content);
        if !buffered {
            self.write_pages();
        }
    }

    /// What is in the page cache goes to the disk.
    pub fn write_pages(&mut self) {
        let window = self.disk.window;
        for (sector, stamp) in (window.start()..).zip(self.pages.take().unwrap_or_default()) {
            self.disk.write(0, sector, stamp);
        }
        self.disk.complete(0, window, 0);
    }

    /// A flush that succeeds.
    pub fn flush(&mut self) {
        self.disk.flush_all();
    }

    /// A flush that fails and drops some of what it covered.
    pub fn flush_failed(&mut self, rng: &mut Rng) {
        self.disk.flush_failed(u64::MAX, rng);
    }

    /// What a read of `sector` returns.
    pub fn read(&self, sector: u64) -> Stamp {
        self.disk.read(sector)
    }

    /// What is durable.
    pub fn media(&self) -> &[Stamp] {
        self.disk.media()
    }

    /// The clone after a crash.
    pub fn after_crash(&self, fate: Fate, rng: &mut Rng) -> Self {
        let mut disk = self.disk.clone();
        if disk.is_dirty() {
            disk.restart(self.disk.after_crash(&[], fate, rng));
        }
        let pages = None;
        Self { disk, pages }
    }

    /// Somebody writes to a sector of it.
    pub fn spoil(&mut self, sector: u64, stamp: Stamp) {
        self.disk.write_fua(sector, stamp);
    }
}

/// The metadata device.
#[derive(Clone)]
pub struct MetaDisk {
    media: Vec<Rc<Block>>,
    cache: Vec<(u64, Rc<Block>)>,
}

/// `new` over `old`, sector by sector.
fn torn(old: &Block, new: &Block, fate: Fate, rng: &mut Rng) -> Rc<Block> {
    let mut block = *old;
    for i in 0..SECTORS_PER_BLOCK {
        if fate.lands(rng) {
            let at = i * SECTOR..(i + 1) * SECTOR;
            block[at.clone()].copy_from_slice(&new[at]);
        }
    }
    Rc::new(block)
}

impl MetaDisk {
    /// A blank device of so many blocks.
    pub fn new(blocks: u64) -> Self {
        let zero = Rc::new([0; BLOCK]);
        Self {
            media: vec![zero; blocks as usize],
            cache: Vec::new(),
        }
    }

    /// What is durable.
    pub fn media(&self) -> &[Rc<Block>] {
        &self.media
    }

    /// What reads see.
    pub fn view(&self) -> Vec<Rc<Block>> {
        let mut view = self.media.clone();
        for (place, block) in &self.cache {
            view[*place as usize] = block.clone();
        }
        view
    }

    /// A write into the cache.
    pub fn write(&mut self, place: u64, block: Rc<Block>) {
        assert!((place as usize) < self.media.len(), "block {place}");
        self.cache.push((place, block));
    }

    /// A write into the cache that fails halfway.
    pub fn write_torn(&mut self, place: u64, block: &Block, fate: Fate, rng: &mut Rng) {
        let old = self.view()[place as usize].clone();
        let mixed = torn(&old, block, fate, rng);
        self.write(place, mixed);
    }

    /// A write to the media.
    pub fn write_fua(&mut self, place: u64, block: Rc<Block>) {
        self.cache.retain(|(other, _)| *other != place);
        self.media[place as usize] = block;
    }

    /// A write to the media that fails halfway.
    pub fn write_fua_torn(&mut self, place: u64, block: &Block, fate: Fate, rng: &mut Rng) {
        let mixed = torn(&self.media[place as usize], block, fate, rng);
        self.write_fua(place, mixed);
    }

    /// A flush that succeeds.
    pub fn flush(&mut self) {
        for (place, block) in core::mem::take(&mut self.cache) {
            self.media[place as usize] = block;
        }
    }

    /// A flush that fails and drops some of what it covered.
    pub fn flush_failed(&mut self, rng: &mut Rng) {
        self.cache.retain(|_| rng.per_mille(500));
    }

    /// The media after a crash. `coming` is a write that was on its way.
    pub fn after_crash(
        &self,
        coming: Option<&(u64, Rc<Block>)>,
        fate: Fate,
        rng: &mut Rng,
    ) -> Vec<Rc<Block>> {
        let mut media = self.media.clone();
        for (place, block) in self.cache.iter().chain(coming) {
            let old = &media[*place as usize];
            media[*place as usize] = match fate {
                Fate::Lost => continue,
                Fate::Landed => block.clone(),
                Fate::Chance => torn(old, block, Fate::any(rng), rng),
            };
        }
        media
    }

    /// The device after a crash.
    pub fn restart(&mut self, media: Vec<Rc<Block>>) {
        self.media = media;
        self.cache.clear();
    }

    /// Whether anything would be lost in a crash.
    pub fn is_dirty(&self) -> bool {
        !self.cache.is_empty()
    }
}
