// SPDX-License-Identifier: GPL-2.0

//! `/proc/meminfo`.

use anyhow::{Context, Result};

/// The figure of the line that begins with `name`, KiB.
pub fn kib(text: &str, name: &str) -> Result<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let word = line.and_then(|line| line.split_whitespace().next());
    Ok(word
        .with_context(|| format!("no {name} in /proc/meminfo"))?
        .parse()?)
}
