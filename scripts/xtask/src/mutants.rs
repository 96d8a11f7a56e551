// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask mutants`: deliberate faults in the engine, and what catches each of them.
//!
//! The list is `src/engine/tests/mutants.toml`. Each fault is made in a copy of the engine, by
//! replacing text that must be there exactly once. Then the simulation runs on it, and if that finds
//! nothing, the unit tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use anyhow::{bail, ensure, Context, Result};
use clap::Args;
use serde::Deserialize;
use walkdir::WalkDir;

use crate::paths;
use crate::progress::Step;

/// A program that has computed for so many seconds hangs.
const MOST_SECONDS: u32 = 300;

/// Which faults, and how hard they are looked for.
#[derive(Args)]
pub struct What {
    /// Only faults with this in their name, their rule or their file
    #[arg(default_value = "")]
    filter: String,
    /// Crash points that the simulation looks at for each
    #[arg(long, default_value_t = 60_000)]
    points: u64,
    /// Faults that are looked at side by side
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

#[derive(Deserialize)]
struct List {
    mutant: Vec<Mutant>,
}

/// A deliberate fault.
#[derive(Deserialize)]
struct Mutant {
    rule: String,
    what: String,
    file: String,
    find: String,
    replace: String,
}

impl Mutant {
    fn has(&self, text: &str) -> bool {
        [&self.rule, &self.what, &self.file]
            .iter()
            .any(|field| field.contains(text))
    }

    /// The file with the fault.
    fn text(&self, engine: &Path) -> Result<String> {
        let path = engine.join(&self.file);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let count = text.matches(&self.find).count();
        ensure!(
            count == 1,
            "'{}': what it replaces is {count} times in {}, not once",
            self.what,
            self.file
        );
        Ok(text.replacen(&self.find, &self.replace, 1))
    }
}

/// Run the faults; the last line is `mutants: N, caught: N`.
///
/// # Errors
///
/// The list does not fit the engine, or a fault does not compile.
pub fn run(what: &What) -> Result<ExitCode> {
    let engine = paths::repo().join("src/engine");
    let list = fs::read_to_string(engine.join("tests/mutants.toml"))?;
    let list: List = toml::from_str(&list).context("src/engine/tests/mutants.toml")?;
    // One that does not fit is no fault that was caught, whatever is asked for now.
    for mutant in &list.mutant {
        mutant.text(&engine)?;
    }
    let mut mutants = list.mutant;
    mutants.retain(|mutant| mutant.has(&what.filter));
    ensure!(!mutants.is_empty(), "there is no such fault");
    let round = Round {
        step: Step::items("deliberate faults", mutants.len() as u64),
        next: AtomicUsize::new(0),
        caught: Mutex::default(),
        engine,
        mutants,
        points: what.points,
    };
    std::thread::scope(|scope| {
        let bench = |i| round.bench(&paths::build().join(format!("mutants/{i}")));
        let benches: Vec<_> = (0..what.jobs)
            .map(|i| scope.spawn(move || bench(i)))
            .collect();
        benches
            .into_iter()
            .try_for_each(|bench| match bench.join() {
                Ok(result) => result,
                Err(_) => bail!("a thread has panicked"),
            })
    })?;
    Ok(round.finish())
}

/// All of it: benches take one fault after another.
struct Round {
    step: Step,
    engine: PathBuf,
    mutants: Vec<Mutant>,
    points: u64,
    next: AtomicUsize,
    caught: Mutex<Vec<(usize, Option<String>)>>,
}

impl Round {
    fn bench(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(mutant) = self.mutants.get(number) else {
                return Ok(());
            };
            let by = self.catch(mutant, dir)?;
            let verdict = match &by {
                Some(by) => format!("caught by {by}"),
                None => "NOT CAUGHT".into(),
            };
            let Mutant {
                rule, what, file, ..
            } = mutant;
            self.step
                .line(&format!("{rule}: {what} ({file})\n    {verdict}"));
            let mut caught = self.caught.lock().unwrap_or_else(|e| e.into_inner());
            caught.push((number, by));
            self.step.at(caught.len() as u64);
        }
    }

