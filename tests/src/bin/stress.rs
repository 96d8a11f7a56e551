// SPDX-License-Identifier: GPL-2.0

//! Restores under a heavy load that are suspended, reloaded, paused and finished meanwhile.
//!
//! `stress [--rounds <number>] [--seed <number>] [libtest options]` in the guest;
//! `stress host ...` outside.

use clap::Parser;
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::host;
use dm_restore_tests::stress::rounds::{self, Plan};
use dm_restore_tests::watch;
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

/// Volumes, all at once: name, logical blocks, extents in sectors, length in sectors, and whether the
/// source is a disk of memory.
const VOLUMES: [(&str, Blocks, u64, u64, bool); 4] = [
    ("512::8", Blocks::B512, 8, 8 << 11, false),
    ("4096::16", Blocks::B4096, 16, 8 << 11, false),
    ("512::128", Blocks::B512, 128, 24 << 11, false),
    ("memory::16", Blocks::B512, 16, 8 << 11, true),
];

#[derive(Parser)]
struct Cli {
    /// Restores on each volume
    #[arg(long, default_value_t = 6)]
    rounds: u64,
    /// What everything random follows from, the order of events aside
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    libtest: Arguments,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "host") {
        words.remove(1);
        return host::main(words);
    }
    let cli = Cli::parse();
    let trials = VOLUMES
        .iter()
        .map(|(name, blocks, extent, length, in_memory)| {
            let plan = Plan {
                blocks: *blocks,
                extent: *extent,
                length: *length,
                in_memory: *in_memory,
                rounds: cli.rounds,
                seed: cli.seed * 1000 + extent,
            };
            trial(format!("stress::{name}"), plan)
        });
    libtest_mimic::run(&cli.libtest, trials.collect()).exit_code()
}

fn trial(name: String, plan: Plan) -> Trial {
    Trial::test(name.clone(), move || {
        let watch = watch::over(&name);
        let summary =
            rounds::run(plan, watch).map_err(|error| Failed::from(format!("{error:#}")))?;
        println!("{name}: {summary}");
        Ok(())
    })
}
