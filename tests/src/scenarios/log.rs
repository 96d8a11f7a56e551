// SPDX-License-Identifier: GPL-2.0

//! What the kernel log says, and how often.

use super::{on, trial};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::kmsg::{self, Log};
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::sh;
use libtest_mimic::Trial;
use std::fs;
use std::time::Instant;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("log::refused_messages_are_rare", refused_messages),
        trial("log::refused_tables_are_rare", refused_tables),
        trial("log::queues_bear_the_name", queue_names),
    ]
}

fn spec() -> Spec {
    Spec::new(Blocks::B512, 128).features("format")
}

/// How often the loud one is refused: far more often than there may be lines.
const TIMES: u64 = 200;

/// Two devices are refused something, one of them all the time. Its lines are few, and do not hide
/// the other one's first.
fn rarely(refused: impl Fn(&Rig, u64) -> Result<()>) -> Result<()> {
    on(spec(), |loud| {
        on(spec(), |quiet| {
            let mut log = Log::from_now()?;
            let since = Instant::now();
            refused(loud, TIMES)?;
            refused(quiet, 1)?;
            let lines = log.lines()?;
            let count = |rig: &Rig| {
                let own = |line: &&String| kmsg::of_target(line, rig.number()).is_some();
                lines.iter().filter(own).count() as u64
            };
            // Ten in five seconds, and one that counts those left out.
            let periods = since.elapsed().as_secs() / 5 + 2;
            let (loud, quiet) = (count(loud), count(quiet));
            ensure!(
                (1..=11 * periods).contains(&loud) && loud < TIMES,
                "{loud} lines in {:?}",
                since.elapsed()
            );
            ensure!(quiet == 1, "{quiet} lines about the other one");
            Ok(())
        })
    })
}

fn refused_messages() -> Result<()> {
    rarely(|rig, times| {
        let name = &rig.name;
        sh::shell(&format!(
            "for i in $(seq {times}); do ! dmsetup message {name} 0 start_restore 2>&- || exit; done"
        ))
        .map(drop)
    })
}

fn refused_tables() -> Result<()> {
    rarely(|rig, times| {
        let (name, table) = (&rig.name, rig.table("1 no_cpoy"));
        sh::shell(&format!(
            "for i in $(seq {times}); do ! dmsetup load {name} --table '{table}' 2>&- || exit; done"
        ))
        .map(drop)
    })
}

/// Kernel threads that stand ready for the target's work queues tell whose they are.
fn queue_names() -> Result<()> {
    on(spec(), |rig| {
        let mut names = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let comm = entry?.path().join("comm");
            // Not a process, or one that has ended.
            names.extend(fs::read_to_string(comm));
        }
        for queue in ["dm-restore", "dm-restore-copy"] {
            let name = format!("kworker/R-{queue}/{}", rig.number());
            ensure!(
                names.iter().any(|comm| comm.trim_end() == name),
                "no {name} among {names:?}"
            );
        }
        Ok(())
    })
}
