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
const COMPLAINTS: [&str; 24] = [
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
    "INFO: possible ",
    "turning off the locking correctness validator",
    "UBSAN: ",
    "refcount_t: ",
];

/// More of them: memory.
const MEMORY: [&str; 9] = [
    "KASAN: ",
    "Objects remaining",
    "unreferenced object",
    "new suspected memory leaks",
    "kmemleak: Kernel memory leak detector disabled",
    "ODEBUG: ",
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
    fn what_the_debug_kernel_reports_is_noticed() {
        let reports = [
            "BUG: KASAN: slab-use-after-free in map+0x1/0x2 [dm_restore]",
            "WARNING: possible circular locking dependency detected",
            "INFO: possible recursive locking detected",
            "WARNING: possible recursive locking detected",
            "WARNING: possible irq lock inversion dependency detected",
            "WARNING: inconsistent lock state",
            "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
            "WARNING: bad unlock balance detected!",
            "WARNING: held lock freed!",
            "WARNING: suspicious RCU usage",
            "[ BUG: Invalid wait context ]",
            "turning off the locking correctness validator.",
            "BUG: sleeping function called from invalid context at mm/slab.h:1",
            "BUG: scheduling while atomic: kworker/u8:1/2/0x3",
            "ODEBUG: free active (active state 0) object: 0 object type: work_struct hint: 0",
            "UBSAN: shift-out-of-bounds in drivers/md/dm.c:1:2",
            "kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "unreferenced object 0xffff888100000000 (size 64):",
            "kmemleak: Kernel memory leak detector disabled",
            "INFO: task kworker/u8:1:2 blocked for more than 600 seconds.",
            "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [fio:1]",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "list_add corruption. next->prev should be prev, but was 0: kernel BUG at lib/list.c:1!",
            "rust_kernel: panicked at src/engine/maps/mod.rs:1:2:",
            "refcount_t: underflow; use-after-free.",
        ];
        for report in reports {
            let log = format!("[    1.0] fine\n[    2.0] {report}\n[    3.0] fine\n");
            assert_eq!(scan(&log).len(), 1, "{report}");
        }
    }

    #[test]
    fn what_the_debug_kernel_says_in_good_health_is_not() {
        let log = "[ 0.0] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar\n\
                   [ 0.1] KernelAddressSanitizer initialized\n\
                   [ 0.2] kmemleak: Kernel memory leak detector initialized (mem pool available: 1)\n\
                   [ 0.3] FAULT_INJECTION: forcing a failure.\n\
                   [ 0.5] kmemleak: Automatic memory scanning thread started\n";
        assert_eq!(scan(log), []);
    }

    #[test]
    fn a_healthy_log_has_none() {
        let log = "[ 0.1] Kernel command line: panic=-1 oops=panic\n\
                   [ 0.2] Spectre V2 : Mitigation: Retpolines\n\
                   [ 0.3] dm_restore: module verification failed: signature missing\n";
        assert_eq!(scan(log), []);
    }
}
