// SPDX-License-Identifier: GPL-2.0

//! Each allocation that a command makes inside the module fails once: the command fails as a whole
//! and changes nothing, or it does without.

use super::attribute::{Injection, Kind};
use anyhow::{bail, ensure, Context, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::sh;
use dm_restore_tests::stamps::Writer;

/// More than any command makes: kcopyd alone reserves a thousand pages and more for each client.
const MOST: u64 = 20_000;

/// The table line is made, loaded, resumed, told things and taken away.
pub fn each_fails_once() -> Result<()> {
    let all = Kind::ALLOCATIONS.map(Injection::new);
    let failures = Failures(all.into_iter().collect::<Result<_>>()?);
    let mut log = Log::from_now()?;
    let mut rig = Rig::slices(Spec::new(Blocks::B512, 128))?;
    let name = rig.name.clone();
    failures.each(
        &format!("create {name} --table '{}'", rig.table("1 format")),
        |done| {
            ensure!(done == dm::run(&["info", &name])?.ok, "created by half");
            if done {
                dm::ok(&["remove", "--retry", &name])?;
            }
            Ok(())
        },
    )?;
    let unexplained = |line: &String| line.contains("restore: Unknown error");
    let unexplained: Vec<_> = log.lines()?.into_iter().filter(unexplained).collect();
    ensure!(unexplained.is_empty(), "{unexplained:?}");
    rig.create_with("1 format")?;
    rig.write(0..8)?;
    let load = format!("load {name} --table '{}'", rig.table(""));
    failures.each(&load, |_| dm::ok(&["clear", &name]).map(drop))?;
    rig.reload("")?;
    let reload = || {
        dm::ok(&["load", &name, "--table", &rig.table("")])?;
        rig.suspend()
    };
    reload()?;
    failures.each(&format!("resume {name}"), |_| {
        rig.resume()?;
        rig.check_counts()?;
        rig.check(rig.all())?;
        reload()
    })?;
    rig.resume()?;
    // What is declared identical is compared.
    rig.fill_source(Writer::Clone)?;
    rig.suspend()?;
    for message in ["assume_identical", "start_restore"] {
        failures.each(&format!("message {name} 0 {message}"), |done| {
            ensure!(done, "{message} needs memory");
            Ok(())
        })?;
    }
    rig.resume()?;
    let status = rig.status()?;
    ensure!(
        (&*status.mode, &*status.metadata_mode) == ("tracking", "rw"),
        "{status:?}"
    );
    rig.close()
}

struct Failures(Vec<Injection>);

impl Failures {
    fn count(&self) -> Result<u64> {
        self.0.iter().map(Injection::failed).sum()
    }

    /// Runs a command of dmsetup once for each of its allocations, which fails. `after` gets whether
    /// the command succeeded all the same, and puts things back.
    fn each(&self, command: &str, mut after: impl FnMut(bool) -> Result<()>) -> Result<()> {
        let (mut number, mut tried, mut refused) = (1, 0, 0);
        let what = command.split(" --table").next().unwrap_or_default();
        while number < MOST {
            let before = self.count()?;
            // The number is the task's own, and stays with it when it becomes dmsetup.
            let line = format!("echo {number} >/proc/self/fail-nth; exec dmsetup {command}");
            let ran = sh::run("bash", &["-c", &line])?;
            let failed = self.count()? - before;
            ensure!(ran.ok || failed > 0, "{what} failed by itself: {}", ran.err);
            refused += u64::from(!ran.ok);
            after(ran.ok)
                .with_context(|| format!("{what}, allocation {number} failed, {}", ran.err))?;
            if failed == 0 {
                super::report(format!(
                    "{what}: {tried} allocations failed, {refused} times with the command"
                ));
                return Ok(());
            }
            tried += 1;
            // What makes many makes them in loops.
            number += 1 + number / 32;
        }
        bail!("more than {MOST} allocations")
    }
}
