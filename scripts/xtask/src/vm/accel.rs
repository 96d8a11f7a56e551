// SPDX-License-Identifier: GPL-2.0

//! KVM where it really works, emulation otherwise.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The processor.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accel {
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    pub(super) fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }

    /// An emulated processor may stand still while the host is busy: no complaint about that
    /// before it is certain that something is wrong, and no panic when the timer interrupts that
    /// early boot waits for are late. With two processors QEMU's translator now and then fails to
    /// wake one up: a periodic tick does, and there is no switch to high resolution to hang in.
    pub(super) fn cmdline(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &[],
            Self::Tcg => &[
                "no_timer_check",
                "nohz=off",
                "highres=off",
                "rcupdate.rcu_cpu_stall_timeout=120",
                "watchdog_thresh=60",
            ],
        }
    }
}

/// What this machine can do; found out, and printed, once.
///
/// The processor must have vmx or svm, *and* a trial must work: `/dev/kvm` alone is no proof.
pub fn accel() -> Accel {
    static FOUND: OnceLock<Accel> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if !virtualizes(&cpuinfo) {
            println!("virtual machine: TCG (the processor shows neither vmx nor svm)");
            return Accel::Tcg;
        }
        match trial() {
            Ok(true) => {
                println!("virtual machine: KVM");
                Accel::Kvm
            }
            Ok(false) | Err(_) => {
                println!("virtual machine: TCG (KVM is there but a trial failed)");
                Accel::Tcg
            }
        }
    })
}

fn virtualizes(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    flags
        .flat_map(str::split_whitespace)
        .any(|flag| flag == "vmx" || flag == "svm")
}

/// Let the firmware run for a moment under KVM and ask whether it still does.
fn trial() -> Result<bool> {
    let mut qemu = Command::new("timeout")
        .args(["--signal=KILL", "10", "qemu-system-x86_64"])
        .args(["-machine", "q35", "-accel", "kvm", "-cpu", "host"])
        .args(["-nodefaults", "-display", "none", "-monitor", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = qemu.stdin.take().context("no input")?;
    thread::sleep(Duration::from_millis(500));
    let asked = input.write_all(b"info status\nquit\n");
    drop(input);
    let mut answer = String::new();
    let mut output = qemu.stdout.take().context("no output")?;
    output.read_to_string(&mut answer)?;
    let status = qemu.wait()?;
    asked?;
    Ok(status.success() && answer.contains("VM status: running"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_whole_words_of_the_flags_line() {
        assert!(virtualizes("model name : x\nflags\t\t: fpu svm sse\n"));
        assert!(virtualizes("flags : fpu vmx"));
        assert!(!virtualizes("flags : fpu vmx_not\nbugs : svm\n"));
    }
}
