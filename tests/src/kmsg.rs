// SPDX-License-Identifier: GPL-2.0

//! The kernel log.

use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

/// A place in the kernel log, from which it is read on.
pub struct Log {
    file: File,
}

impl Log {
    /// The oldest message there is.
    pub fn from_start() -> Result<Self> {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open("/dev/kmsg")?;
        Ok(Self { file })
    }

    /// Behind the newest message.
    pub fn from_now() -> Result<Self> {
        let mut log = Self::from_start()?;
        log.file.seek(SeekFrom::End(0)).context("/dev/kmsg")?;
        Ok(log)
    }

    /// The messages since the last call.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(len) => lines.extend(text(&record[..len])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(lines),
                // Messages were overwritten before they were read: the next read goes on behind.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(error) => return Err(error).context("/dev/kmsg"),
            }
        }
    }
}

/// The message of a record: behind the `;`, up to the first line's end.
fn text(record: &[u8]) -> Option<String> {
    let record = String::from_utf8_lossy(record);
    let (_, text) = record.split_once(';')?;
    text.lines().next().map(str::to_string)
}

/// What the target says in a line about the mapped device with this number.
pub fn of_target<'a>(line: &'a str, number: &str) -> Option<&'a str> {
    line.strip_prefix(&format!("device-mapper: restore: {number}: "))
}

/// Why the target has refused a table line of the mapped device with this number, as device-mapper
/// says it.
pub fn of_table<'a>(line: &'a str, number: &str) -> Option<&'a str> {
    line.strip_prefix(&format!("device-mapper: table: {number}: restore: "))
}

/// What a kernel in good health never says.
const TROUBLE: [&str; 18] = [
    "WARNING:",
    "BUG:",
    "kernel BUG",
    "Oops",
    "blocked for more than",
    "soft lockup",
    "self-detected stall",
    "detected stalls",
    "general protection fault",
    "Kernel panic",
    "rust_kernel: panicked",
    "Trying to write to read-only block-device",
    "refcount_t",
    "bad page state",
    "EXT4-fs error",
    "Corruption detected",
    "BTRFS error",
    "BTRFS critical",
];

/// What ext4 says when it is used after its journal has failed: a scenario makes that happen, and ext4
/// says something else first where it was not asked for.
const ABORTED: &str = "Detected aborted journal";

/// The lines that must not be there.
pub fn trouble(lines: &[String]) -> Vec<String> {
    let is_bad =
        |line: &&String| TROUBLE.iter().any(|word| line.contains(word)) && !line.contains(ABORTED);
    lines.iter().filter(is_bad).cloned().collect()
}
