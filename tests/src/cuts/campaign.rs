// SPDX-License-Identifier: GPL-2.0

//! A life, and the power cuts of its instants, each checked.

use super::check::Job;
use super::image::Image;
use super::loss::Loss;
use super::machine::{Checked, Machine, Volume, SLOTS};
use super::oracle::Oracle;
use super::plan::Life;
use super::record::{Place, Record};
use super::saved::Saved;
use super::tally::Tally;
use super::verify::{self, Answer, Disks};
use super::world::{Instant, World};
use anyhow::{ensure, Result};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Dose {
    /// Restores in a life.
    pub restores: u64,
    /// Instants from each stay at a place.
    pub each: usize,
    /// Choices of what is lost at each instant.
    pub losses: u64,
}

/// Cuts that broke a promise are saved, up to so many.
const SAVED: u64 = 20;

/// A cut to be checked.
pub struct Cut {
    /// The life.
    pub life: Life,
    /// Where.
    pub place: Place,
    /// When, in the order of all disks.
    pub at: u64,
    /// What was lost.
    pub loss: Loss,
    /// Whether there was anything to lose.
    pub unflushed: bool,
    /// What it has left.
    pub left: Volume,
    /// What is to be done with them.
    pub job: Job,
    /// What the witness had heard.
    pub heard: Arc<Vec<Record>>,
    /// What that means.
    pub oracle: Arc<Oracle>,
}

/// A machine and what was done with it.
pub struct Campaign {
    /// The machine.
    pub machine: Machine,
    /// What was done.
    pub tally: Tally,
    /// Where broken promises are saved.
    pub failed: PathBuf,
    /// What was found first.
    pub findings: Vec<String>,
}

impl Campaign {
    /// Lives a life and checks its cuts.
    ///
    /// # Errors
    ///
    /// Something other than a promise is broken.
    pub fn live(&mut self, life: Life, dose: Dose, prepare: impl FnOnce(&mut World)) -> Result<()> {
        let (instants, records) = self.machine.live(life, dose.restores, dose.each, prepare)?;
        ensure!(
            !self.machine.clone_was_changed(),
            "the clone was written to"
        );
        let mut oracle = Oracle::new(life);
        let (mut heard, mut seen) = (0, HashSet::new());
        let mut batch = Vec::new();
        for instant in &instants {
            records[heard..instant.heard]
                .iter()
                .for_each(|record| oracle.hear(*record));
            heard = instant.heard;
            let known = Arc::new(records[..heard].to_vec());
            let oracle = Arc::new(oracle.clone());
            for number in 0..dose.losses {
                let cut = self.cut(life, instant, number, &known, &oracle, batch.len());
                let left = [&cut.left.source, &cut.left.clone, &cut.left.metadata];
                if seen.insert(left.map(Image::checksum)) {
                    batch.push(cut);
                }
                if batch.len() == SLOTS {
                    self.check(&std::mem::take(&mut batch))?;
                }
            }
        }
        self.check(&batch)?;
        self.tally.lives += 1;
        Ok(())
    }

    fn cut(
        &self,
        life: Life,
        instant: &Instant,
        number: u64,
        heard: &Arc<Vec<Record>>,
        oracle: &Arc<Oracle>,
        slot: usize,
    ) -> Cut {
        let seed = (life.number << 32) ^ (instant.at << 4) ^ number;
        let loss = Loss::choose(number, seed);
        let [source, clone, metadata] = loss.take(instant);
        let (source, metadata) = life.style.parts(source, metadata);
        let has_files = !life.style.drops() && oracle.formatted && !oracle.cloning;
        let count = self.tally.cuts + slot as u64;
        Cut {
            life,
            place: instant.place,
            at: instant.at,
            loss,
            unflushed: instant.has_unflushed(),
            left: Volume {
                source,
                clone,
                metadata,
            },
            job: Job {
                slot,
                extent: life.extent(),
                style: life.style,
                format: !oracle.formatted,
                accept_clone: oracle.cloning,
                hold: count % 2 == 0,
                files: has_files && count % 10 == 0,
                finish: count % 6 == 3,
            },
            heard: Arc::clone(heard),
            oracle: Arc::clone(oracle),
        }
    }

    /// Checks cuts, at most as many as there are slots.
    ///
    /// # Errors
    ///
    /// The guest does not answer.
    pub fn check(&mut self, cuts: &[Cut]) -> Result<()> {
        if cuts.is_empty() {
            return Ok(());
        }
        let jobs: Vec<Job> = cuts.iter().map(|cut| cut.job).collect();
        let disks: Vec<Volume> = cuts.iter().map(|cut| cut.left.clone()).collect();
        for (cut, checked) in cuts.iter().zip(self.machine.check(&jobs, &disks)?) {
            let back = checked.back.clone();
            if let Err(error) = judge(cut, checked) {
                self.broken(cut, &back, &format!("{error:#}"))?;
            }
            self.count(cut);
        }
        Ok(())
    }

    fn broken(&mut self, cut: &Cut, back: &Image, why: &str) -> Result<()> {
        self.tally.violations += 1;
        let mut finding = format!(
            "life {}, {}, instant {}, {}: {why}",
            cut.life.number,
            cut.place.name(),
            cut.at,
            cut.loss
        );
        if self.tally.violations <= SAVED {
            let folder = Saved::save(&self.failed, cut, back, &finding)?;
            finding += &format!(
                "\n  saved; look again: make soak ARGS='--replay {}'",
                folder.display()
            );
        }
        self.findings.push(finding);
        Ok(())
    }

    fn count(&mut self, cut: &Cut) {
        let tally = &mut self.tally;
        tally.cuts += 1;
        tally.unflushed += u64::from(cut.unflushed);
        tally.places[cut.place as usize] += 1;
        tally.files += u64::from(cut.job.files);
        tally.finished += u64::from(cut.job.finish);
    }
}

fn judge(cut: &Cut, checked: Checked) -> Result<()> {
    let Checked { said, back, after } = checked;
    let answer = Answer {
        back: &back,
        after: disks(&after),
        said,
    };
    verify::check(&disks(&cut.left), &cut.job, answer, &cut.oracle)
}

fn disks(volume: &Volume) -> Disks<'_> {
    Disks {
        source: &volume.source,
        clone: &volume.clone,
        metadata: &volume.metadata,
    }
}
