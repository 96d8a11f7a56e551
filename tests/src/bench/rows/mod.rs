// SPDX-License-Identifier: GPL-2.0

//! The rows, one file for each family. What is asked of them is in `xtask::bench::table`.

mod large;
mod load;
mod reads;
pub mod restores;
pub mod touches;
mod writes;

use super::contest::{Contest, Measure};
use super::fio::Job;
use crate::random::Random;
use anyhow::{bail, Result};
use xtask::bench::settings::SECONDS;

/// Runs a row.
pub fn run(contest: Contest) -> Result<()> {
    match contest.row {
        "read-qd1" => reads::random(contest, 1),
        "read-qd32" => reads::random(contest, 32),
        "read-1m-4k-extents" => reads::sequential(contest),
        "write-touched" => writes::touched(contest),
        "overwrite" => writes::overwrite(contest),
        "first-touch" => touches::random(contest),
        "first-touch-seq" => touches::sequential(contest),
        "restore-full" => restores::full(contest),
        "restore-10" => restores::part(contest, 10),
        "restore-1" => restores::part(contest, 100),
        "under-load" => load::under_load(contest),
        "slow-clone" => load::slow_clone(contest),
        "start" => large::start(contest),
        "activation" => large::activation(contest),
        "memory" => large::memory(contest),
        row => bail!("the row {row} is only in the table"),
    }
}

/// The numbers below `count`, each once, in an order that looks like chance and is the same in
/// each run.
pub fn shuffled(count: u64, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let mut numbers: Vec<u64> = (0..count).collect();
    for at in (1..numbers.len()).rev() {
        let other = usize::try_from(random.below(at as u64 + 1)).unwrap_or(0);
        numbers.swap(at, other);
    }
    numbers
}

/// The requests a second of a job on a device.
pub fn iops(job: &Job, path: String) -> Measure<'_> {
    Box::new(move || Ok(job.run(&path)?.iops))
}

/// The MiB a second of a job on a device.
fn rate(job: &Job, path: String) -> Measure<'_> {
    Box::new(move || Ok(job.run(&path)?.rate))
}

/// A job for as long as fio runs for a rate.
pub fn job(pattern: &str, kib: u64, depth: u32) -> Job {
    Job::new(pattern, kib, depth).seconds(SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_there_once() {
        let mut numbers = shuffled(1000, 1);
        assert_ne!(numbers, (0..1000).collect::<Vec<_>>());
        assert_eq!(numbers, shuffled(1000, 1));
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    }
}
