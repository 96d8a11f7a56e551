// SPDX-License-Identifier: GPL-2.0

//! What one life is like.

use super::rng::Rng;
use crate::engine::base::run::Run;
use crate::engine::sync::cache::Cache;

/// How often requests fail, per thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Reads of the clone, by the host or by a copy.
    pub clone_read: u64,
    /// Reads of the source.
    pub source_read: u64,
    /// Writes to the source, by the host or by a copy.
    pub source_write: u64,
    /// Flushes of the source; they drop what they should have covered.
    pub source_flush: u64,
    /// Writes of metadata; they may have landed.
    pub meta_write: u64,
    /// Flushes of the metadata device.
    pub meta_flush: u64,
}

impl Faults {
    /// No faults at all.
    pub fn none(&self) -> bool {
        [
            self.clone_read,
            self.source_read,
            self.source_write,
            self.source_flush,
            self.meta_write,
            self.meta_flush,
        ]
        .iter()
        .all(|often| *often == 0)
    }
}

/// The conditions of one life.
#[derive(Clone, Debug)]
pub struct Params {
    /// The mapped length in sectors.
    pub length: u64,
    /// Sectors in an extent.
    pub extent_sectors: u64,
    /// The sectors that the host uses. Outside of them source and clone are the same.
    pub window: Run,
    /// Steps before the life ends.
    pub steps: u64,
    /// Most host requests in flight.
    pub in_flight: usize,
    /// How often requests fail.
    pub faults: Faults,
    /// The disks have FUA; else a FUA write is a write and a flush, and bears the flush's error.
    pub has_fua: bool,
    /// Metadata and source are parts of one disk, with one volatile cache.
    pub one_disk: bool,
    /// What the target knows of that.
    pub cache: Cache,
    /// Writes that fail may land later.
    pub late: bool,
    /// Crash points looked at, per thousand steps.
    pub forks: u64,
    /// Times that everything is compared while in use, per thousand steps.
    pub live_checks: u64,
    /// Real crashes, per ten thousand steps.
    pub crashes: u64,
    /// Suspends, per ten thousand steps.
    pub suspends: u64,
    /// Checkpoints are only made when the ring is full.
    pub lazy_checkpoints: bool,
    /// Writes of the host may overlap in time.
    pub overlapping: bool,
    /// `no_discard_passdown` is not given.
    pub passdown: bool,
    /// So many operations of devices make progress in a step.
    pub burst: u64,
    /// Share of host requests among the steps, per thousand.
    pub host: u64,
    /// Share of writes that follow the last such one, per thousand.
    pub sequential: u64,
    /// Requests are so long at most, in sectors.
    pub longest: u64,
    /// A crash point at each single write.
    pub each_write: bool,
}

/// What lives are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Everything by chance.
    Mixed,
    /// Long lives with few suspends: the journal goes around.
    Commits,
    /// A busy host on a source whose flushes often fail.
    Flushes,
    /// Crash points at each single write.
    Writes,
    /// Hundreds of requests in flight, on thousands of extents.
    Large,
}

impl Style {
    const ALL: [Style; 5] = [
        Style::Mixed,
        Style::Commits,
        Style::Flushes,
        Style::Writes,
        Style::Large,
    ];

    /// The style of a seed's life.
    pub fn of(seed: u64) -> Self {
        match Rng::new(!seed).below(100) {
            0..=2 => Style::Commits,
            3..=8 => Style::Flushes,
            9..=10 => Style::Writes,
            11..=30 => Style::Large,
            _ => Style::Mixed,
        }
    }

    /// As it is written in the name of a life.
    pub fn name(self) -> &'static str {
        match self {
            Style::Mixed => "mixed",
            Style::Commits => "commits",
            Style::Flushes => "flushes",
            Style::Writes => "writes",
            Style::Large => "large",
        }
    }

    /// The style of that name.
    pub fn named(name: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|style| style.name() == name);
        found.ok_or_else(|| format!("there is no style '{name}'"))
    }
}

