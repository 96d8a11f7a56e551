// SPDX-License-Identifier: GPL-2.0

//! The simulation as a program: lives by the thousand, on all cores.
//!
//! The last line is `crash points: N, violations: N`. A broken promise is printed with the life that
//! broke it, and with a shortened history that still does.

use clap::Parser;
use dm_restore_engine::sim::life::Life;
use dm_restore_engine::sim::shrink::shortest;
use dm_restore_engine::sim::stats::Stats;
use dm_restore_engine::sim::world::{live, tell, Failure};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

/// Live through simulated lives of the target, and look at crash points in them
#[derive(Parser)]
#[command(name = "sim")]
struct Args {
    /// Crash points to look at, at least
    #[arg(long, default_value_t = 1_000_000)]
    points: u64,
    /// So many lives instead
    #[arg(long)]
    lives: Option<u64>,
    /// The seed of the first life; the next ones count on
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Begin no more lives after so many violations
    #[arg(long, default_value_t = 3)]
    violations: u64,
    /// Lives to try for each violation, to shorten its history; 0: leave it as it is
    #[arg(long, default_value_t = 5000)]
    tries: u32,
    /// Live this one life, and tell it step by step if it breaks a promise: a seed, or
    /// what was printed with a violation
    #[arg(long, value_name = "LIFE")]
    replay: Option<Life>,
    /// With --replay: tell it in any case
    #[arg(long)]
    tell: bool,
}

/// What all threads have found.
struct Found {
    next: AtomicU64,
    violations: AtomicU64,
    stats: Mutex<Stats>,
    bar: ProgressBar,
}

impl Found {
    fn new(args: &Args) -> Self {
        let bar = match args.lives {
            Some(lives) => ProgressBar::new(lives),
            None => ProgressBar::new(args.points),
        };
        let what = if args.lives.is_some() {
            "lives"
        } else {
            "crash points"
        };
        let style = format!("{what} [{{bar:30}}] {{pos}}/{{len}} {{elapsed}}, {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&style) {
            bar.set_style(style);
        }
        Self {
            next: AtomicU64::new(args.from),
            violations: AtomicU64::new(0),
            stats: Mutex::default(),
            bar,
        }
    }

    /// Lives one life after another until there are enough.
    fn live(&self, args: &Args) {
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if self.is_enough(args, seed) {
                self.next.fetch_min(seed, Ordering::Relaxed);
                return;
            }
            let life = Life::of(seed);
            match live(&life) {
                Ok(stats) => self.stats.lock().unwrap().add(&stats),
                Err(failure) => {
                    self.violations.fetch_add(1, Ordering::Relaxed);
                    self.show(&violation(&life, &failure, args.tries));
                }
            }
        }
    }

    fn is_enough(&self, args: &Args, seed: u64) -> bool {
        let points = self.stats.lock().unwrap().crash_points;
        let lives = seed - args.from;
        self.bar
            .set_position(if args.lives.is_some() { lives } else { points });
        let enough = match args.lives {
            Some(most) => lives >= most,
            None => points >= args.points,
        };
        enough || self.violations.load(Ordering::Relaxed) >= args.violations
    }

    fn show(&self, text: &str) {
        self.bar.suspend(|| println!("{text}"));
    }
}

/// What is printed about a broken promise.
fn violation(life: &Life, failure: &Failure, tries: u32) -> String {
    let mut text = format!("violation: seed {life}, {failure}\n");
    if tries > 0 {
        let (short, failure) = shortest(life, failure, tries);
        let steps = short.steps.as_ref().map_or(0, Vec::len);
        let (told, _) = tell(&short);
        text += &format!("  shortened to {steps} steps: {failure}\n");
        told.iter()
            .for_each(|line| text += &format!("    {line}\n"));
        text += &format!("  to replay it: cargo xtask sim --replay {short}\n");
    }
    text
}

fn replay(life: &Life, args: &Args) -> ExitCode {
    let (told, result) = tell(life);
    if args.tell || result.is_err() && life.steps.is_some() {
        told.iter().for_each(|line| println!("{line}"));
    }
    let points = match &result {
        Ok(stats) => {
            println!("{stats}");
            stats.crash_points
        }
        Err(failure) if life.steps.is_some() => {
            println!("violation: seed {life}, {failure}");
            0
        }
        Err(failure) => {
            println!("{}", violation(life, failure, args.tries));
            0
        }
    };
    finish(points, u64::from(result.is_err()))
}

fn finish(points: u64, violations: u64) -> ExitCode {
    println!("crash points: {points}, violations: {violations}");
    ExitCode::from(u8::from(violations > 0))
}

fn main() -> ExitCode {
    let args = Args::parse();
    // A panic is reported like any other violation.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(life) = &args.replay {
        return replay(life, &args);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(cores);
    let (found, began) = (Found::new(&args), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| found.live(&args));
        }
    });
    found.bar.finish_and_clear();
    let stats = found.stats.into_inner().unwrap();
    let (from, next) = (args.from, found.next.into_inner());
    let seconds = began.elapsed().as_secs();
    println!(
        "seeds: {from} up to {next} (go on with --from {next}), {threads} threads, {seconds} s"
    );
    println!("{stats}");
    finish(stats.crash_points, found.violations.into_inner())
}
