// SPDX-License-Identifier: GPL-2.0

//! Running commands.

use super::wait;
use anyhow::{bail, Context, Result};
use std::fs;
use std::io::Read as _;
use std::process::{Child, Command, Output, Stdio};

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code was 0.
    pub ok: bool,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a command and returns how it went. Device-mapper nodes are made without udev.
pub fn run(program: &str, args: &[&str]) -> Result<Ran> {
    let output = Command::new(program)
        .args(args)
        .env("DM_DISABLE_UDEV", "1")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} cannot be run"))?;
    Ok(ran(output))
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_string();
    Ran {
        ok: output.status.success(),
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A command that runs; killed when dropped.
pub struct Started {
    child: Child,
}

/// Starts a command, as [`run`] does.
pub fn start(program: &str, args: &[&str]) -> Result<Started> {
    let child = Command::new(program)
        .args(args)
        .env("DM_DISABLE_UDEV", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} cannot be run"))?;
    Ok(Started { child })
}

impl Started {
    /// Waits until it sleeps in the kernel: in this state, `D` (uninterruptible) or `S`, and in a
    /// function whose name has this word in it.
    pub fn wait_asleep(&mut self, state: char, word: &str) -> Result<()> {
        let id = self.child.id();
        let read = |name| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
        wait::for_condition(&format!("a command sleeps in '{word}'"), || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it has ended: {status}");
            }
            let stat = read("stat");
            let now = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            Ok(now == Some(state) && read("stack").contains(word))
        })
    }

    /// Sends it a signal that ends it.
    pub fn terminate(&self) -> Result<()> {
        ok("kill", &["-TERM", &self.child.id().to_string()]).map(drop)
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Result<Ran> {
        wait::for_condition("a command ends", || Ok(self.child.try_wait()?.is_some()))?;
        let mut ran = Ran {
            ok: false,
            code: None,
            out: String::new(),
            err: String::new(),
        };
        let status = self.child.wait()?;
        (ran.ok, ran.code) = (status.success(), status.code());
        if let Some(out) = &mut self.child.stdout {
            out.read_to_string(&mut ran.out)?;
        }
        if let Some(err) = &mut self.child.stderr {
            err.read_to_string(&mut ran.err)?;
        }
        Ok(ran)
    }
}

impl Drop for Started {
    /// One that waits in the kernel is left to itself.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.try_wait();
    }
}

/// Runs a command that must succeed and returns its standard output.
pub fn ok(program: &str, args: &[&str]) -> Result<String> {
    let ran = run(program, args)?;
    if !ran.ok {
        bail!(
            "{program} {} failed: {} {}",
            args.join(" "),
            ran.err,
            ran.out
        );
    }
    Ok(ran.out)
}

/// Runs a line of shell that must succeed and returns its standard output.
pub fn shell(line: &str) -> Result<String> {
    ok("bash", &words(line))
}

/// What `bash` is given for a line of shell.
pub fn words(line: &str) -> [&str; 4] {
    ["-euo", "pipefail", "-c", line]
}
