// SPDX-License-Identifier: GPL-2.0

//! Cut after cut, on from where the last run has stopped.

use super::campaign::{Campaign, Dose};
use super::machine::Machine;
use super::plan::Life;
use super::saved::Saved;
use super::style::Style;
use super::tally::Tally;
use anyhow::{bail, Result};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xtask::setup::HandedDown;

/// What one life is good for.
const DOSE: Dose = Dose {
    restores: 3,
    each: 8,
    losses: 4,
};
/// Lives with one machine.
const LIVES: u64 = 2;

/// What to do.
#[derive(Parser)]
#[command(name = "cuts soak")]
pub struct Cli {
    /// So many cuts more
    #[arg(default_value_t = 1000)]
    cuts: u64,
    /// Begin no life after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Instead: check once more a cut that broke a promise and was saved in this folder
    #[arg(long, value_name = "FOLDER")]
    replay: Option<PathBuf>,
}

/// The life of this number: of each style in turn, on disks of both block sizes.
fn life(number: u64) -> Life {
    let machine = (number / LIVES) as usize;
    Life {
        number,
        block: [1, 8][machine % 2],
        style: Style::ALL[machine % Style::ALL.len()],
    }
}

/// Soaks. The last line is the total.
///
/// # Errors
///
/// A promise is broken, or the machine does not work.
pub fn run(cli: &Cli) -> Result<()> {
    let handed = HandedDown::take()?;
    if let Some(folder) = &cli.replay {
        return replay(&handed, folder);
    }
    let path = handed.dir.join("total");
    let mut total = Tally::load(&path)?;
    let (goal, began) = (total.cuts + cli.cuts, Instant::now());
    let before = total.violations;
    let limit = cli.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let in_time = || limit.is_none_or(|limit| began.elapsed() < limit);
    while total.cuts < goal && in_time() {
        let Life { block, style, .. } = life(total.lives);
        let mut campaign = Campaign {
            machine: Machine::boot("soak", &handed, block, style)?,
            tally: Tally::default(),
            failed: handed.dir.join("failed"),
            findings: Vec::new(),
        };
        for _ in 0..LIVES - total.lives % LIVES {
            if total.cuts >= goal || !in_time() {
                break;
            }
            let life = life(total.lives);
            campaign.tally = Tally::default();
            campaign.live(life, DOSE, |_| ())?;
            campaign
                .findings
                .drain(..)
                .for_each(|finding| println!("{finding}"));
            total.add(&campaign.tally);
            total.save(&path)?;
            println!(
                "life {} ({}), {} s: {} cuts, {} violations; in all {} cuts, {} violations",
                life.number,
                style.name(),
                began.elapsed().as_secs(),
                campaign.tally.cuts,
                campaign.tally.violations,
                total.cuts,
                total.violations
            );
        }
        campaign.machine.shut_down()?;
    }
    println!("{total}");
    println!("cuts: {}, violations: {}", total.cuts, total.violations);
    if total.violations > before {
        bail!(
            "promises were broken: see {}",
            handed.dir.join("failed").display()
        );
    }
    Ok(())
}

fn replay(handed: &HandedDown, folder: &Path) -> Result<()> {
    let cut = Saved::load(folder)?;
    let machine = Machine::boot("replay", handed, cut.life.block, cut.life.style)?;
    let mut campaign = Campaign {
        machine,
        tally: Tally::default(),
        failed: handed.dir.join("replayed"),
        findings: Vec::new(),
    };
    campaign.check(&[cut])?;
    campaign
        .findings
        .iter()
        .for_each(|finding| println!("{finding}"));
    let Tally {
        cuts, violations, ..
    } = campaign.tally;
    campaign.machine.shut_down()?;
    println!("cuts: {cuts}, violations: {violations}");
    if violations > 0 {
        bail!("it breaks a promise again");
    }
    Ok(())
}
