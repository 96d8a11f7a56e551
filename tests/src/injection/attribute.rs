// SPDX-License-Identifier: GPL-2.0

//! The kernel's fault injection: which of its three kinds, how often, and where.

use anyhow::{bail, Context, Result};
use dm_restore_tests::sh;
use std::fs;
use std::ops::Range;

/// More failures than any test waits for; what is left tells how many there were.
const TIMES: u64 = 1 << 30;

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Allocations from the slab.
    Slab,
    /// Allocations of pages.
    Pages,
    /// Allocations from mempools, which then take from their reserve.
    Pools,
    /// The same, of several elements at once.
    PoolsBulk,
    /// Requests to block devices.
    Requests,
}

impl Kind {
    /// All in which allocations fail.
    pub const ALLOCATIONS: [Self; 4] = [Self::Slab, Self::Pages, Self::Pools, Self::PoolsBulk];

    fn folder(self) -> &'static str {
        match self {
            Self::Slab => "/sys/kernel/debug/failslab",
            Self::Pages => "/sys/kernel/debug/fail_page_alloc",
            Self::Pools => "/sys/kernel/debug/fail_mempool_alloc",
            Self::PoolsBulk => "/sys/kernel/debug/fail_mempool_alloc_bulk",
            Self::Requests => "/sys/kernel/debug/fail_make_request",
        }
    }
}

/// Failures of one kind, for as long as this lives.
pub struct Injection {
    kind: Kind,
}

impl Injection {
    /// Prepares failures; none happens yet. Allocations fail where the module is on the stack, also
    /// those that may sleep.
    pub fn new(kind: Kind) -> Result<Self> {
        let injection = Self { kind };
        injection.set("probability", 0)?;
        injection.set("interval", 1)?;
        injection.set("times", TIMES)?;
        injection.set("verbose", 0)?;
        if kind != Kind::Requests {
            let module = module_text()?;
            injection.set("stacktrace-depth", 32)?;
            injection.set("require-start", module.start)?;
            injection.set("require-end", module.end)?;
        }
        if matches!(kind, Kind::Slab | Kind::Pages) {
            injection.write("ignore-gfp-wait", "N")?;
        }
        if kind == Kind::Pages {
            injection.write("ignore-gfp-highmem", "N")?;
            injection.set("min-order", 0)?;
        }
        Ok(injection)
    }

    /// From now on so many in a hundred fail.
    pub fn percent(&self, percent: u64) -> Result<()> {
        self.set("probability", percent)
    }

    /// How many have failed.
    pub fn failed(&self) -> Result<u64> {
        let path = format!("{}/times", self.kind.folder());
        let left = fs::read_to_string(&path).context(path)?;
        Ok(TIMES - left.trim().parse::<u64>()?)
    }

    fn set(&self, name: &str, value: u64) -> Result<()> {
        self.write(name, &value.to_string())
    }

    fn write(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("{}/{name}", self.kind.folder());
        fs::write(&path, value).context(path)
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // The next test sets everything anew.
        let _ = self.percent(0);
    }
}

/// Where the module's code is: from its first function to its last.
fn module_text() -> Result<Range<u64>> {
    let symbols =
        sh::shell("grep -i ' t .*\\[dm_restore\\]' /proc/kallsyms | sort | sed -n '1p;$p'")?;
    let address = |line: &str| {
        let word = line.split(' ').next().unwrap_or_default();
        u64::from_str_radix(word, 16)
    };
    let ends: Vec<u64> = symbols.lines().map(address).collect::<Result<_, _>>()?;
    match ends[..] {
        [start, end] if start > 0 => Ok(start..end),
        _ => bail!("the module's symbols are not shown: {symbols}"),
    }
}
