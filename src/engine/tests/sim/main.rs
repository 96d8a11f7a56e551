// SPDX-License-Identifier: GPL-2.0

//! Lives by the hundred: `sim [--from SEED] [--lives N] [--threads N]`.
//!
//! The last line is `crash points: N, violations: N`; a violation is printed with its seed, and
//! `SIM_TRACE=1 sim --from SEED --lives 1` tells that life step by step.

use dm_restore_engine::sim::world::{Stats, World};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

struct Args {
    from: u64,
    lives: u64,
    threads: u64,
}

fn args() -> Option<Args> {
    let mut args = Args {
        from: 0,
        lives: 1000,
        threads: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
    };
    let mut words = std::env::args().skip(1);
    while let Some(key) = words.next() {
        let value = words.next()?.parse().ok()?;
        match key.as_str() {
            "--from" => args.from = value,
            "--lives" => args.lives = value,
            "--threads" => args.threads = value,
            _ => return None,
        }
    }
    Some(args)
}

fn live(seed: u64) -> Result<Stats, String> {
    match catch_unwind(AssertUnwindSafe(|| World::new(seed, |_| {}).live())) {
        Ok(result) => result,
        Err(_) => Err("panic".into()),
    }
}

fn main() -> ExitCode {
    let Some(args) = args() else {
        eprintln!("usage: sim [--from SEED] [--lives N] [--threads N]");
        return ExitCode::from(2);
    };
    let (next, violations) = (AtomicU64::new(args.from), AtomicU64::new(0));
    let sum = Mutex::new(Stats::default());
    std::thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= args.from + args.lives {
                    return;
                }
                match live(seed) {
                    Ok(stats) => sum.lock().unwrap().add(&stats),
                    Err(text) => {
                        violations.fetch_add(1, Ordering::Relaxed);
                        println!("seed {seed}: {text}");
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    let violations = violations.into_inner();
    println!("{sum}");
    println!(
        "crash points: {}, violations: {violations}",
        sum.crash_points
    );
    ExitCode::from(u8::from(violations > 0))
}
