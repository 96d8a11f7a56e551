// SPDX-License-Identifier: GPL-2.0

//! Power cuts on the real module.
//!
//! `cuts [libtest options]` is the suite, `cuts soak` goes on for long; both boot virtual machines,
//! in which this program runs as `cuts guest`.

use anyhow::{bail, ensure, Result};
use clap::Parser;
use dm_restore_tests::cuts::campaign::{Campaign, Dose};
use dm_restore_tests::cuts::machine::Machine;
use dm_restore_tests::cuts::plan::Life;
use dm_restore_tests::cuts::tally::Tally;
use dm_restore_tests::cuts::world::Role;
use dm_restore_tests::cuts::{check, load, scsi, soak, writers};
use libtest_mimic::{Arguments, Failed, Trial};
use std::io::BufRead;
use std::process::ExitCode;
use xtask::setup::HandedDown;

/// Cuts in each of the two tests that must not find anything.
const CUTS: u64 = 160;
const DOSE: Dose = Dose {
    restores: 2,
    each: 6,
    losses: 4,
};

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().collect();
    let done = match words.get(1).map(String::as_str) {
        Some("guest") => in_guest(),
        Some("soak") => {
            words.remove(1);
            soak::run(&soak::Cli::parse_from(words))
        }
        _ => return suite(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn suite() -> ExitCode {
    let trials = vec![
        trial("cuts::blocks_of_512", || survives(1, 0)),
        trial("cuts::blocks_of_4096", || survives(8, 1)),
        trial("cuts::a_source_that_lies_is_found", || {
            is_found(Role::Source, 2)
        }),
        trial("cuts::a_metadata_device_that_lies_is_found", || {
            is_found(Role::Metadata, 3)
        }),
    ];
    // Two machines keep two processors busy.
    let args = Arguments {
        test_threads: Some(2),
        ..Arguments::from_args()
    };
    libtest_mimic::run(&args, trials).exit_code()
}

fn trial(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test().map_err(|error| Failed::from(format!("{error:#}")))
    })
}

/// What the guest is told, a line each.
fn in_guest() -> Result<()> {
    scsi::link()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["live", number, block, restores] => {
                writers::forget();
                let life = Life {
                    number: number.parse()?,
                    block: block.parse()?,
                };
                load::run(life, restores.parse()?)?;
                println!("@end");
            }
            ["check", ..] => check::run(line.trim_start_matches("check "))?,
            ["bye"] => return Ok(()),
            _ => bail!("not understood: {line}"),
        }
    }
    bail!("nobody is there any more")
}

fn campaign(name: &str, block: u64) -> Result<Campaign> {
    let handed = HandedDown::take()?;
    Ok(Campaign {
        machine: Machine::boot(name, &handed, block)?,
        tally: Tally::default(),
        failed: handed.dir.join("failed"),
        findings: Vec::new(),
    })
}

/// Nothing is lost.
fn survives(block: u64, first: u64) -> Result<()> {
    let mut campaign = campaign(&format!("cuts-{}", block * 512), block)?;
    for number in (first..).step_by(2) {
        if campaign.tally.cuts >= CUTS {
            break;
        }
        campaign.live(Life { number, block }, DOSE, CUTS, |_| ())?;
    }
    let Campaign {
        machine,
        tally,
        findings,
        ..
    } = campaign;
    machine.shut_down()?;
    println!("blocks of {}: {tally}", block * 512);
    ensure!(
        findings.is_empty(),
        "{} of {} cuts broke a promise:\n{}",
        tally.violations,
        tally.cuts,
        findings.join("\n")
    );
    Ok(())
}

/// A disk that answers flushes and does nothing must come to light: the checks can fail.
fn is_found(role: Role, number: u64) -> Result<()> {
    let mut campaign = campaign(&format!("cuts-lying-{}", role.name()), 1)?;
    let dose = Dose {
        restores: 1,
        each: 4,
        losses: 1,
    };
    let life = Life { number, block: 1 };
    campaign.live(life, dose, u64::MAX, |world| world.disk(role).lies = true)?;
    let Campaign { machine, tally, .. } = campaign;
    machine.shut_down()?;
    println!(
        "a {} that lies: {} of {} cuts break a promise",
        role.name(),
        tally.violations,
        tally.cuts
    );
    ensure!(
        tally.violations > 0,
        "{} cuts, and nothing was found",
        tally.cuts
    );
    Ok(())
}
