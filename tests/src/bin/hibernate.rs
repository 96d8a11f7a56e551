// SPDX-License-Identifier: GPL-2.0

//! A machine that is hibernated, and then crashes.
//!
//! `hibernate [libtest options]` boots virtual machines; in them it runs itself as
//! `hibernate guest <act>`.

use anyhow::Result;
use clap::Parser;
use dm_restore_tests::hibernate::guest::{self, Act};
use dm_restore_tests::hibernate::machine::Machine;
use dm_restore_tests::hibernate::stage::Stage;
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "hibernate guest")]
struct GuestCli {
    #[command(subcommand)]
    act: Act,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "guest") {
        words.remove(1);
        return match guest::run(GuestCli::parse_from(words).act) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let mut trials: Vec<Trial> = Stage::ALL.map(at_stage).into();
    trials.push(trial("image_on_the_volume", || {
        Machine::with_large_disks("image")?.image_on_volume()
    }));
    trials.push(trial("off_and_on", || {
        let machine = Machine::new("off_and_on")?;
        machine.off_and_on()?;
        machine.wake()
    }));
    // As many machines as there are processors, mostly. See `restart` for what one thread would do to
    // the lines of the tests.
    let args = Arguments {
        test_threads: Some(2),
        ..Arguments::from_args()
    };
    libtest_mimic::run(&args, trials).exit_code()
}

fn at_stage(stage: Stage) -> Trial {
    trial(stage.name(), move || {
        let machine = Machine::new(stage.name())?;
        machine.sleep(stage)?;
        machine.wake()
    })
}

fn trial(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(format!("hibernate::{name}"), move || {
        test().map_err(|error| Failed::from(format!("{error:#}")))
    })
}
