// SPDX-License-Identifier: GPL-2.0

//! Lives by chance, from seeds.

use super::params::{Faults, Params};
use super::world::{Stats, World};
use crate::run::Run;

/// Says which life it was, also when it panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

fn live(seeds: std::ops::Range<u64>, adjust: impl Fn(&mut Params)) -> Stats {
    let mut sum = Stats::default();
    for seed in seeds {
        let _named = Seed(seed);
        match World::new(seed, &adjust).live() {
            Ok(stats) => sum.add(&stats),
            Err(text) => panic!("{text}"),
        }
    }
    println!("{sum}");
    sum
}

#[test]
fn lives_by_chance() {
    let sum = live(0..200, |_| {});
    assert!(sum.crash_points > 5000 && sum.finished > 50 && sum.crashes > 100);
}

#[test]
fn lives_with_many_commits() {
    let sum = live(1000..1008, |params| {
        params.length = 1500 * 8;
        params.extent_sectors = 8;
        params.window = Run::between(0, params.length);
        params.host = 300;
        params.in_flight = 8;
        params.lazy_checkpoints = true;
        params.longest = 10;
        params.steps = 30_000;
        params.forks = 10;
        params.suspends = 1;
        params.crashes = 1;
        params.faults = Faults::default();
    });
    assert!(sum.checkpoints > 0 && sum.wrapped > 100);
}

/// A busy host in a restore on a source whose flushes often fail.
#[test]
fn lives_with_failing_flushes() {
    let sum = live(3000..3150, |params| {
        params.faults = Faults {
            source_flush: 300,
            ..Faults::default()
        };
        params.host = 300;
        params.suspends = 20;
        params.forks = 5;
        params.steps = 2000;
    });
    assert!(sum.source_flush_faults > 1000);
}

/// A crash after each single write, with the unflushed ones lost, landed, and torn.
#[test]
fn a_crash_after_each_write() {
    let sum = live(2000..2006, |params| {
        params.each_write = true;
        params.steps = 1500;
    });
    assert!(sum.crash_points > 5000);
}

/// Looks for broken promises: `SIM_SEEDS=0..1000 cargo test hunt -- --ignored --nocapture`.
#[test]
#[ignore = "as long as one wants"]
fn hunt() {
    let seeds = std::env::var("SIM_SEEDS").unwrap_or_else(|_| "0..1000".into());
    let (from, to) = seeds.split_once("..").expect("SIM_SEEDS=from..to");
    let (from, to) = (from.parse::<u64>().unwrap(), to.parse::<u64>().unwrap());
    let (mut sum, mut broken) = (Stats::default(), 0);
    let start = std::time::Instant::now();
    for seed in from..to {
        let life = std::panic::AssertUnwindSafe(|| World::new(seed, |_| {}).live());
        match std::panic::catch_unwind(life) {
            Ok(Ok(stats)) => sum.add(&stats),
            Ok(Err(text)) => {
                broken += 1;
                println!("seed {seed}: {text}");
            }
            Err(_) => {
                broken += 1;
                println!("seed {seed}: panic");
            }
        }
    }
    println!("{sum:?}");
    println!(
        "{broken} broken lives, {:.0} crash points per second",
        sum.crash_points as f64 / start.elapsed().as_secs_f64()
    );
    assert_eq!(broken, 0);
}
