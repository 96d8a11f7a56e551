// SPDX-License-Identifier: GPL-2.0

//! In the virtual machine: the real module on disks as a power cut has left them.
//!
//! What is found goes to read-back disks, to be compared outside; what the programs here say comes
//! back as a line.

use super::files;
use super::load::disk;
use super::machine::CLONE_AT;
use super::plan::{FILES, LENGTH};
use super::style::Style;
use super::volume::{Part, Volume};
use crate::dm::{self, New};
use crate::io::Device;
use crate::status::Status;
use crate::wait;
use anyhow::{ensure, Context, Result};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

/// Sectors that are read at a time.
const READ: u64 = 2048;

/// When a restore that does not end is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// What to do with the disks of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which slot.
    pub slot: usize,
    /// Extent size in sectors.
    pub extent: u64,
    /// What the volume is like.
    pub style: Style,
    /// It may not be formatted yet.
    pub format: bool,
    /// The clone may be another one than was recorded.
    pub accept_clone: bool,
    /// Do not copy while reading.
    pub hold: bool,
    /// Mount the file system, check the database, check the file system.
    pub files: bool,
    /// Let the restore end and read again.
    pub finish: bool,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.slot, self.extent, self.style.name())?;
        let mut job = *self;
        job.flags().iter().try_for_each(|(letter, is)| {
            let letter = if **is { *letter } else { '-' };
            write!(f, ":{letter}")
        })
    }
}

impl FromStr for Job {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        let words: Vec<&str> = word.split(':').collect();
        let [slot, extent, style, ref letters @ ..] = words[..] else {
            anyhow::bail!("not a job: {word}");
        };
        let mut job = Self {
            slot: slot.parse()?,
            extent: extent.parse()?,
            style: style.parse()?,
            format: false,
            accept_clone: false,
            hold: false,
            files: false,
            finish: false,
        };
        ensure!(letters.len() == job.flags().len(), "not a job: {word}");
        for ((letter, flag), word) in job.flags().into_iter().zip(letters) {
            *flag = *word == letter.to_string();
        }
        Ok(job)
    }
}

impl Job {
    fn flags(&mut self) -> [(char, &mut bool); 5] {
        [
            ('b', &mut self.format),
            ('a', &mut self.accept_clone),
            ('h', &mut self.hold),
            ('f', &mut self.files),
            ('e', &mut self.finish),
        ]
    }

    fn volume(&self) -> Volume {
        let slot = self.slot;
        let part = |role: &str| Part::whole(disk(&format!("{role}-{slot}")));
        Volume {
            name: format!("slot{slot}"),
            style: self.style,
            source: part("source"),
            clone: Part {
                start: CLONE_AT,
                ..part("back")
            },
            metadata: part("metadata"),
        }
    }

    fn words(&self) -> String {
        let mut features = Vec::new();
        if self.format {
            features.extend(["format", "identical"]);
        }
        if self.accept_clone {
            features.push("accept_clone");
        }
        if self.hold {
            features.push("no_copy");
        }
        format!("{} {}", features.len(), features.join(" "))
    }

    fn table(&self) -> String {
        let words = self.words();
        self.volume().table(self.extent, words.trim_end())
    }

    fn run(&self) -> Result<String> {
        let volume = self.volume();
        let name = volume.name.clone();
        let device = Device::open(&volume.path())?;
        let back = Device::open(&disk(&format!("back-{}", self.slot)))?;
        copy(&device, &back, 0)?;
        let mut word = "-".to_string();
        if self.files {
            word = self.check_files()?;
        }
        if self.finish {
            dm::ok(&["message", &name, "0", "resume_copy"])?;
            wait::until_within(PATIENCE, "the restore ends", || {
                Ok((status(&name)?.mode == "tracking").then_some(()))
            })?;
            copy(&device, &back, LENGTH)?;
        }
        let status = status(&name)?;
        let errors = status.clone_errors + status.source_errors + status.metadata_errors;
        ensure!(
            errors == 0 && status.metadata_mode == "rw",
            "requests failed: {status:?}"
        );
        Ok(word)
    }