impl Params {
    /// By chance, for lives of one style.
    pub fn any(style: Style, rng: &mut Rng) -> Self {
        let mut params = Self::mixed(rng);
        match style {
            Style::Mixed => {}
            Style::Commits => params.commits(rng),
            Style::Flushes => params.flushes(),
            Style::Writes => {
                params.each_write = true;
                params.steps = 1500;
            }
            Style::Large => params.large(rng),
        }
        params
    }

    fn mixed(rng: &mut Rng) -> Self {
        let extent_sectors = rng.pick(&[8, 8, 8, 16, 32]);
        let window_extents = 64 + rng.below(64);
        let short = rng.below(extent_sectors);
        // One in eight lives has its window across the border between two map blocks.
        let first = if rng.below(8) == 0 { 32256 - 30 } else { 0 };
        let length = (first + window_extents) * extent_sectors - short;
        let one_disk = rng.below(2) == 0;
        let cache = if one_disk {
            rng.pick(&[Cache::Shared, Cache::Unknown])
        } else {
            rng.pick(&[Cache::Apart, Cache::Unknown])
        };
        Self {
            length,
            extent_sectors,
            window: Run::between(first * extent_sectors, length),
            steps: 500 + rng.below(3000),
            in_flight: 8 + rng.below(24) as usize,
            faults: Self::any_faults(rng),
            has_fua: rng.below(2) == 0,
            one_disk,
            cache,
            late: rng.below(2) == 0,
            forks: 60,
            live_checks: 100,
            crashes: rng.pick(&[0, 0, 10, 30]),
            suspends: rng.pick(&[5, 20, 60]),
            lazy_checkpoints: rng.below(2) == 0,
            overlapping: rng.below(4) == 0,
            passdown: rng.below(8) != 0,
            burst: 1,
            host: rng.pick(&[30, 100, 300, 1000]),
            sequential: rng.pick(&[0, 0, 500, 950]),
            longest: rng.pick(&[1, 3, 6]) * extent_sectors,
            each_write: false,
        }
    }

    /// No faults and no crashes.
    pub fn calm(&mut self) {
        self.faults = Faults::default();
        self.each_write = false;
        (self.crashes, self.forks) = (0, 0);
    }

    fn commits(&mut self, rng: &mut Rng) {
        self.length = 3000 * 8;
        self.extent_sectors = 8;
        self.window = Run::between(0, self.length);
        self.host = 300;
        self.in_flight = 8;
        self.lazy_checkpoints = true;
        self.longest = 10;
        self.steps = 30_000;
        self.forks = 10;
        self.live_checks = 2;
        self.suspends = rng.pick(&[0, 1]);
        self.crashes = self.suspends;
        self.faults = Faults::default();
    }

    fn flushes(&mut self) {
        self.faults = Faults {
            source_flush: 300,
            ..Faults::default()
        };
        self.host = 300;
        self.suspends = 20;
        self.steps = 2000;
    }

    fn large(&mut self, rng: &mut Rng) {
        let extents = 1500 + rng.below(3001);
        self.extent_sectors = 8;
        self.length = extents * 8 - rng.below(8);
        self.window = Run::between(0, self.length);
        self.in_flight = 300 + rng.below(301) as usize;
        self.host = rng.pick(&[300, 1000]);
        self.steps = 4000;
        self.longest = rng.pick(&[8, 24, 48]);
        self.forks = 60;
        self.live_checks = 10;
        self.suspends = rng.pick(&[10, 30]);
        self.burst = 8;
        self.crashes = rng.pick(&[0, 0, 3]);
        // A write that is cut in two is seldom between its parts when one fails.
        let often = rng.pick(&[0, 0, 50, 200]);
        self.faults.source_flush = self.faults.source_flush.max(often);
    }

    fn any_faults(rng: &mut Rng) -> Faults {
        let mut faults = Faults::default();
        if rng.below(2) == 0 {
            return faults;
        }
        let all = [
            &mut faults.clone_read,
            &mut faults.source_read,
            &mut faults.source_write,
            &mut faults.source_flush,
            &mut faults.meta_write,
            &mut faults.meta_flush,
        ];
        for often in all {
            *often = rng.pick(&[0, 0, 0, 5, 50, 200, 600]);
        }
        faults
    }
}
