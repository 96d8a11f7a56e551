// SPDX-License-Identifier: GPL-2.0

//! A life, and the power cuts of its instants, each checked.

use super::check::Job;
use super::image::Image;
use super::loss::Loss;
use super::machine::{Checked, Machine, SLOTS};
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
    /// The source.
    pub source: Image,
    /// The metadata device.
    pub metadata: Image,
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
    /// Lives a life and checks its cuts, until there are `goal` cuts in the tally.
    ///
    /// # Errors
    ///
    /// Something other than a promise is broken.
    pub fn live(
        &mut self,
        life: Life,
        dose: Dose,
        goal: u64,
        prepare: impl FnOnce(&mut World),
    ) -> Result<()> {
        let (instants, records) = self.machine.live(life, dose.restores, dose.each, prepare)?;
        ensure!(
            self.machine.clone_changes() == 0,
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
                if seen.insert((cut.source.checksum(), cut.metadata.checksum())) {
                    batch.push(cut);
                }
                if batch.len() == SLOTS {
                    self.check(&std::mem::take(&mut batch))?;
                }
            }
            if self.tally.cuts >= goal {
                break;
            }
        }
        self.check(&batch)?;
        ensure!(
            self.machine.clone_changes() == 0,
            "the clone was written to after a cut"
        );
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
        let (source, metadata) = loss.take(instant);
        let count = self.tally.cuts + slot as u64;
        Cut {
            life,
            place: instant.place,
            at: instant.at,
            loss,
            unflushed: instant.has_unflushed(),
            source,
            metadata,
            job: Job {
                slot,
                extent: life.extent(),
                hold: count % 2 == 0,
                files: count % 10 == 0,
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
        let disks: Vec<(Image, Image)> = cuts
            .iter()
            .map(|cut| (cut.source.clone(), cut.metadata.clone()))
            .collect();
        for (cut, checked) in cuts.iter().zip(self.machine.check(&jobs, &disks)?) {
            let back = checked.back.clone();
            if let Err(error) = self.judge(cut, checked) {
                self.broken(cut, &back, &format!("{error:#}"))?;
            }
            self.count(cut);
        }
        Ok(())
    }

    fn judge(&self, cut: &Cut, checked: Checked) -> Result<()> {
        let clone = &self.machine.clone;
        let Checked {
            said,
            back,
            source,
            metadata,
        } = checked;
        let answer = Answer {
            back: &back,
            after: Disks {
                source: &source,
                clone,
                metadata: &metadata,
            },
            said,
        };
        let disks = Disks {
            source: &cut.source,
            clone,
            metadata: &cut.metadata,
        };
        verify::check(&disks, &cut.job, answer, &cut.oracle)
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
            let folder = Saved::save(&self.failed, cut, &self.machine.clone, back, &finding)?;
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
