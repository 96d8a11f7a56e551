// SPDX-License-Identifier: GPL-2.0

//! In the virtual machine: the real module on disks as a power cut has left them.
//!
//! What is found goes to read-back disks, to be compared outside; what the programs here say comes
//! back as a line.

use super::files;
use super::load::disk;
use super::plan::{FILES, LENGTH};
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// Which slot.
    pub slot: usize,
    /// Extent size in sectors.
    pub extent: u64,
    /// Do not copy while reading.
    pub hold: bool,
    /// Mount the file system, check the database, check the file system.
    pub files: bool,
    /// Let the restore end and read again.
    pub finish: bool,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |is: bool| u8::from(is);
        let flags = [flag(self.hold), flag(self.files), flag(self.finish)];
        let [hold, files, finish] = flags;
        write!(f, "{}:{}:{hold}:{files}:{finish}", self.slot, self.extent)
    }
}

impl FromStr for Job {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        let numbers: Vec<u64> = word.split(':').map(str::parse).collect::<Result<_, _>>()?;
        let [slot, extent, hold, files, finish] = numbers[..] else {
            anyhow::bail!("not a job: {word}");
        };
        Ok(Self {
            slot: slot as usize,
            extent,
            hold: hold != 0,
            files: files != 0,
            finish: finish != 0,
        })
    }
}

impl Job {
    fn name(&self) -> String {
        format!("slot{}", self.slot)
    }

    fn table(&self) -> String {
        let slot = self.slot;
        let [metadata, source] = ["metadata", "source"].map(|role| disk(&format!("{role}-{slot}")));
        let hold = if self.hold { "1 no_copy" } else { "0" };
        let (clone, extent) = (disk("clone"), self.extent);
        format!("0 {LENGTH} restore {metadata} {source} {clone} {extent} {hold}")
    }

    fn run(&self) -> Result<String> {
        let name = self.name();
        let device = Device::open(&dm::path(&name))?;
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
        let part = format!("{}-files", self.name());
        let sectors = FILES.end - FILES.start;
        let table = format!(
            "0 {sectors} linear {} {}",
            dm::path(&self.name()),
            FILES.start
        );
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
    let refused = create(&jobs)?;
    let running = jobs.iter().filter(|job| !refused.contains(&job.slot));
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
    let names: Vec<String> = jobs.iter().map(Job::name).collect();
    remove(&names, &refused)
}

fn say_failed(slot: usize, why: &str) {
    println!("@failed {slot} {}", why.replace('\n', "; "));
}

/// Makes the mapped devices with one command. If one is refused, each by itself; returns the slots
/// of those that are refused.
fn create(jobs: &[Job]) -> Result<BTreeSet<usize>> {
    let names: Vec<String> = jobs.iter().map(Job::name).collect();
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
    for job in jobs {
        let made = dm::run(&["info", &job.name()])?;
        if made.ok && made.out.contains("ACTIVE") {
            continue;
        }
        dm::run(&["remove", &job.name()])?;
        if let Err(error) = dm::ok(&["create", &job.name(), "--table", &job.table()]) {
            dm::run(&["remove", &job.name()])?;
            say_failed(job.slot, &format!("refused: {error:#}"));
            refused.insert(job.slot);
        }
    }
    Ok(refused)
}

fn remove(names: &[String], refused: &BTreeSet<usize>) -> Result<()> {
    let mut args = vec!["remove", "--retry"];
    let made = names.iter().enumerate();
    args.extend(
        made.filter(|(slot, _)| !refused.contains(slot))
            .map(|(_, name)| name.as_str()),
    );
    if args.len() > 2 {
        dm::ok(&args)?;
    }
    println!("@end");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_it_is_written() {
        let job = Job {
            slot: 2,
            extent: 128,
            hold: true,
            files: false,
            finish: true,
        };
        assert_eq!(job.to_string().parse::<Job>().unwrap(), job);
        assert!("1:2".parse::<Job>().is_err());
    }
}