    fn check_files(&self) -> Result<String> {
        let name = self.volume().name;
        let part = format!("{name}-files");
        let sectors = FILES.end - FILES.start;
        let table = format!("0 {sectors} linear {} {}", dm::path(&name), FILES.start);
        dm::ok(&["create", &part, "--table", &table])?;
        let word = files::check(&dm::path(&part), &part);
        let removed = dm::ok(&["remove", "--retry", &part]);
        let word = word?;
        removed?;
        Ok(word)
    }
}

fn status(name: &str) -> Result<Status> {
    dm::target_words(&dm::ok(&["status", name])?, "restore")?.parse()
}

fn copy(from: &Device, to: &Device, at: u64) -> Result<()> {
    for start in (0..LENGTH).step_by(READ as usize) {
        let data = from.read(start..(start + READ).min(LENGTH))?;
        to.write(at + start, &data)?;
    }
    Ok(())
}

/// Does the jobs of one line and prints what has come of each.
///
/// # Errors
///
/// The line is none, or devices cannot be taken away.
pub fn run(line: &str) -> Result<()> {
    let jobs: Vec<Job> = line
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_>>()?;
    let volumes: Vec<Volume> = jobs.iter().map(Job::volume).collect();
    let volumes: Vec<&Volume> = volumes.iter().collect();
    Volume::make_below(&volumes)?;
    let refused = create(&jobs)?;
    let is_made = |volume: &Volume| !refused.contains(&volume.name);
    let made: Vec<&Volume> = volumes.iter().copied().filter(|v| is_made(v)).collect();
    Volume::make_above(&made)?;
    let running = jobs.iter().filter(|job| is_made(&job.volume()));
    let results: Vec<(usize, Result<String>)> = thread::scope(|scope| {
        let spawned = running.map(|job| (job.slot, scope.spawn(|| job.run())));
        let threads: Vec<_> = spawned.collect();
        let joined = threads.into_iter().map(|(slot, thread)| {
            let result = thread.join().ok().context("a check panicked");
            (slot, result.and_then(|result| result))
        });
        joined.collect()
    });
    for (slot, result) in results {
        match result {
            Ok(word) => println!("@slot {slot} {word}"),
            Err(error) => say_failed(slot, &format!("{error:#}")),
        }
    }
    Volume::remove(&volumes, is_made)?;
    println!("@end");
    Ok(())
}

fn say_failed(slot: usize, why: &str) {
    println!("@failed {slot} {}", why.replace('\n', "; "));
}

/// Makes the mapped devices with one command. If one is refused, each by itself; returns the names
/// of those that are refused.
fn create(jobs: &[Job]) -> Result<BTreeSet<String>> {
    let names: Vec<String> = jobs.iter().map(|job| job.volume().name).collect();
    let devices: Vec<New> = jobs
        .iter()
        .zip(&names)
        .map(|(job, name)| New {
            name,
            read_only: false,
            table: vec![job.table()],
        })
        .collect();
    let mut refused = BTreeSet::new();
    if dm::create_all(&devices).is_ok() {
        return Ok(refused);
    }
    for (job, name) in jobs.iter().zip(&names) {
        let made = dm::run(&["info", name])?;
        if made.ok && made.out.contains("ACTIVE") {
            continue;
        }
        dm::run(&["remove", name])?;
        if let Err(error) = dm::ok(&["create", name, "--table", &job.table()]) {
            dm::run(&["remove", name])?;
            say_failed(job.slot, &format!("refused: {error:#}"));
            refused.insert(name.clone());
        }
    }
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_it_is_written() {
        let job = Job {
            slot: 2,
            extent: 128,
            style: Style::OneDisk,
            format: true,
            accept_clone: false,
            hold: true,
            files: false,
            finish: true,
        };
        assert_eq!(job.to_string().parse::<Job>().unwrap(), job);
        assert!("1:2".parse::<Job>().is_err());
    }
}
