// SPDX-License-Identifier: GPL-2.0

//! What apt in the build root knows, and downloads by it.
//!
//! apt checks the signatures and hashes; here is only the choice of packages and the progress.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::progress::Step;
use crate::run;

/// A package in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version, as Debian writes it.
    pub version: String,
}

/// All packages, in all versions, whose name starts with one of `prefixes`.
///
/// # Errors
///
/// apt cannot be run.
pub fn packages(prefixes: &[&str]) -> Result<Vec<Package>> {
    let mut names = String::new();
    for prefix in prefixes {
        names += &run::output(Command::new("apt-cache").args(["pkgnames", prefix]))?;
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let table = run::output(Command::new("apt-cache").arg("madison").args(names.lines()))?;
    Ok(table.lines().filter_map(parse).collect())
}

/// One line of `apt-cache madison`: name | version | where from.
fn parse(line: &str) -> Option<Package> {
    let mut fields = line.split('|').map(str::trim);
    let (name, version) = (fields.next()?, fields.next()?);
    Some(Package {
        name: name.to_owned(),
        version: version.to_owned(),
    })
}

/// Read the package lists anew.
///
/// # Errors
///
/// The mirror cannot be reached.
pub fn update() -> Result<()> {
    let step = Step::spinner("package lists");
    run::output(Command::new("apt-get").args(["-qq", "update"]))?;
    step.done();
    Ok(())
}

/// A file that apt is to download.
struct Download {
    file: PathBuf,
    bytes: u64,
}

/// Download the packages into a directory.
///
/// # Errors
///
/// The mirror no longer has a package, or cannot be reached.
pub fn download(packages: &[Package], to: &Path) -> Result<()> {
    let wanted: Vec<_> = packages
        .iter()
        .map(|package| format!("{}={}", package.name, package.version))
        .collect();
    let plan = run::output(
        Command::new("apt-get")
            .args(["-qq", "download", "--print-uris"])
            .args(&wanted),
    )?;
    let files = plan.lines().map(|line| planned(line, to));
    let files = files.collect::<Result<Vec<_>>>()?;
    let child = Command::new("apt-get")
        .args(["-qq", "download"])
        .args(&wanted)
        .current_dir(to)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run apt-get")?;
    watch(child, &files)
}

/// One line of `--print-uris`: 'uri' file size hash.
fn planned(line: &str, to: &Path) -> Result<Download> {
    let mut fields = line.split_whitespace().skip(1);
    let file = fields.next().context("apt-get names no file")?;
    let bytes = fields.next().context("apt-get gives no size")?;
    Ok(Download {
        file: to.join(file),
        bytes: bytes.parse()?,
    })
}

fn watch(mut child: Child, files: &[Download]) -> Result<()> {
    let total = files.iter().map(|file| file.bytes).sum();
    let step = Step::bytes("download of the kernel packages", total);
    while child.try_wait()?.is_none() {
        let sizes = files.iter().map(|file| fs::metadata(&file.file));
        step.at(sizes.flatten().map(|data| data.len()).sum());
        thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "the download failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    step.done();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn madison_lines() {
        let package = parse("linux-source-7.3 | 7.3.4-1~bpo13+1 | somewhere main amd64 Packages");
        let package = package.expect("a package");
        assert_eq!(package.name, "linux-source-7.3");
        assert_eq!(package.version, "7.3.4-1~bpo13+1");
        assert_eq!(parse("no table"), None);
    }

    #[test]
    fn planned_downloads() {
        let line = "'http://mirror/x.deb' x_1_all.deb 166780612 SHA256:00";
        let file = planned(line, Path::new("/to")).expect("a download");
        assert_eq!(file.bytes, 166_780_612);
        assert_eq!(file.file, Path::new("/to/x_1_all.deb"));
        assert!(planned("'uri'", Path::new("/to")).is_err());
    }
}
