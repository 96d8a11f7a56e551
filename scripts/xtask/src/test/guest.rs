// SPDX-License-Identifier: GPL-2.0

//! A suite whose program runs in a virtual machine of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{anyhow, bail, Context, Result};

use super::libtest::{Reader, Tally};
use super::programs::Programs;
use super::suites::{Suite, SuiteDisk};
use crate::guest::Guest;
use crate::vm::{create_disk, Config, Disk, End, Outcome, Vm};
use crate::{debug, module, paths, run};

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
    let program = program(suite, programs)?;
    let mut config = Config::new(&suite.name, guest.clone());
    config.dir = paths::build().join("test").join(&suite.name);
    config.cmdline.clone_from(&suite.cmdline);
    config.memory = suite.memory;
    config.cpus = suite.cpus;
    config.timeout = Duration::from_secs(suite.timeout);
    config.disks = disks(suite, &program, &config.dir)?;
    config.payload = vec![("suite".to_owned(), program.clone())];
    if let Some(module) = module {
        let file = (module::FILE.to_owned(), module.to_owned());
        config.payload.push(file);
    }
    config.command = command(suite, module.is_some(), filter);
    if debug::is(&guest.release) {
        let end = paths::repo().join("qemu").join(debug::END);
        config.payload.push((debug::END.to_owned(), end));
        config.memory += debug::MEMORY;
        config.command += &format!("\ncode=$?\n/payload/{}\nexit $code", debug::END);
    }

    let disks = config.disks.clone();
    let before = hashes(suite, &program, &disks)?;
    let mut reader = Reader::new(&suite.name, false);
    let outcome = Vm::start(config)?.run(|line| reader.line(line))?;
    let after = hashes(suite, &program, &disks)?;
    let complaint = complaint(&outcome, &reader).or_else(|| changed(&before, &after));
    let tally = reader.finish(complaint);
    // The disks of a suite that passed are of no use, and large.
    if tally.failures.is_empty() {
        for disk in &disks {
            std::fs::remove_file(&disk.path)?;
        }
    }
    Ok(tally)
}

fn program(suite: &Suite, programs: &Programs) -> Result<PathBuf> {
    match (&suite.bin, &suite.script) {
        (Some(bin), _) => Ok(programs.path(bin)?.to_owned()),
        (None, Some(script)) => Ok(paths::repo().join(script)),
        (None, None) => bail!("neither bin nor script"),
    }
}

/// The disks of the table, and those that the program makes.
fn disks(suite: &Suite, program: &Path, dir: &Path) -> Result<Vec<Disk>> {
    let blank = |disk: &SuiteDisk| {
        let path = dir.join(format!("{}.img", disk.serial));
        create_disk(&path, disk.mib << 20)?;
        let mut made = Disk::new(&disk.serial, path).blocks(disk.block);
        made.read_only = disk.read_only;
        Ok(made)
    };
    let mut disks: Vec<Disk> = suite.disks.iter().map(blank).collect::<Result<_>>()?;
    if !suite.images.is_empty() {
        let made = run::output(Command::new(program).args(&suite.images).arg(dir))?;
        for line in made.lines() {
            disks.push(image(line).with_context(|| format!("not about a disk: {line}"))?);
        }
    }
    Ok(disks)
}

/// One line about a disk: serial number, logical block size, `ro` or `rw`, file.
fn image(line: &str) -> Option<Disk> {
    let mut words = line.splitn(4, ' ');
    let (serial, block) = (words.next()?, words.next()?);
    let (mode, path) = (words.next()?, words.next()?);
    let mut disk = Disk::new(serial, path).blocks(block.parse().ok()?);
    disk.read_only = match mode {
        "ro" => true,
        "rw" => false,
        _ => return None,
    };
    Some(disk)
}

/// Serial number and hash of each read-only disk.
fn hashes(suite: &Suite, program: &Path, disks: &[Disk]) -> Result<Vec<(String, String)>> {
    if suite.hash.is_empty() {
        return Ok(Vec::new());
    }
    let fixed = disks.iter().filter(|disk| disk.read_only);
    fixed
        .map(|disk| {
            let mut command = Command::new(program);
            let hash = run::output(command.args(&suite.hash).arg(&disk.path))?;
            Ok((disk.serial.clone(), hash))
        })
        .collect()
}

fn changed(before: &[(String, String)], after: &[(String, String)]) -> Option<String> {
    let differs = |(before, after): &(&(String, String), &(String, String))| before != after;
    let mut pairs = before.iter().zip(after);
    pairs
        .find(differs)
        .map(|(disk, _)| format!("the read-only disk {} has changed", disk.0))
}

fn command(suite: &Suite, module: bool, filter: &str) -> String {
    let arguments = suite.arguments(filter);
    let words: Vec<_> = arguments.iter().map(|word| quoted(word)).collect();
    let load = if suite.load && module {
        "modprobe dm-mod && insmod /payload/dm-restore.ko || exit 90\n"
    } else {
        ""
    };
    format!("{load}/payload/suite {}", words.join(" "))
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What is wrong besides single tests. libtest exits with 101 when some failed.
fn complaint(outcome: &Outcome, reader: &Reader) -> Option<String> {
    let checked = match outcome.end {
        End::Exit(101) if reader.failed() => outcome.check_kernel(),
        End::Exit(90) => Err(anyhow!(
            "the module does not load; see {}",
            outcome.console.display()
        )),
        _ => outcome.check(),
    };
    checked.err().map(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn lines_about_disks() {
        let disk = image("clone-4k 4096 ro /a b/clone.img").expect("a disk");
        assert_eq!((&*disk.serial, disk.logical), ("clone-4k", 4096));
        assert!(disk.read_only);
        assert_eq!(disk.path, Path::new("/a b/clone.img"));
        assert!(image("clone 4096 maybe /x").is_none());
    }

    #[test]
    fn a_changed_disk_is_told() {
        let hash = |hash: &str| vec![("clone".to_owned(), hash.to_owned())];
        assert_eq!(changed(&hash("1"), &hash("1")), None);
        assert!(changed(&hash("1"), &hash("2")).is_some());
    }
}
