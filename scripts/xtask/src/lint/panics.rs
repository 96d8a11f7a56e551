// SPDX-License-Identifier: GPL-2.0

//! Which functions of the built module can panic.
//!
//! A panic in the kernel is a BUG, so each reference to core's panic functions is either removed
//! or explained, one a line, in `scripts/panics.allow`:
//!
//! ```text
//! <function> -> <panic function>: <why it cannot happen>
//! ```
//!
//! An entry that nothing refers to any more is an error too, so the list stays true.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::{paths, run};

const LIST: &str = "scripts/panics.allow";

/// Compare the module with the reviewed list.
///
/// # Errors
///
/// They differ, or an entry has no reason.
pub fn check(module: &Path) -> Result<()> {
    let mut objdump = Command::new("objdump");
    objdump.args(["-dr", "--no-show-raw-insn", "--demangle"]);
    let found = references(&run::output(objdump.arg(module))?);
    let allowed = allowed(&fs::read_to_string(paths::repo().join(LIST)).unwrap_or_default())?;
    let mut complaints = Vec::new();
    for reference in found.difference(&allowed) {
        complaints.push(format!("not explained in {LIST}: {reference}"));
    }
    for reference in allowed.difference(&found) {
        complaints.push(format!("in {LIST} but not in the module: {reference}"));
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

fn allowed(list: &str) -> Result<BTreeSet<String>> {
    let entries = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries
        .map(|line| {
            let (reference, reason) = line
                .split_once(": ")
                .with_context(|| format!("{LIST}: no reason: {line}"))?;
            if reason.trim().is_empty() {
                bail!("{LIST}: no reason: {line}");
            }
            Ok(reference.to_owned())
        })
        .collect()
}

/// `function -> panic function`, from a disassembly with relocations.
fn references(disassembly: &str) -> BTreeSet<String> {
    let mut function = String::new();
    let mut found = BTreeSet::new();
    for line in disassembly.lines() {
        if let Some(name) = header(line) {
            function = plain(name);
        } else if let Some(target) = relocation(line) {
            let target = plain(target);
            if panics(&target) {
                found.insert(format!("{function} -> {target}"));
            }
        }
    }
    found
}

/// `0000000000000010 <name>:`
fn header(line: &str) -> Option<&str> {
    let (address, name) = line.split_once(" <")?;
    let address = address.chars().all(|c| c.is_ascii_hexdigit());
    name.strip_suffix(">:").filter(|_| address)
}

/// `        12: R_X86_64_PLT32  name-0x4`
fn relocation(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(": R_X86_64_")?;
    let (_, target) = rest.split_once(char::is_whitespace)?;
    let target = target.trim();
    let addend = target
        .rfind(['-', '+'])
        .filter(|at| target[at + 1..].starts_with("0x"));
    Some(addend.map_or(target, |at| &target[..at]))
}

/// A demangled name without the hashes of crates: `core[3a]::x` is `core::x`.
fn plain(name: &str) -> String {
    let mut plain = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('[') {
        plain += before;
        match after.split_once(']') {
            Some((hash, after))
                if !hash.is_empty() && hash.chars().all(|c| c.is_ascii_hexdigit()) =>
            {
                rest = after;
            }
            _ => {
                plain.push('[');
                rest = after;
            }
        }
    }
    plain + rest
}

/// Core's functions that end in a panic.
fn panics(name: &str) -> bool {
    let core = name.starts_with("core::") || name.starts_with("<core::");
    let last = name.rsplit("::").next().unwrap_or_default();
    name.contains("core::panicking::")
        || name.contains("rust_begin_unwind")
        || core && (last.contains("panic") || last.ends_with("_fail") || last.ends_with("_failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISASSEMBLY: &str = "\
0000000000000010 <dm_restore_main[f1]::restore::map>:
      10:\tcall   15 <x>
\t\t\t11: R_X86_64_PLT32\tcore[3a]::panicking::panic_bounds_check-0x4
\t\t\t19: R_X86_64_PLT32\tkernel[1]::print::call_printk-0x4
\t\t\t1f: R_X86_64_PC32\tcore[3a]::option::unwrap_failed-0x4
";

    #[test]
    fn references_are_found_with_their_function() {
        let found: Vec<_> = references(DISASSEMBLY).into_iter().collect();
        assert_eq!(
            found,
            [
                "dm_restore_main::restore::map -> core::option::unwrap_failed",
                "dm_restore_main::restore::map -> core::panicking::panic_bounds_check",
            ]
        );
    }

    #[test]
    fn arrays_in_names_stay() {
        assert_eq!(plain("<[u8] as core[1f]::x>::y"), "<[u8] as core::x>::y");
    }

    #[test]
    fn an_entry_needs_a_reason() {
        assert!(allowed("a -> b: because\n").is_ok());
        assert!(allowed("a -> b\n").is_err());
        assert!(allowed("# a comment\n\n").expect("no entry").is_empty());
    }
}
