// SPDX-License-Identifier: GPL-2.0

//! Complaints in the kernel's messages.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A line of the kernel's messages that must not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its number, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
}

/// What a healthy kernel never says.
const COMPLAINTS: [&str; 22] = [
    "WARNING: ",
    "BUG: ",
    "BUG at ",
    "Oops",
    "Kernel panic",
    "Internal error",
    "general protection fault",
    "divide error",
    "stack segment",
    "rust_kernel: panicked",
    "blocked for more than",
    "blocked in I/O wait for more than",
    "soft lockup",
    "hard LOCKUP",
    "detected stall",
    "self-detected stall",
    "possible recursive locking",
    "possible circular locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "UBSAN: ",
    "refcount_t: ",
];

/// More of them: memory.
const MEMORY: [&str; 6] = [
    "KASAN: ",
    "Objects remaining",
    "unreferenced object",
    "sleeping function called from invalid context",
    "scheduling while atomic",
    "page allocation failure",
];

/// All complaints in a file of kernel messages.
///
/// # Errors
///
/// The file cannot be read.
pub fn findings(console: &Path) -> Result<Vec<Finding>> {
    let text = fs::read(console).with_context(|| format!("cannot read {}", console.display()))?;
    Ok(scan(&String::from_utf8_lossy(&text)))
}

fn scan(text: &str) -> Vec<Finding> {
    let numbered = text.lines().zip(1..);
    numbered
        .filter(|(text, _)| complains(text))
        .map(|(text, line)| Finding {
            line,
            text: text.trim_end().to_owned(),
        })
        .collect()
}

fn complains(line: &str) -> bool {
    let mut all = COMPLAINTS.iter().chain(&MEMORY);
    all.any(|complaint| line.contains(complaint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_found_with_their_line() {
        let log = "[ 1.0] Linux version 7.3.4\n\
                   [ 2.0] WARNING: drivers/md/dm.c:1 at dm_x+0x1/0x2, CPU#0: a/1\n\
                   [ 3.0] INFO: task fio:12 blocked for more than 60 seconds.\n";
        let found = scan(log);
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_healthy_log_has_none() {
        let log = "[ 0.1] Kernel command line: panic=-1 oops=panic\n\
                   [ 0.2] Spectre V2 : Mitigation: Retpolines\n\
                   [ 0.3] dm_restore: module verification failed: signature missing\n";
        assert_eq!(scan(log), []);
    }
}
