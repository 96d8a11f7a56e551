// SPDX-License-Identifier: GPL-2.0

//! Things that must be refused: with a reason that the kernel log tells, and without a trace on
//! the metadata device.

use super::dm;
use super::kmsg::{self, Log};
use super::maps::Blocks;
use super::rig::Rig;
use super::wait;
use anyhow::{ensure, Context, Result};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

/// The reasons that a scenario has heard.
#[derive(Default)]
pub struct Reasons {
    heard: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Reasons {
    /// Tries to make the rig's mapped device with another table, which must be refused with a
    /// reason that contains `must`; nothing may change on the metadata device.
    pub fn table(&mut self, rig: &Rig, case: &str, table: &str, must: &str) {
        self.create(rig, case, &["--table", table], must);
    }

    /// The same with other arguments for `dmsetup create`.
    pub fn create(&mut self, rig: &Rig, case: &str, args: &[&str], must: &str) {
        let tried = try_create(rig, args);
        self.note(case, must, tried);
    }

    /// Sends a message that must be refused.
    pub fn message(&mut self, rig: &Rig, message: &str, must: &str) {
        let tried = try_message(rig, message);
        self.note(&format!("message '{message}'"), must, tried);
    }

    fn note(&mut self, case: &str, must: &str, tried: Result<String>) {
        match tried {
            Ok(reason) if reason.contains(must) => drop(self.heard.insert(reason)),
            Ok(reason) => self
                .wrong
                .push(format!("{case}: '{must}' must be told, not: {reason}")),
            Err(error) => self.wrong.push(format!("{case}: {error:#}")),
        }
    }

    /// Checks that all went well and that there were so many different reasons.
    pub fn check(&self, at_least: usize) -> Result<()> {
        let wrong = &self.wrong;
        ensure!(
            wrong.is_empty(),
            "{} cases are wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        let count = self.heard.len();
        ensure!(
            count >= at_least,
            "only {count} different reasons, must be {at_least}: {:#?}",
            self.heard
        );
        Ok(())
    }
}

/// Minor numbers below the first are given by device-mapper itself.
static NEXT_MINOR: AtomicU32 = AtomicU32::new(4096);

fn try_create(rig: &Rig, args: &[&str]) -> Result<String> {
    let blocks = Blocks::open(&rig.metadata.part)?;
    let before = blocks.read_all()?;
    let mut log = Log::from_now()?;
    let name = format!("{}-bad", rig.name);
    // A number that no other device has: it tells whose the lines in the log are, and what is said
    // about the others does not count against the few lines that each may have.
    let minor = NEXT_MINOR.fetch_add(1, Ordering::Relaxed).to_string();
    let major = rig.source.major();
    let mut words = vec![
        "create",
        name.as_str(),
        "--major",
        major,
        "--minor",
        minor.as_str(),
    ];
    words.extend(args);
    let ran = dm::run(&words)?;
    // What could be loaded but not resumed is left behind.
    let left = dm::run(&["remove", "--retry", &name])?;
    ensure!(!ran.ok, "it was accepted");
    drop(left);
    ensure!(
        blocks.read_all()? == before,
        "it was refused, but metadata was written"
    );
    told(&mut log, &format!("{major}:{minor}")).with_context(|| ran.err)
}

fn try_message(rig: &Rig, message: &str) -> Result<String> {
    let blocks = Blocks::open(&rig.metadata.part)?;
    let (before, status) = (blocks.read_all()?, rig.status()?);
    let mut log = Log::from_now()?;
    // Lines about refusals are rare: sooner or later it is told.
    let told = wait::until("a line about it", || {
        let ran = rig.try_message(message)?;
        ensure!(!ran.ok, "it was accepted");
        Ok(told(&mut log, rig.number()).ok())
    })?;
    ensure!(
        rig.status()? == status,
        "it was refused, but the status has changed"
    );
    ensure!(
        blocks.read_all()? == before,
        "it was refused, but metadata was written"
    );
    Ok(told)
}

/// What the target and device-mapper's table said about the device, without its number.
fn told(log: &mut Log, number: &str) -> Result<String> {
    let lines = log.lines()?;
    let told: Vec<&str> = lines
        .iter()
        .filter_map(|line| kmsg::of_target(line, number).or_else(|| kmsg::of_table(line, number)))
        .collect();
    ensure!(!told.is_empty(), "the kernel log says nothing about it");
    Ok(told.join(" | "))
}
