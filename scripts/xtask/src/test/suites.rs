// SPDX-License-Identifier: GPL-2.0

//! The table of suites: the built-in one and those of `tests/suites.toml`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::programs::Programs;
use crate::{paths, run};

/// Where a suite's program runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In a virtual machine that is booted for it.
    #[default]
    Guest,
    /// On the host; it boots virtual machines itself, with [`crate::vm`].
    Host,
}

/// A disk of a suite's machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteDisk {
    /// The guest finds it as `/dev/disk/by-id/virtio-<serial>`.
    pub serial: String,
    /// Size, MiB; the file is sparse and new for each run.
    pub mib: u64,
    /// Logical block size, bytes.
    #[serde(default = "sector")]
    pub block: u32,
    /// Whether QEMU refuses writes.
    #[serde(default)]
    pub read_only: bool,
}

/// One suite: a program that prints what libtest would.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// A bin target of the package in `tests/`.
    #[serde(default)]
    pub bin: Option<String>,
    /// Instead: a shell script in the clone.
    #[serde(default)]
    pub script: Option<String>,
    /// Where it runs.
    #[serde(default, rename = "where")]
    pub place: Place,
    /// Arguments of the program.
    #[serde(default)]
    pub args: Vec<String>,
    /// With these arguments and a directory, run on the host, the program makes more disks and
    /// prints for each: serial number, logical block size, `ro` or `rw`, file.
    #[serde(default)]
    pub images: Vec<String>,
    /// With these arguments and the file of a disk, run on the host, the program prints its
    /// hash. That of a read-only disk must be the same before and after.
    #[serde(default)]
    pub hash: Vec<String>,
    /// Whether the module is loaded before the program starts.
    #[serde(default = "yes")]
    pub load: bool,
    /// Whether it needs the debug kernel, and runs only there.
    #[serde(default)]
    pub debug: bool,
    /// The machine's disks.
    #[serde(default)]
    pub disks: Vec<SuiteDisk>,
    /// More words for the guest kernel's command line.
    #[serde(default)]
    pub cmdline: Vec<String>,
    /// Memory of the machine, MiB.
    #[serde(default = "memory")]
    pub memory: u32,
    /// Processors of the machine.
    #[serde(default = "cpus")]
    pub cpus: u32,
    /// Seconds after which the suite is given up.
    #[serde(default = "timeout")]
    pub timeout: u64,
}

fn yes() -> bool {
    true
}

fn sector() -> u32 {
    512
}

fn memory() -> u32 {
    1024
}

fn cpus() -> u32 {
    2
}

fn timeout() -> u64 {
    900
}

#[derive(Deserialize)]
struct Table {
    suite: Vec<Suite>,
}

/// The built-in suite: load and unload the module.
const BUILT_IN: &str = r#"
    [[suite]]
    name = "smoke"
    script = "qemu/smoke"
    load = false
"#;

/// All suites, in the order in which they run.
///
/// # Errors
///
/// `tests/suites.toml` is not as it should be.
pub fn all() -> Result<Vec<Suite>> {
    let mut suites = parse(BUILT_IN)?;
    let file = paths::repo().join("tests/suites.toml");
    if file.exists() {
        let text = fs::read_to_string(&file)?;
        suites.extend(parse(&text).with_context(|| format!("bad table {}", file.display()))?);
    }
    Ok(suites)
}

fn parse(text: &str) -> Result<Vec<Suite>> {
    let table: Table = toml::from_str(text)?;
    Ok(table.suite)
}

impl Suite {
    /// The program's arguments for a run of the tests that `filter` leaves.
    pub fn arguments(&self, filter: &str) -> Vec<String> {
        let mut words = self.args.clone();
        if !words.iter().any(|word| word.starts_with("--test-threads")) {
            words.push("--test-threads=1".to_owned());
        }
        if !filter.is_empty() {
            words.push(filter.to_owned());
        }
        words
    }

    /// The filter to give to the suite's program, or `None` if it has nothing to run.
    ///
    /// # Errors
    ///
    /// The program does not list its tests.
    pub fn selected(&self, filter: &str, programs: &Programs) -> Result<Option<String>> {
        if filter.is_empty() || self.name.contains(filter) {
            return Ok(Some(String::new()));
        }
        let Some(bin) = &self.bin else {
            return Ok(None);
        };
        let mut list = Command::new(programs.path(bin)?);
        list.args(&self.args).args(["--list", filter]);
        let list = run::output(&mut list)?;
        let found = list.lines().any(|line| line.ends_with(": test"));
        Ok(found.then(|| filter.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_can_be_read() {
        let suites = all().expect("good tables");
        for suite in &suites {
            let both = suite.bin.is_some() == suite.script.is_some();
            assert!(!both, "{}: either bin or script", suite.name);
        }
        let mut names: Vec<_> = suites.iter().map(|suite| &suite.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), suites.len(), "a name twice");
    }

    #[test]
    fn a_misspelt_word_is_refused() {
        assert!(parse("[[suite]]\nname = 'a'\nbin = 'b'\nmemroy = 1\n").is_err());
    }

    #[test]
    fn defaults() {
        let text = "[[suite]]\nname = 'a'\nbin = 'b'\ndisks = [{serial = 's', mib = 1}]\n";
        let suite = &parse(text).expect("a good table")[0];
        assert_eq!(suite.place, Place::Guest);
        assert!(suite.load);
        assert_eq!(suite.disks[0].block, 512);
    }
}
