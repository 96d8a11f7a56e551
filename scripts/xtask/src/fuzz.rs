// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask fuzz`: breeds hostile input for the engine with cargo-fuzz.
//!
//! The targets are in `tests/fuzz`. What was bred is kept in `build/fuzz/corpus`, so that the next
//! run goes on from there. Debian's rustc has no runtime for sanitizers; the engine has no `unsafe`
//! that they could find anything in, and overflow checks and debug assertions are on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::cache::{Entry, Lock};
use crate::progress::Step;
use crate::{paths, root, run};

/// The version of cargo-fuzz; it builds with Debian's rustc.
const VERSION: &str = "0.13.1";
const CRATE: &str = "tests/fuzz";
/// A single input may take so long, in seconds, and so much memory, in MiB.
const LIMITS: [&str; 2] = ["-timeout=25", "-rss_limit_mb=512"];

/// What to fuzz.
#[derive(Args)]
pub struct What {
    /// Only this target [default: each in turn]
    target: Option<String>,
    /// For so long, each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Fuzz, and say how often and what was found.
///
/// # Errors
///
/// Something could not be built or run.
pub fn run(what: &What) -> Result<ExitCode> {
    let _lock = Lock::take(&out().join("lock"))?;
    let tool = tool()?;
    let targets: Vec<_> = targets(&tool)?
        .into_iter()
        .filter(|name| what.target.as_ref().is_none_or(|wanted| wanted == name))
        .collect();
    anyhow::ensure!(!targets.is_empty(), "there is no such target");
    build(&tool)?;
    let mut total = Figures::default();
    for target in &targets {
        seeds(target)?;
        total.add(&fuzz(target, what.seconds)?);
    }
    println!(
        "fuzz: {} executions in {} s, {} crashes",
        total.executions, total.seconds, total.crashes
    );
    Ok(ExitCode::from(u8::from(total.crashes > 0)))
}

fn out() -> PathBuf {
    paths::build().join("fuzz")
}

/// cargo-fuzz, installed when it is needed first.
fn tool() -> Result<PathBuf> {
    let name = format!("cargo-fuzz-{VERSION}");
    let entry = Entry::new(&name, &[VERSION, &root::stamp()?], &["bin"]);
    let dir = entry.ensure(|dir| {
        let step = Step::spinner(&name);
        let mut cargo = Command::new("cargo");
        cargo.args(["install", "cargo-fuzz", "--locked", "--version", VERSION]);
        cargo.arg("--root").arg(dir);
        // What an interrupted run has left does not matter then.
        cargo.env("CARGO_TARGET_DIR", out().join("tool"));
        run::output(&mut cargo)?;
        step.done();
        Ok(())
    })?;
    Ok(dir.join("bin/cargo-fuzz"))
}

fn cargo_fuzz(tool: &Path, command: &str) -> Command {
    let mut fuzz = Command::new(tool);
    fuzz.args(["fuzz", command, "--fuzz-dir", CRATE]);
    fuzz.current_dir(paths::repo());
    fuzz
}

fn targets(tool: &Path) -> Result<Vec<String>> {
    let names = run::output(&mut cargo_fuzz(tool, "list"))?;
    Ok(names.lines().map(str::to_owned).collect())
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn build(tool: &Path) -> Result<()> {
    let step = Step::spinner("fuzz targets");
    let mut build = cargo_fuzz(tool, "build");
    build.args(["--sanitizer", "none", "--features", "libfuzzer"]);
    build.args(["--target", &triple()]);
    // Not shared with other clones: their programs have the same names.
    build.env("CARGO_TARGET_DIR", out().join("target"));
    // The coverage that breeding needs is unstable in rustc.
    run::output(build.env("RUSTC_BOOTSTRAP", "1"))?;
    step.done();
    Ok(())
}

fn corpus(target: &str) -> PathBuf {
    out().join("corpus").join(target)
}

fn seeds(target: &str) -> Result<()> {
    fs::create_dir_all(corpus(target))?;
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--package", "dm-restore-fuzz"]);
    cargo.args(["--example", "seeds", target]);
    run::output(cargo.arg(corpus(target)).current_dir(paths::repo()))?;
    Ok(())
}

/// Breeds inputs for one target and shows the figures.
fn fuzz(target: &str, seconds: u64) -> Result<Figures> {
    let step = Step::spinner(format!("{target}, {seconds} s"));
    let found = out().join("found").join(target);
    fs::create_dir_all(&found)?;
    let log = out().join(format!("{target}.log"));
    let program = out()
        .join("target")
        .join(triple())
        .join("release")
        .join(target);
    let mut fuzzer = Command::new(&program);
    fuzzer.arg(corpus(target)).args(LIMITS);
    fuzzer.arg(format!("-max_total_time={seconds}"));
    fuzzer.arg(format!("-artifact_prefix={}/", found.display()));
    fuzzer.arg("-print_final_stats=1");
    let status = fuzzer
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let text = fs::read(&log)?;
    let mut figures = Figures::of(&String::from_utf8_lossy(&text));
    figures.crashes = u64::from(!status.success());
    step.done_as(&format!("{target}: {figures}"));
    if figures.crashes > 0 {
        println!("{}\n(all of it: {})", run::tail(&log, 15), log.display());
        println!("keep what was found as a test: tests/fuzz/found/{target}");
    }
    Ok(figures)
}

/// What libFuzzer says at its end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    executions: u64,
    seconds: u64,
    edges: u64,
    inputs: u64,
    crashes: u64,
}

impl Figures {
    fn of(log: &str) -> Self {
        let mut figures = Self::default();
        for line in log.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            match words.as_slice() {
                ["stat::number_of_executed_units:", n] => figures.executions = number(n),
                ["Done", n, "runs", "in", seconds, ..] => {
                    (figures.executions, figures.seconds) = (number(n), number(seconds));
                }
                [first, _, "cov:", edges, "ft:", _, "corp:", inputs, ..]
                    if first.starts_with('#') =>
                {
                    figures.edges = number(edges);
                    figures.inputs = number(inputs.split('/').next().unwrap_or_default());
                }
                _ => {}
            }
        }
        figures
    }

    fn add(&mut self, other: &Self) {
        self.executions += other.executions;
        self.seconds += other.seconds;
        self.crashes += other.crashes;
    }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_default()
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            executions,
            seconds,
            edges,
            inputs,
            crashes,
        } = self;
        write!(f, "{executions} executions in {seconds} s, ")?;
        write!(f, "{edges} edges, {inputs} inputs, {crashes} crashes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_run() {
        let log = "#4\tNEW    cov: 9 ft: 10 corp: 2/1Kb lim: 4 exec/s: 0 rss: 33Mb\n\
            #4675\tDONE   cov: 1132 ft: 5483 corp: 477/190Kb lim: 1162 exec/s: 114 rss: 33Mb\n\
            Done 4675 runs in 41 second(s)\n\
            stat::number_of_executed_units: 4675\n";
        let figures = Figures {
            executions: 4675,
            seconds: 41,
            edges: 1132,
            inputs: 477,
            crashes: 0,
        };
        assert_eq!(Figures::of(log), figures);
    }
}
