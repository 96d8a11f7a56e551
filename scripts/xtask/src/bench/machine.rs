// SPDX-License-Identifier: GPL-2.0

//! The machine that a benchmark runs in, and what it tells.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, Result};

use super::line::{Line, Sample};
use super::store::directory;
use crate::module;
use crate::progress::Step;
use crate::setup::Setup;
use crate::test::programs;
use crate::vm::{Config, Vm};

/// MiB: the largest rows have source and clone of 4 GiB in it, filled.
const MEMORY: u32 = 10 * 1024;

/// Longer than any run should take.
const TIMEOUT: Duration = Duration::from_secs(3 * 3600);

/// A machine with the module in its kernel that runs the program `bench` with these words.
///
/// # Errors
///
/// Module or program cannot be built.
pub fn config(setup: &Setup, words: &str) -> Result<Config> {
    let module = module::build(&setup.tree)?;
    let program = programs::build()?.path("bench")?.to_owned();
    let mut config = Config::new("bench", setup.guest.clone());
    config.dir = directory();
    config.memory = MEMORY;
    config.timeout = TIMEOUT;
    // The timers of null_blk need it; emulated machines are booted without.
    config.cmdline.push("highres=on".into());
    config.payload = vec![
        (module::FILE.into(), module.stripped),
        ("bench".into(), program),
    ];
    config.command = command(words);
    Ok(config)
}

/// The script that loads the module and runs the program with these words.
#[must_use]
pub fn command(words: &str) -> String {
    let module = module::FILE;
    format!("modprobe dm-mod && insmod /payload/{module} && exec /payload/bench {words}")
}

/// What the guest has told.
#[derive(Default)]
pub struct Told {
    /// The measurements, in the order in which they were made.
    pub samples: Vec<Sample>,
    /// What came to no end, and why.
    pub failed: Vec<(String, String)>,
}

impl Told {
    /// Add what another machine has told.
    pub fn add(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.failed.extend(other.failed);
    }

    /// Whether all came to its end.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Run the machine, which measures so many things of a kind (`rows`).
///
/// # Errors
///
/// It does not come to its end, or its kernel complains. What fails in it alone is told.
pub fn measure(config: Config, kind: &str, count: usize) -> Result<Told> {
    let mut told = Told::default();
    let mut noise = Vec::new();
    let step = Step::items(kind, count as u64);
    let mut done = 0;
    let outcome = Vm::start(config)?.run(|line| match Line::parse(line) {
        Some(Line::Sample(sample)) => {
            step.doing(&format!(
                "{}, {}: {}",
                sample.row, sample.case, sample.contestant
            ));
            told.samples.push(sample);
        }
        Some(Line::Note(text)) => step.line(&text),
        Some(Line::Failed { row, error }) => told.failed.push((row, error)),
        Some(Line::Done { row }) => {
            done += 1;
            step.at(done);
            step.line(&format!("{row}: done"));
        }
        None => noise.push(line.to_owned()),
    })?;
    if let Err(error) = outcome.check() {
        for line in &noise {
            println!("guest: {line}");
        }
        // What was measured is shown all the same, but not kept: a kernel in trouble measures
        // something else.
        bail!("{error:#}");
    }
    step.done();
    for (row, error) in &told.failed {
        println!("{row}: {error}");
    }
    Ok(told)
}
