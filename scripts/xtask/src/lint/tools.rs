// SPDX-License-Identifier: GPL-2.0

//! Checks that other programs make.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};

use super::sources::{Source, Sources};
use crate::tree::Tree;
use crate::{module, paths, run};

/// Every Rust file is formatted, the kernel's and the host's alike.
pub fn rustfmt(sources: &Sources) -> Result<()> {
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--check", "-l", "--edition", "2021"]);
    rustfmt.args(sources.all(Source::rust).map(|file| &file.path));
    let checked = rustfmt.current_dir(paths::repo()).output()?;
    if !checked.status.success() {
        // A file shows up once for each crate that it is a module of.
        let text = String::from_utf8_lossy(&checked.stdout);
        let unformatted: BTreeSet<_> = text.lines().collect();
        let unformatted: Vec<_> = unformatted.into_iter().collect();
        let said = String::from_utf8_lossy(&checked.stderr);
        bail!("{}\n{}", unformatted.join("\n"), said.trim_end());
    }
    Ok(())
}

/// Every shell script is sound.
pub fn shellcheck(sources: &Sources) -> Result<()> {
    let mut shellcheck = Command::new("shellcheck");
    shellcheck.args(["--severity=warning", "--format=gcc"]);
    shellcheck.args(sources.all(Source::shell).map(|file| &file.path));
    let checked = shellcheck.current_dir(paths::repo()).output()?;
    if !checked.status.success() {
        bail!("{}", String::from_utf8_lossy(&checked.stdout).trim_end());
    }
    Ok(())
}

/// clippy has nothing to say about the workspace.
pub fn clippy_host() -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
    cargo.args(["--", "-D", "warnings"]);
    run::output(cargo.current_dir(paths::repo()))?;
    Ok(())
}

/// The workspace's documentation has no broken link and no gap.
pub fn docs_host() -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["doc", "--quiet", "--workspace", "--no-deps"]);
    cargo.args(["--document-private-items"]);
    cargo
        .arg("--target-dir")
        .arg(paths::build().join("doc-host"));
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    run::output(cargo.current_dir(paths::repo()))?;
    Ok(())
}

/// clippy, as the kernel configures it, has nothing to say about the module.
pub fn clippy_module(tree: &Tree) -> Result<()> {
    let out = paths::build().join(format!("clippy-{}", tree.kernel.release));
    // What is up to date would not be looked at again.
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    let mut make = module::kbuild(tree, &out);
    make.args(["CLIPPY=1", "W=e", "modules"]);
    let log = paths::build().join("clippy.log");
    let _ = fs::remove_file(&log);
    run::logged(&mut make, &log, &mut |_| ())?;
    let text = fs::read_to_string(&log)?;
    if text.lines().any(|line| line.starts_with("warning")) {
        bail!("{text}");
    }
    Ok(())
}

/// The module's documentation builds without warnings.
///
/// kbuild has no target for that out of tree: rustdoc gets the words that kbuild gave rustc.
pub fn docs_module(tree: &Tree) -> Result<()> {
    let out = module::output(tree);
    let saved = out.join("src/.dm_restore_main.o.cmd");
    let text =
        fs::read_to_string(&saved).with_context(|| format!("cannot read {}", saved.display()))?;
    let command = rustdoc(&text, &paths::build().join("doc-module"))?;
    let mut bash = Command::new("bash");
    bash.args(["-c", &command]).current_dir(&out);
    // As Kbuild exports it.
    bash.env("DM_RUST_BINDINGS", out.join("src/bindings_generated.rs"));
    // As the kernel sets it for rustc: its Rust needs unstable features.
    run::output(bash.env("RUSTC_BOOTSTRAP", "1"))?;
    Ok(())
}

/// Options of rustc that rustdoc does not know; a value of their own follows `true`.
const RUSTC_ONLY: [(&str, bool); 4] = [
    ("--emit=", false),
    ("--out-dir", true),
    ("-Zbinary_dep_depinfo", false),
    ("-Csplit-debuginfo", false),
];

/// The saved rustc command as one of rustdoc.
fn rustdoc(saved: &str, out: &Path) -> Result<String> {
    let line = saved
        .lines()
        .find_map(|line| line.split_once(":= "))
        .map(|(_, line)| line);
    let line = line.context("no command saved")?;
    let line = line.split(';').next().unwrap_or_default();
    let mut words = line.split_whitespace().peekable();
    let mut kept = vec![String::new()];
    while let Some(word) = words.next() {
        match RUSTC_ONLY
            .iter()
            .find(|(option, _)| word.starts_with(option))
        {
            Some((_, true)) => drop(words.next()),
            Some((_, false)) => {}
            None if word == "rustc" || word == "clippy-driver" => kept.push("rustdoc".into()),
            None => kept.push(word.to_owned()),
        }
    }
    kept.push(format!(
        "--document-private-items -Dwarnings -o {}",
        out.display()
    ));
    Ok(kept.join(" "))
}