    /// What catches the fault.
    fn catch(&self, mutant: &Mutant, dir: &Path) -> Result<Option<String>> {
        copy_engine(&self.engine, &dir.join("engine"))?;
        fs::write(
            dir.join("engine").join(&mutant.file),
            mutant.text(&self.engine)?,
        )?;
        let build = ["build", "--features", "sim", "--bin", "sim"];
        let built = cargo(dir, &build)?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr);
            bail!("'{}' does not compile:\n{said}", mutant.what);
        }
        let points = self.points.to_string();
        let dose = ["--threads", "1", "--violations", "1", "--tries", "0"];
        let sim = dir.join("target/guest/sim");
        let lived = limited(&sim, &[&dose[..], &["--points", &points]].concat())?;
        if let Some(by) = violation(&lived) {
            return Ok(Some(by));
        }
        let test = ["test", "--lib", "--no-fail-fast"];
        let words = ["--", "--skip", "sim::lives"];
        let tested = cargo(dir, &[&test[..], &words].concat())?;
        Ok(failed_test(&tested))
    }

    fn finish(self) -> ExitCode {
        let caught = self.caught.into_inner().unwrap_or_else(|e| e.into_inner());
        let (all, missed) = (caught.len(), caught.iter().filter(|(_, by)| by.is_none()));
        let missed: Vec<_> = missed.filter_map(|(i, _)| self.mutants.get(*i)).collect();
        drop(self.step);
        for mutant in &missed {
            println!("not caught: {}", mutant.what);
        }
        println!("mutants: {all}, caught: {}", all - missed.len());
        ExitCode::from(u8::from(!missed.is_empty()))
    }
}

/// A fresh copy of the engine, as a workspace of its own. Outputs of the last one are kept.
fn copy_engine(from: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    for entry in WalkDir::new(from) {
        let entry = entry?;
        let path = to.join(entry.path().strip_prefix(from)?);
        if entry.file_type().is_dir() {
            fs::create_dir_all(&path)?;
        } else {
            fs::copy(entry.path(), &path)?;
        }
    }
    let top = to.parent().context("the copy has no folder")?;
    fs::write(top.join("Cargo.toml"), workspace()?)?;
    fs::copy(paths::repo().join("Cargo.lock"), top.join("Cargo.lock"))?;
    Ok(())
}

/// A workspace with the engine alone, and the profile of ours.
fn workspace() -> Result<String> {
    let ours = fs::read_to_string(paths::repo().join("Cargo.toml"))?;
    let ours: toml::Table = toml::from_str(&ours)?;
    let profile = ours.get("profile").and_then(|all| all.get("guest"));
    let profile = toml::to_string(profile.context("there is no profile 'guest'")?)?;
    Ok(format!(
        "[workspace]\nresolver = \"3\"\nmembers = [\"engine\"]\n\n[profile.guest]\n{profile}"
    ))
}

fn cargo(dir: &Path, words: &[&str]) -> Result<Output> {
    let (command, rest) = words.split_first().context("nothing to do")?;
    let all = [&[*command, "--quiet", "--profile", "guest"], rest].concat();
    let mut cargo = limited_command(Path::new("cargo"), &all);
    cargo.current_dir(dir);
    cargo.env("CARGO_TARGET_DIR", dir.join("target"));
    cargo.output().context("cannot run cargo")
}

fn limited(program: &Path, words: &[&str]) -> Result<Output> {
    let run = limited_command(program, words).output();
    run.with_context(|| format!("cannot run {}", program.display()))
}

/// A program that is ended when it has computed for too long.
fn limited_command(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--cpu={MOST_SECONDS}"));
    command.arg(program).args(words);
    command
}

/// The violation that the simulation has found, or that it was ended.
fn violation(lived: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&lived.stdout);
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix("violation: "));
    match found {
        Some(found) => Some(format!("the simulation: {found}")),
        None if lived.status.code().is_none() => Some("the simulation: it does not end".into()),
        None => None,
    }
}

/// The first unit test that has failed.
fn failed_test(tested: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&tested.stdout);
    let mut lines = text.lines().skip_while(|line| *line != "failures:");
    let failed = lines.find_map(|line| line.strip_prefix("---- ")?.strip_suffix(" stdout ----"));
    match failed {
        Some(name) => Some(format!("the test {name}")),
        None if tested.status.code().is_none() => Some("a test that does not end".into()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list fits the engine, and has no fault twice.
    #[test]
    fn the_list_fits() {
        let engine = paths::repo().join("src/engine");
        let list = fs::read_to_string(engine.join("tests/mutants.toml")).unwrap();
        let list: List = toml::from_str(&list).unwrap();
        let mut seen = std::collections::HashSet::new();
        for mutant in &list.mutant {
            let text = mutant.text(&engine).unwrap();
            assert!(seen.insert((&mutant.file, text)), "twice: {}", mutant.what);
        }
        assert!(seen.len() >= 40);
    }
}
