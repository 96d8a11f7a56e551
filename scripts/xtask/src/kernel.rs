// SPDX-License-Identifier: GPL-2.0

//! Which Debian kernel to use.
//!
//! Backports keeps only recent kernels, and its parts may be of different ages for a while: a
//! kernel can be used if headers, image, modules and source are there in the same version.

use anyhow::{bail, Result};
use clap::Args;

use crate::apt::{self, Package};

/// The release that was tested last.
const PINNED_RELEASE: &str = "7.3.4+deb13-amd64";
/// Its package version.
const PINNED_PACKAGE: &str = "7.3.4-1~bpo13+1";

/// Which kernel to build for and to boot.
#[derive(Args, Clone, Default)]
pub struct KernelArg {
    /// Debian kernel, for instance 7.3.4+deb13-amd64 [default: the one that is tested]
    #[arg(long, value_name = "VERSION")]
    pub kernel: Option<String>,
}

/// A stock Debian kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says, for instance `7.3.4+deb13-amd64`.
    pub release: String,
    /// The version of its packages, for instance `7.3.4-1~bpo13+1`.
    pub package: String,
}

impl Kernel {
    /// The part of the release after the version: `+deb13-amd64`.
    #[must_use]
    pub fn local_version(&self) -> &str {
        let version = |c: char| c.is_ascii_digit() || c == '.';
        self.release.trim_start_matches(version)
    }

    /// The version: `7.3.4`.
    #[must_use]
    pub fn version(&self) -> &str {
        let local = self.local_version();
        self.release.strip_suffix(local).unwrap_or(&self.release)
    }

    /// The series: `7.3`.
    #[must_use]
    pub fn series(&self) -> &str {
        series(&self.release)
    }

    /// The packages that are needed of it.
    #[must_use]
    pub fn packages(&self) -> Vec<Package> {
        let names = [
            format!("linux-headers-{}", self.release),
            format!("linux-binary-{}", self.release),
            format!("linux-modules-{}", self.release),
            format!("linux-source-{}", self.series()),
        ];
        let version = &self.package;
        let package = |name| Package {
            name,
            version: version.clone(),
        };
        names.into_iter().map(package).collect()
    }
}

fn series(release: &str) -> &str {
    let second_dot = release.match_indices('.').nth(1);
    second_dot.map_or(release, |(at, _)| &release[..at])
}

/// Choose the kernel: the one asked for, else the pinned one, else the newest of its series.
///
/// # Errors
///
/// There is none that fits; the error lists those that are there.
pub fn choose(wanted: Option<&str>) -> Result<Kernel> {
    let mut known = usable(&known_packages()?);
    let mut chosen = pick(&known, wanted);
    if chosen.is_none() {
        apt::update()?;
        known = usable(&known_packages()?);
        chosen = pick(&known, wanted);
    }
    let Some(kernel) = chosen else {
        known.sort_by_key(numbers);
        let names: Vec<_> = known.iter().map(|kernel| &*kernel.release).collect();
        match wanted {
            Some(wanted) => bail!("no kernel {wanted}; there are: {}", names.join(" ")),
            None => bail!(
                "Debian has no {} kernel any more; choose another with --kernel: {}",
                series(PINNED_RELEASE),
                names.join(" ")
            ),
        }
    };
    if kernel.release == PINNED_RELEASE && kernel.package == PINNED_PACKAGE {
        println!("kernel: {} ({})", kernel.release, kernel.package);
    } else {
        println!(
            "kernel: {} ({}); tested was {PINNED_RELEASE} ({PINNED_PACKAGE})",
            kernel.release, kernel.package
        );
    }
    Ok(kernel)
}

fn known_packages() -> Result<Vec<Package>> {
    apt::packages(&[
        "linux-headers-",
        "linux-binary-",
        "linux-modules-",
        "linux-source-",
    ])
}

/// The kernels of which every part is there in one version.
fn usable(packages: &[Package]) -> Vec<Kernel> {
    let complete = |kernel: &Kernel| {
        let needed = kernel.packages();
        needed.iter().all(|package| packages.contains(package))
    };
    packages
        .iter()
        .filter_map(|package| {
            let release = package.name.strip_prefix("linux-headers-")?;
            release
                .starts_with(|c: char| c.is_ascii_digit())
                .then(|| Kernel {
                    release: release.to_owned(),
                    package: package.version.clone(),
                })
        })
        .filter(complete)
        .collect()
}

fn pick(known: &[Kernel], wanted: Option<&str>) -> Option<Kernel> {
    if let Some(wanted) = wanted {
        let asked = |kernel: &&Kernel| kernel.release == wanted || kernel.package == wanted;
        return known.iter().find(asked).cloned();
    }
    let pinned =
        |kernel: &&Kernel| kernel.release == PINNED_RELEASE && kernel.package == PINNED_PACKAGE;
    let fits = |kernel: &&Kernel| kernel.series() == series(PINNED_RELEASE) && plain(kernel);
    let newest = || {
        known
            .iter()
            .filter(fits)
            .max_by_key(|kernel| numbers(kernel))
    };
    known.iter().find(pinned).or_else(newest).cloned()
}

/// Not the cloud or real-time flavour.
fn plain(kernel: &Kernel) -> bool {
    !kernel.release.contains("-cloud-") && !kernel.release.contains("-rt-")
}

/// The numbers in the package version, most significant first.
fn numbers(kernel: &Kernel) -> Vec<u64> {
    let digits = kernel.package.split(|c: char| !c.is_ascii_digit());
    digits.filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(release: &str, package: &str) -> Kernel {
        Kernel {
            release: release.into(),
            package: package.into(),
        }
    }

    #[test]
    fn parts_of_a_release() {
        let kernel = kernel("7.3.4+deb13-amd64", "7.3.4-1~bpo13+1");
        assert_eq!(kernel.series(), "7.3");
        assert_eq!(kernel.local_version(), "+deb13-amd64");
        assert_eq!(kernel.version(), "7.3.4");
        assert_eq!(kernel.packages()[3].name, "linux-source-7.3");
    }

    #[test]
    fn the_pinned_one_is_preferred() {
        let known = [
            kernel("7.3.9+deb13-amd64", "7.3.9-1~bpo13+1"),
            kernel(PINNED_RELEASE, PINNED_PACKAGE),
        ];
        assert_eq!(pick(&known, None).as_ref(), Some(&known[1]));
    }

    #[test]
    fn else_the_newest_plain_one_of_the_series() {
        let known = [
            kernel("7.3.9+deb13-amd64", "7.3.9-1~bpo13+1"),
            kernel("7.3.10+deb13-amd64", "7.3.10-1~bpo13+1"),
            kernel("7.3.11+deb13-rt-amd64", "7.3.11-1~bpo13+1"),
            kernel("7.4.1+deb13-amd64", "7.4.1-1~bpo13+1"),
        ];
        assert_eq!(pick(&known, None).as_ref(), Some(&known[1]));
        assert_eq!(pick(&known[3..], None), None);
    }

    #[test]
    fn only_what_is_complete_is_usable() {
        let whole = kernel("7.3.4+deb13-amd64", "7.3.4-1~bpo13+1");
        let mut packages = whole.packages();
        assert_eq!(usable(&packages), [whole]);
        packages[3].version = "7.3.5-1~bpo13+1".into();
        assert_eq!(usable(&packages), []);
    }
}
