// SPDX-License-Identifier: GPL-2.0

//! A virtual machine that runs one command and ends.
//!
//! ```no_run
//! # fn demo(guest: &xtask::guest::Guest) -> anyhow::Result<()> {
//! use xtask::vm::{Config, Disk, Vm};
//!
//! let mut config = Config::new("example", guest.clone());
//! config.command = "cat /payload/note; sha256sum /dev/disk/by-id/virtio-source".into();
//! config.payload.push(("note".into(), "/path/of/the/host/note".into()));
//! config.disks.push(Disk::new("source", "/path/of/the/host/source.img"));
//! let outcome = Vm::start(config)?.run(|line| println!("{line}"))?;
//! outcome.check()?;
//! # Ok(())
//! # }
//! ```
//!
//! The command is a shell script in the guest; what it writes comes out line by line, its input
//! is what [`Vm::send`] sends, and the kernel's messages go to `console.log` in the machine's
//! directory, where also `output.log` is. The guest ends when the command does, with its exit
//! code; [`Vm::kill`] ends it at once, like a power cut whose disks have kept all they were
//! given.
//!
//! Threads: one reads QEMU's output into a channel, one waits for QEMU's end. `setpriv` makes
//! QEMU die with the thread that started it, which is the latter.

mod accel;
mod config;
mod klog;
mod payload;
mod process;

pub use accel::{accel, Accel};
pub use config::{create_disk, Config, Disk};
pub use klog::{findings, Finding};

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use process::{Line, Process};

/// How often a machine is started that does not boot.
const BOOTS: u32 = 3;

/// Booting the stock kernel takes seconds.
const BOOT_TIME: Duration = Duration::from_secs(90);

/// How a machine came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The command ended, with this exit code.
    Exit(i32),
    /// [`Vm::kill`] was called.
    Killed,
    /// The guest stopped before its command did: a panic, most likely.
    Died,
    /// The time was up.
    TimedOut,
}

/// What is known after the end of a machine.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// What the kernel complained about.
    pub findings: Vec<Finding>,
    /// The kernel's messages.
    pub console: PathBuf,
}

impl Outcome {
    /// Whether the command succeeded and the kernel did not complain.
    ///
    /// # Errors
    ///
    /// One of the two is not so; the error says which, and where to look.
    pub fn check(&self) -> Result<()> {
        match self.end {
            End::Exit(0) => {}
            End::Exit(code) => bail!("the guest's command failed with exit code {code}"),
            End::Killed => bail!("the virtual machine was killed"),
            End::Died => bail!(
                "the guest died:\n{}\n({})",
                crate::run::tail(&self.console, 25),
                self.console.display()
            ),
            End::TimedOut => bail!(
                "the guest did not end in time; its kernel's messages: {}",
                self.console.display()
            ),
        }
        self.check_kernel()
    }

    /// Whether the kernel did not complain.
    ///
    /// # Errors
    ///
    /// It did; the error has the first complaint.
    pub fn check_kernel(&self) -> Result<()> {
        if let Some(first) = self.findings.first() {
            bail!(
                "the guest's kernel complains ({} lines like this): {} ({}:{})",
                self.findings.len(),
                first.text,
                self.console.display(),
                first.line
            );
        }
        Ok(())
    }
}

/// A running virtual machine. Dropping it kills it.
pub struct Vm {
    process: Process,
    input: Option<ChildStdin>,
    dir: PathBuf,
    deadline: Instant,
    killed: bool,
    timed_out: bool,
    log: fs::File,
}

impl Vm {
    /// Make the payload's image and start the machine; returns when its command is about to run.
    ///
    /// A machine that does not come that far is tried again: on a busy host an emulated one now
    /// and then hangs in its firmware or in early boot, long before it meets anything of ours.
    ///
    /// # Errors
    ///
    /// A file is missing, QEMU cannot be started, or the machine never boots.
    pub fn start(config: Config) -> Result<Self> {
        let dir = config.dir.clone();
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        payload::make(&config)?;
        for _ in 1..BOOTS {
            let mut vm = Self::spawn(&config)?;
            if vm.is_up(config.slowness())? {
                return Ok(vm);
            }
            drop(vm);
            let kept = dir.join("console.no-boot.log");
            fs::rename(dir.join("console.log"), &kept)?;
            println!("the guest did not boot: once more ({})", kept.display());
        }
        let mut vm = Self::spawn(&config)?;
        if !vm.is_up(config.slowness())? {
            bail!("the guest does not boot: see {}", dir.display());
        }
        Ok(vm)
    }

