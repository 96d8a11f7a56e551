// SPDX-License-Identifier: GPL-2.0

//! Lives from seeds, in a dose for `cargo test`. `cargo xtask sim` lives more of them.

use super::life::Life;
use super::params::Style;
use super::stats::Stats;
use super::world;

fn live(style: Style, seeds: std::ops::Range<u64>) -> Stats {
    let mut sum = Stats::default();
    for seed in seeds {
        let life = Life::styled(style, seed);
        match world::live(&life) {
            Ok(stats) => sum.add(&stats),
            Err(failure) => panic!("{failure}\nto shorten it: cargo xtask sim --replay {life}"),
        }
    }
    println!("{sum}");
    sum
}

#[test]
fn lives_by_chance() {
    let sum = live(Style::Mixed, 0..400);
    assert!(sum.crash_points > 20_000 && sum.finished > 50 && sum.crashes > 100);
    assert!(sum.busy > 1000 && sum.beginning > 500 && sum.finishing > 100 && sum.assuming > 100);
    assert!(sum.suspended > 1000 && sum.recovering > 100 && sum.faulty > 1000);
    assert!(sum.failed_io > 1000 && sum.failed_metadata > 100 && sum.reloads > 100);
    assert!(sum.marked_ahead > 1000);
    assert!(sum.hibernations > 200 && sum.taken_up > 50);
}

#[test]
fn lives_with_many_commits() {
    let sum = live(Style::Commits, 1000..1008);
    assert!(sum.checkpoints > 0 && sum.wrapped > 100);
}

/// A busy host in a restore on a source whose flushes often fail.
#[test]
fn lives_with_failing_flushes() {
    let sum = live(Style::Flushes, 3000..3150);
    assert!(sum.failed_flushes > 1000);
}

/// A crash after each single write, with the unflushed ones lost, landed, and torn.
#[test]
fn a_crash_after_each_write() {
    let sum = live(Style::Writes, 2000..2010);
    assert!(sum.crash_points > 5000);
}

/// Hundreds of requests in flight, on thousands of extents.
#[test]
fn lives_on_many_extents() {
    let sum = live(Style::Large, 4000..4008);
    assert!(sum.requests() > 5_000 && sum.restores > 0 && sum.faulty > 100);
}
