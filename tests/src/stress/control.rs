// SPDX-License-Identifier: GPL-2.0

//! What is done to the mapped device while there is load.

use crate::dm;
use crate::random::Random;
use crate::rig::Rig;
use anyhow::{ensure, Result};

/// What has been done, for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Restores, each begun and finished.
    pub restores: u64,
    /// Suspends, those of reloads included.
    pub suspends: u64,
    /// New tables of the target.
    pub reloads: u64,
    /// Swaps for a plain mapping and back.
    pub swaps: u64,
    /// Messages, `start_restore` not counted.
    pub messages: u64,
}

/// Does things to a rig, at random.
pub struct Control {
    random: Random,
    /// How often what was done.
    pub counts: Counts,
}

impl Control {
    /// With a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            counts: Counts::default(),
        }
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    /// One thing or another.
    pub fn disturb(&mut self, rig: &Rig) -> Result<()> {
        match self.below(8) {
            0 | 1 => {
                self.suspend(rig)?;
                if self.below(2) == 0 {
                    self.message(rig)?;
                }
                rig.resume()
            }
            2 | 3 => {
                let table = self.table(rig, "");
                self.replace(rig, &table)
            }
            _ => self.message(rig),
        }
    }

    /// Suspends, in one of the ways there are.
    pub fn suspend(&mut self, rig: &Rig) -> Result<()> {
        self.counts.suspends += 1;
        let flags = self.flags();
        let words = [&["suspend"], flags, &[rig.name.as_str()]].concat();
        dm::ok(&words).map(drop)
    }

    /// With and without waiting for requests on their way, with and without freezing.
    fn flags(&mut self) -> &'static [&'static str] {
        match self.below(4) {
            0 => &[],
            1 => &["--noflush"],
            2 => &["--nolockfs"],
            _ => &["--noflush", "--nolockfs"],
        }
    }

    /// Loads another table and takes it into use: after a suspend, or by the resume alone.
    pub fn replace(&mut self, rig: &Rig, table: &str) -> Result<()> {
        dm::ok(&["load", &rig.name, "--table", table])?;
        self.counts.reloads += 1;
        if self.below(2) == 0 {
            self.suspend(rig)?;
            return rig.resume();
        }
        self.counts.suspends += 1;
        let flags = self.flags();
        let words = [&["resume"], flags, &[rig.name.as_str()]].concat();
        dm::ok(&words).map(drop)
    }

    /// A table with random core args and this feature.
    pub fn table(&mut self, rig: &Rig, feature: &str) -> String {
        let features = match (feature, self.below(6)) {
            ("", 0) => "1 no_copy".to_string(),
            ("", _) => "0".to_string(),
            (feature, _) => format!("1 {feature}"),
        };
        let args: Vec<String> = ARGS.iter().map(|arg| self.arg(arg)).collect();
        rig.table(&format!("{features} {} {}", ARGS.len() * 2, args.join(" ")))
    }

    /// A core arg and a value for it.
    fn arg(&mut self, (key, values): &(&str, [u64; 3])) -> String {
        format!("{key} {}", values[self.below(3) as usize])
    }

    /// Sends a message.
    fn message(&mut self, rig: &Rig) -> Result<()> {
        self.counts.messages += 1;
        match self.below(6) {
            0 => rig.message("pause_copy"),
            1 | 2 => rig.message("resume_copy"),
            _ => {
                let arg = ARGS[self.below(ARGS.len() as u64) as usize];
                let words = self.arg(&arg);
                rig.message(&words)
            }
        }
    }

    /// Swaps the target for a plain mapping of the source.
    pub fn to_linear(&mut self, rig: &Rig) -> Result<()> {
        ensure!(rig.spec.table_start == 0, "the plain mapping starts at 0");
        self.counts.swaps += 1;
        let table = format!("0 {} linear {} 0", rig.spec.length, rig.source.path());
        self.replace(rig, &table)
    }
}

/// Core args and values for them. None lets the copy be over at once, none lets it stand still.
const ARGS: [(&str, [u64; 3]); 4] = [
    ("copy_jobs", [1, 4, 16]),
    ("copy_size", [32, 256, 2048]),
    ("copy_rate", [500, 1500, 6000]),
    ("copy_min_rate", [0, 1024, 4096]),
];

/// The most extents that are copied in the background at a time.
pub const MOST_JOBS: u64 = 16;
/// The smallest `copy_size`: larger extents are copied in pieces.
pub const SMALLEST_COPY: u64 = 32;
