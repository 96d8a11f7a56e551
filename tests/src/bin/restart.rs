// SPDX-License-Identifier: GPL-2.0

//! A restore in whose middle the machine is killed or rebooted.
//!
//! `restart [libtest options]` boots virtual machines; in them it runs itself as
//! `restart guest --history <file> <act>`.

use anyhow::Result;
use clap::Parser;
use dm_restore_tests::restart::guest::{self, Act};
use dm_restore_tests::restart::history::History;
use dm_restore_tests::restart::machine::Machine;
use dm_restore_tests::restart::plan;
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::PathBuf;
use std::process::ExitCode;

/// How often the machine is killed in the middle of one restore.
const KILLS: u64 = 20;
/// The copy is held with these rates in turn, KiB/s: it stands still, or it crawls, so that there
/// are copies under way when the machine is killed.
const HOLD: [u64; 2] = [1, 1024];

#[derive(Parser)]
#[command(name = "restart guest")]
struct GuestCli {
    /// What is known of the boots so far
    #[arg(long)]
    history: PathBuf,
    #[command(subcommand)]
    act: Act,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "guest") {
        words.remove(1);
        return match in_guest(&GuestCli::parse_from(words)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let trials = vec![
        trial("restart::reboots", reboots),
        trial("restart::kills", kills),
    ];
    // With one thread the line of a test begins before the test does, and what is printed
    // meanwhile would become part of it.
    let args = Arguments {
        test_threads: Some(2),
        ..Arguments::from_args()
    };
    libtest_mimic::run(&args, trials).exit_code()
}

fn in_guest(cli: &GuestCli) -> Result<()> {
    let text = std::fs::read_to_string(&cli.history)?;
    guest::run(&cli.act, &History::parse(&text)?)
}

fn trial(name: &str, test: fn() -> Result<()>) -> Trial {
    Trial::test(name, move || {
        test().map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// Killed once and then rebooted in good order, which loses nothing.
fn reboots() -> Result<()> {
    let delta = plan::damaged_extents();
    let mut machine = Machine::new("reboots")?;
    machine.kill_at(delta / 4, HOLD[0], 5)?;
    let restored = machine.clean_at(delta / 2)?;
    println!("rebooted with {restored} of {delta} extents restored");
    machine.finish()
}

/// Killed again and again, each time a little further on.
fn kills() -> Result<()> {
    let delta = plan::damaged_extents();
    let mut machine = Machine::new("kills")?;
    for kill in 1..=KILLS {
        let target = delta * kill / (KILLS + 2);
        // Not always at the same place between two flushes.
        let writes = 3 + kill * 7 % 19;
        let hold = HOLD[(kill % 2) as usize];
        let restored = machine.kill_at(target, hold, writes)?;
        println!(
            "kill {kill} of {KILLS}: {restored} of {delta} extents restored ({} %)",
            restored * 100 / delta
        );
    }
    machine.finish()
}