    fn spawn(config: &Config) -> Result<Self> {
        let dir = config.dir.clone();
        for old in ["exit", "console.log", "qemu.log"] {
            let _ = fs::remove_file(dir.join(old));
        }
        let (process, input) = Process::spawn(config.qemu(accel())?, &dir.join("qemu.log"))?;
        Ok(Self {
            process,
            input,
            deadline: Instant::now() + config.timeout * config.slowness(),
            killed: false,
            timed_out: false,
            log: fs::File::create(dir.join("output.log"))?,
            dir,
        })
    }

    /// Whether the machine comes to its command.
    fn is_up(&mut self, slowness: u32) -> Result<bool> {
        let line = self.line_within(BOOT_TIME * slowness)?;
        Ok(matches!(line, Ok(Some(line)) if line == payload::UP))
    }

    /// The next line that the guest's command writes; `None` after its last one.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub fn next_line(&mut self) -> Result<Option<String>> {
        while !self.timed_out {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.line_within(left)? {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) => self.give_up()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// As [`next_line`](Self::next_line), but with `Ok(Err(Timeout))` after `patience`.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub fn line_within(
        &mut self,
        patience: Duration,
    ) -> Result<Result<Option<String>, RecvTimeoutError>> {
        match self.process.lines.recv_timeout(patience) {
            Ok(Line::Text(line)) => {
                writeln!(self.log, "{line}")?;
                Ok(Ok(Some(line)))
            }
            Ok(Line::End) => Ok(Ok(None)),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Give the guest's command a line of input.
    ///
    /// # Errors
    ///
    /// The machine has ended.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("the machine has no input")?;
        writeln!(input, "{line}")?;
        input.flush()?;
        Ok(())
    }

    /// Kill QEMU (SIGKILL), now.
    ///
    /// Everything that the guest's disks have answered as written is in the host's page cache
    /// and stays; what the guest's kernel still held is lost.
    ///
    /// # Errors
    ///
    /// The signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        self.killed = true;
        self.process.kill()
    }

    fn give_up(&mut self) -> Result<()> {
        self.timed_out = true;
        self.process.kill()
    }

    /// Wait for the end; output that was not read is only in the log.
    ///
    /// # Errors
    ///
    /// The logs cannot be read or written.
    pub fn wait(mut self) -> Result<Outcome> {
        while self.next_line()?.is_some() {}
        self.process.wait(self.deadline)?;
        let console = self.dir.join("console.log");
        Ok(Outcome {
            end: self.end(),
            findings: findings(&console)?,
            console,
        })
    }

    fn end(&self) -> End {
        if self.killed {
            return End::Killed;
        }
        if self.timed_out {
            return End::TimedOut;
        }
        exit_code(&self.dir.join("exit")).map_or(End::Died, End::Exit)
    }

    /// Give each line to `on_line` until the end.
    ///
    /// # Errors
    ///
    /// The logs cannot be read or written.
    pub fn run(mut self, mut on_line: impl FnMut(&str)) -> Result<Outcome> {
        while let Some(line) = self.next_line()? {
            on_line(&line);
        }
        self.wait()
    }
}

fn exit_code(file: &Path) -> Option<i32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Run a machine on this process's own terminal.
///
/// # Errors
///
/// QEMU cannot be started or fails.
pub fn interactive(config: &Config, stdio: fn() -> std::process::Stdio) -> Result<()> {
    fs::create_dir_all(&config.dir)?;
    payload::make(config)?;
    let mut qemu = config.qemu(accel())?;
    let status = qemu.stdin(stdio()).stdout(stdio()).status()?;
    if !status.success() {
        bail!("QEMU: {status}");
    }
    Ok(())
}
