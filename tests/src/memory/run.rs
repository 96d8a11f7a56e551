// SPDX-License-Identifier: GPL-2.0

//! The whole: memory is used up, pages go to a swap area whose volume is restored and come back,
//! and so long until enough have moved and all restores are over.

use super::pressure::{self, Pressure};
use super::volumes::{Direct, Files, Swap};
use crate::kmsg::Log;
use crate::wait;
use crate::watch::Watch;
use anyhow::{bail, ensure, Context, Result};
use std::fs;

/// Pages that must have been swapped out before the copy is let go, and again after that.
const PAGES_OUT: u64 = 40_000;
/// New tables for the swap area's volume until the copy is let go.
const RELOADS: u64 = 4;

/// Runs it and says what has happened.
pub fn run(watch: &Watch) -> Result<String> {
    pressure::exempt_ourselves()?;
    let mut log = Log::from_now()?;
    let mut swap = Swap::start().context("swap")?;
    let files = Files::start().context("files")?;
    let direct = Direct::start().context("direct I/O")?;
    let before = swapped()?;
    let mut pressure = Pressure::start(files.folder())?;

    for reload in 1..=RELOADS {
        wait_for_pages(&swap, &mut pressure, &direct, reload * PAGES_OUT / RELOADS)?;
        ensure!(swap.is_restoring()?, "the restore was over too soon");
        swap.reload()
            .context("a reload of the swap area's volume")?;
        watch.goes_on();
    }
    swap.finish()?;
    files.finish()?;
    direct.finish()?;
    watch.goes_on();
    wait_for_pages(&swap, &mut pressure, &direct, 2 * PAGES_OUT)?;

    let (out, back) = swap.pages()?;
    let counted = swapped()?;
    watch.goes_on();
    let ended = pressure.stop()?;
    watch.goes_on();
    let requests = direct.close()?;
    files.close()?;
    let compared = swap.close()?;
    no_oom(&mut log)?;
    let (kernel_out, kernel_back) = (counted.0 - before.0, counted.1 - before.1);
    ensure!(
        kernel_out >= PAGES_OUT && kernel_back >= PAGES_OUT / 4 && back >= PAGES_OUT / 4,
        "pages out and in: {out} and {back} on the device, {kernel_out} and {kernel_back} in the kernel"
    );
    Ok(format!(
        "{kernel_out} pages swapped out and {kernel_back} in ({out} and {back} on the device); \
         {ended}; {requests} direct requests; {compared} extents of the swap area's volume compared"
    ))
}

fn wait_for_pages(swap: &Swap, pressure: &mut Pressure, direct: &Direct, pages: u64) -> Result<()> {
    wait::while_it_grows("pages are swapped", pages, || {
        pressure.check()?;
        direct.check()?;
        Ok(swap.pages()?.0)
    })
    .with_context(|| format!("{:?} of {pages} pages; {}", swap.pages(), memory()))
}

/// How much memory there is and is left, for an error.
fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let told = ["MemTotal", "MemFree", "AnonPages", "SwapTotal", "SwapFree"];
    let lines = text.lines();
    let lines: Vec<&str> = lines
        .filter(|line| told.iter().any(|name| line.starts_with(name)))
        .collect();
    lines.join(", ")
}

/// Pages that the kernel has swapped out and in.
fn swapped() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/vmstat")?;
    let figure = |name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| name.to_string())?.trim().parse()?)
    };
    Ok((figure("pswpout ")?, figure("pswpin ")?))
}

/// What was swapped had a place, so nobody had to be killed.
fn no_oom(log: &mut Log) -> Result<()> {
    let signs = [
        "Out of memory",
        "oom-kill",
        "oom_reaper",
        "page allocation failure",
    ];
    for line in log.lines()? {
        if signs.iter().any(|sign| line.contains(sign)) {
            bail!("the kernel ran out of memory: {line}");
        }
    }
    Ok(())
}
