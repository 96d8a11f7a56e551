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
use dm_restore_tests::cuts::style::Style;
use dm_restore_tests::cuts::tally::Tally;
use dm_restore_tests::cuts::world::Role;
use dm_restore_tests::cuts::{check, load, scsi, soak, writers};
use libtest_mimic::{Arguments, Failed, Trial};
use std::io::BufRead;
use std::process::ExitCode;
use xtask::setup::HandedDown;

/// What is done in each of the two large tests, and in each of the others.
const MUCH: Dose = Dose {
    restores: 2,
    each: 3,
    losses: 4,
};
const LESS: Dose = Dose {
    restores: 2,
    each: 2,
    losses: 2,
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
        trial("cuts::blocks_of_512", || {
            survives(life(0, 1, Style::Plain), MUCH)
        }),
        trial("cuts::blocks_of_4096", || {
            survives(life(1, 8, Style::Plain), MUCH)
        }),
        trial("cuts::several_blocks_of_maps_and_table", || {
            survives(life(12, 1, Style::Large), LESS)
        }),
        trial("cuts::source_and_metadata_on_one_disk", || {
            survives(life(3, 1, Style::OneDisk), LESS)
        }),
        trial("cuts::flushes_that_fail_and_drop", || {
            survives(life(4, 1, Style::Drops), LESS)
        }),
        trial("cuts::flushes_that_fail_and_drop_on_one_disk", || {
            survives(life(6, 1, Style::OneDiskDrops), LESS)
        }),
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
            ["live", number, block, style, restores] => {
                writers::forget();
                let life = Life::from_words([number, block, style])?;
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

fn life(number: u64, block: u64, style: Style) -> Life {
    Life {
        number,
        block,
        style,
    }
}

fn campaign(name: &str, life: Life) -> Result<Campaign> {
    let handed = HandedDown::take()?;
    Ok(Campaign {
        machine: Machine::boot(name, &handed, life.block, life.style)?,
        tally: Tally::default(),
        failed: handed.dir.join("failed"),
        findings: Vec::new(),
    })
}

/// Nothing is lost in the cuts of this life.
fn survives(life: Life, dose: Dose) -> Result<()> {
    let name = format!("{} {}", life.style.name(), life.block * 512);
    let mut campaign = campaign(&format!("cuts-{}", name.replace(' ', "-")), life)?;
    campaign.live(life, dose, |_| ())?;
    let Campaign {
        machine,
        tally,
        findings,
        ..
    } = campaign;
    machine.shut_down()?;
    println!("{name}: {tally}");
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
    let life = life(number, 1, Style::Plain);
    let mut campaign = campaign(&format!("cuts-lying-{}", role.name()), life)?;
    let dose = Dose {
        restores: 1,
        each: 4,
        losses: 1,
    };
    campaign.live(life, dose, |world| world.disk(role).lies = true)?;
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
