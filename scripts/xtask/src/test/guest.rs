// SPDX-License-Identifier: GPL-2.0

//! A suite whose program runs in a virtual machine of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::libtest::{Reader, Tally};
use super::programs::Programs;
use super::suites::Suite;
use crate::guest::Guest;
use crate::vm::{create_disk, Config, Disk, End, Outcome, Vm};
use crate::{module, paths, run};

/// Boot a machine, run the suite's program in it and count.
///
/// # Errors
///
/// The machine cannot be made or started.
pub fn run(
    suite: &Suite,
    guest: &Guest,
    module: Option<&Path>,
    programs: &Programs,
    filter: &str,
) -> Result<Tally> {
    let mut config = Config::new(&suite.name, guest.clone());
    config.dir = paths::build().join("test").join(&suite.name);
    config.cmdline.clone_from(&suite.cmdline);
    config.memory = suite.memory;
    config.cpus = suite.cpus;
    config.timeout = Duration::from_secs(suite.timeout);
    config.disks = disks(suite, &config.dir)?;
    prepare(suite, &config.disks, programs)?;
    config.payload = payload(suite, module, programs)?;
    config.command = command(suite, module.is_some(), filter);

    let images: Vec<_> = config.disks.iter().map(|disk| disk.path.clone()).collect();
    let mut reader = Reader::new(&suite.name, false);
    let outcome = Vm::start(config)?.run(|line| reader.line(line))?;
    let complaint = complaint(&outcome, &reader);
    let tally = reader.finish(complaint);
    // The disks of a suite that passed are of no use, and large.
    if tally.failures.is_empty() {
        images
            .iter()
            .for_each(|image| drop(std::fs::remove_file(image)));
    }
    Ok(tally)
}

fn disks(suite: &Suite, dir: &Path) -> Result<Vec<Disk>> {
    let disk = |disk: &super::suites::SuiteDisk| {
        let path = dir.join(format!("{}.img", disk.serial));
        create_disk(&path, disk.mib << 20)?;
        let mut made = Disk::new(&disk.serial, path).blocks(disk.block);
        made.read_only = disk.read_only;
        Ok(made)
    };
    suite.disks.iter().map(disk).collect()
}

fn prepare(suite: &Suite, disks: &[Disk], programs: &Programs) -> Result<()> {
    let Some(bin) = &suite.prepare else {
        return Ok(());
    };
    let files = disks
        .iter()
        .map(|disk| format!("{}={}", disk.serial, disk.path.display()));
    run::output(Command::new(programs.path(bin)?).args(files))?;
    Ok(())
}

fn payload(
    suite: &Suite,
    module: Option<&Path>,
    programs: &Programs,
) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    if let Some(module) = module {
        files.push((module::FILE.to_owned(), module.to_owned()));
    }
    let program = match (&suite.bin, &suite.script) {
        (Some(bin), _) => programs.path(bin)?.to_owned(),
        (None, Some(script)) => paths::repo().join(script),
        (None, None) => return Err(anyhow::anyhow!("neither bin nor script")),
    };
    files.push(("suite".to_owned(), program));
    Ok(files)
}

fn command(suite: &Suite, module: bool, filter: &str) -> String {
    let mut words = vec!["/payload/suite".to_owned()];
    words.extend(suite.args.iter().map(|word| quoted(word)));
    words.push("--test-threads=1".into());
    if !filter.is_empty() {
        words.push(quoted(filter));
    }
    let mut script = String::new();
    if suite.load && module {
        script += "modprobe dm-mod && insmod /payload/dm-restore.ko || exit 90\n";
    }
    script + &words.join(" ")
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What is wrong besides single tests. libtest exits with 101 when some failed.
fn complaint(outcome: &Outcome, reader: &Reader) -> Option<String> {
    let ended = match outcome.end {
        End::Exit(101) if reader.failed() => outcome.check_kernel(),
        End::Exit(90) => Err(anyhow::anyhow!("the module does not load")),
        _ => outcome.check(),
    };
    ended
        .with_context(|| format!("see {}", outcome.console.display()))
        .err()
        .map(|error| format!("{:#}", error.root_cause()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
