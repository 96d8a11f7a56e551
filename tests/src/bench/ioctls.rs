// SPDX-License-Identifier: GPL-2.0

//! How long the ioctls of `dmsetup` take, from the kernel's own trace of system calls.
//!
//! The start of a process takes longer than what is to be timed, and a call of our own would need
//! `unsafe`. So `dmsetup` makes the calls, and the trace says when each was entered and left.

use crate::sh;
use anyhow::{bail, Context, Result};
use std::fs;

const ROOT: &str = "/sys/kernel/tracing";

/// The call for suspend and resume.
pub const SUSPEND: u64 = 6;
/// The call that waits for an event.
pub const WAIT: u64 = 8;
/// The call for a message.
pub const MESSAGE: u64 = 14;

/// A call of device-mapper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// The process.
    pub process: u32,
    /// The number of the call.
    pub number: u64,
    /// When it was entered, seconds.
    pub entered: f64,
    /// When it was left.
    pub left: f64,
}

impl Call {
    /// How long it took, seconds.
    pub fn took(&self) -> f64 {
        self.left - self.entered
    }
}

/// A trace that is being taken. Dropping it ends it.
pub struct Trace(());

impl Trace {
    /// Begins a trace.
    pub fn start() -> Result<Self> {
        if !fs::exists(format!("{ROOT}/trace"))? {
            sh::ok("mount", &["-t", "tracefs", "tracefs", ROOT])?;
        }
        set("trace_clock", "mono")?;
        for event in ["sys_enter_ioctl", "sys_exit_ioctl"] {
            set(
                &format!("events/syscalls/{event}/filter"),
                "comm == \"dmsetup\"",
            )?;
            set(&format!("events/syscalls/{event}/enable"), "1")?;
        }
        set("tracing_on", "1")?;
        let trace = Self(());
        trace.forget()?;
        Ok(trace)
    }

    /// Forgets what has been seen so far.
    pub fn forget(&self) -> Result<()> {
        set("trace", "")
    }

    /// The calls that have been entered and left since then, in the order in which they were left.
    pub fn calls(&self) -> Result<Vec<Call>> {
        let text = fs::read_to_string(format!("{ROOT}/trace"))?;
        calls(&text)
    }

    /// The last call with this number.
    pub fn last(&self, number: u64) -> Result<Call> {
        let calls = self.calls()?;
        let found = calls.into_iter().rev().find(|call| call.number == number);
        found.with_context(|| format!("call {number} of device-mapper is not in the trace"))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        for event in ["sys_enter_ioctl", "sys_exit_ioctl"] {
            let _ = set(&format!("events/syscalls/{event}/enable"), "0");
        }
    }
}

fn set(file: &str, value: &str) -> Result<()> {
    fs::write(format!("{ROOT}/{file}"), value).with_context(|| format!("{ROOT}/{file}"))
}

/// A line of the trace: process, time, number of the call or nothing where it was left.
fn event(line: &str) -> Option<(u32, f64, Option<u64>)> {
    let (head, call) = line.split_once(": sys_ioctl")?;
    let mut words = head.split_whitespace();
    let process = words.next()?.rsplit_once('-')?.1.parse().ok()?;
    let time = words.next_back()?.parse().ok()?;
    if call.trim_start().starts_with("->") {
        return Some((process, time, None));
    }
    let command = call.split_once("cmd: ")?.1.split([',', ')']).next()?;
    let command = u64::from_str_radix(command.trim_start_matches("0x"), 16).ok()?;
    // The letter of device-mapper's calls; others have another one.
    let number = ((command >> 8) & 0xff == 0xfd).then_some(command & 0xff);
    Some((process, time, Some(number.unwrap_or(u64::MAX))))
}

fn calls(text: &str) -> Result<Vec<Call>> {
    let mut open: Vec<(u32, f64, u64)> = Vec::new();
    let mut calls = Vec::new();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let Some((process, time, number)) = event(line) else {
            bail!("not understood in the trace: {line}");
        };
        if let Some(number) = number {
            open.push((process, time, number));
        } else if let Some(at) = open.iter().position(|entered| entered.0 == process) {
            let (process, entered, number) = open.swap_remove(at);
            calls.push(Call {
                process,
                number,
                entered,
                left: time,
            });
        }
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
# tracer: nop
#
         dmsetup-71      [000] .....    10.500000: sys_ioctl(fd: 3, cmd: c138fd08, arg: 55)
         dmsetup-72      [001] .....    10.600000: sys_ioctl(fd: 3, cmd: 0xc138fd0e, arg: 55)
         dmsetup-72      [001] .....    10.600250: sys_ioctl -> 0x0
         dmsetup-71      [000] .....    12.000000: sys_ioctl -> 0x0
         dmsetup-72      [001] .....    12.100000: sys_ioctl(fd: 1, cmd: 5413, arg: 7f)
";

    #[test]
    fn calls_have_their_beginning_and_their_end() {
        let calls = calls(TRACE).unwrap();
        let found: Vec<_> = calls
            .iter()
            .map(|call| (call.process, call.number))
            .collect();
        assert_eq!(found, [(72, MESSAGE), (71, WAIT)]);
        assert!((calls[0].took() - 0.000_25).abs() < 1e-9);
        assert!((calls[1].took() - 1.5).abs() < 1e-9);
    }
}
