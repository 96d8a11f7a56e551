// SPDX-License-Identifier: GPL-2.0

//! Does a rebuilt tree fit the stock kernel?
//!
//! A mangled Rust symbol has the hash of its crate in it, and that depends on the compiler, its
//! options and the configuration. So if all the Rust symbols of the stock kernel's
//! `Module.symvers` come out of the tree's objects, a module built in the tree links against
//! the stock kernel as it would against the tree's own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::run;

/// Check that `build/rust/*.o` define every Rust symbol that `build/Module.symvers` names.
///
/// # Errors
///
/// Some are missing (a few of them are named), or there are none to check.
pub fn check(build: &Path) -> Result<()> {
    let symvers = build.join("Module.symvers");
    let text = fs::read_to_string(&symvers)
        .with_context(|| format!("cannot read {}", symvers.display()))?;
    let wanted = exported(&text);
    if wanted.is_empty() {
        bail!("the stock kernel exports no Rust symbol");
    }
    let defined = defined(&objects(&build.join("rust"))?)?;
    let missing: Vec<_> = wanted.difference(&defined).collect();
    if !missing.is_empty() {
        bail!(
            "the rebuilt tree does not fit the stock kernel: {} of {} Rust symbols differ, such as {:?}",
            missing.len(),
            wanted.len(),
            &missing[..missing.len().min(3)]
        );
    }
    println!(
        "all {} Rust symbols of the stock kernel come out identical",
        wanted.len()
    );
    Ok(())
}

/// The Rust symbols that the kernel's own image exports.
fn exported(symvers: &str) -> BTreeSet<String> {
    let fields = symvers
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    fields
        .filter(|fields| fields.get(2) == Some(&"vmlinux"))
        .filter_map(|fields| fields.get(1).copied())
        .filter(|name| name.starts_with("_R") || name.starts_with("rust_helper_"))
        .map(str::to_owned)
        .collect()
}

fn objects(rust: &Path) -> Result<Vec<PathBuf>> {
    let mut objects = Vec::new();
    for dir in [rust.to_owned(), rust.join("helpers")] {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "o") {
                objects.push(path);
            }
        }
    }
    Ok(objects)
}

fn defined(objects: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut nm = Command::new("nm");
    nm.args(["--extern-only", "--defined-only", "--format=just-symbols"]);
    let names = run::output(nm.args(objects))?;
    Ok(names.lines().map(|line| line.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rust_symbols_of_the_image_count() {
        let symvers = "0x0\t_RNvCs1_4core\tvmlinux\tEXPORT_SYMBOL_GPL\t\n\
                       0x0\trust_helper_get\tvmlinux\tEXPORT_SYMBOL_GPL\t\n\
                       0x0\tkmalloc\tvmlinux\tEXPORT_SYMBOL\t\n\
                       0x0\t_RNvCs2_other\tdrivers/x\tEXPORT_SYMBOL_GPL\t\n";
        let names: Vec<_> = exported(symvers).into_iter().collect();
        assert_eq!(names, ["_RNvCs1_4core", "rust_helper_get"]);
    }
}
