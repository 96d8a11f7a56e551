// SPDX-License-Identifier: GPL-2.0

//! The QEMU process.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use rustix::process::{kill_process, Pid, Signal};

/// What comes from the guest's output port.
pub enum Line {
    /// One line, without its end.
    Text(String),
    /// There will be no more.
    End,
}

/// A QEMU that runs, and the threads that follow it.
pub struct Process {
    pid: Pid,
    /// The guest's output.
    pub lines: Receiver<Line>,
    ended: Receiver<()>,
    over: bool,
}

impl Process {
    /// Start QEMU in a thread that waits for its end; its own complaints go to `log`.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn spawn(mut qemu: Command, log: &Path) -> Result<(Self, Option<ChildStdin>)> {
        qemu.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?);
        let (started, start) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        thread::spawn(move || {
            let mut child = match qemu.spawn() {
                Ok(child) => child,
                Err(error) => return drop(started.send(Err(error))),
            };
            let pipes = (child.id(), child.stdin.take(), child.stdout.take());
            let _ = started.send(Ok(pipes));
            let _ = child.wait();
            let _ = end.send(());
        });
        let (pid, input, output) = start.recv()?.context("cannot start QEMU")?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let (sender, lines) = mpsc::channel();
        if let Some(output) = output {
            thread::spawn(move || read(output, &sender));
        }
        let process = Self {
            pid: pid.context("QEMU has no process number")?,
            lines,
            ended,
            over: false,
        };
        Ok((process, input))
    }

    /// Send SIGKILL, unless the end is known, and wait for the end.
    ///
    /// # Errors
    ///
    /// The signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        if !self.over && self.ended.try_recv().is_err() {
            match kill_process(self.pid, Signal::KILL) {
                // Its end was noticed between the two lines above.
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
            let _ = self.ended.recv_timeout(Duration::from_secs(60));
        }
        self.over = true;
        Ok(())
    }

    /// Wait for the end, but not longer than to the deadline: then kill.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn wait(&mut self, deadline: Instant) -> Result<()> {
        if self.over {
            return Ok(());
        }
        let grace = Duration::from_secs(10);
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(grace);
        if self.ended.recv_timeout(left).is_err() {
            self.kill()?;
            bail!("QEMU did not end after the guest's output had");
        }
        self.over = true;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn read(output: ChildStdout, to: &Sender<Line>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']).to_owned();
        if to.send(Line::Text(text)).is_err() {
            break;
        }
        line.clear();
    }
    let _ = to.send(Line::End);
}
