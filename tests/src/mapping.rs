// SPDX-License-Identifier: GPL-2.0

//! A process that has mapped a part of a device into its memory: `xfs_io`, which does what it is told
//! line by line.

use super::io::Buffer;
use super::wait;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::io::{Read, Write};
use std::ops::Range;
use std::process::{Child, Command, Stdio};

const SECTOR: u64 = 512;

/// A mapping that can be read twice.
pub struct Mapping {
    process: Child,
    sectors: Range<u64>,
}

impl Mapping {
    /// Maps all of a device up to the end of `sectors`, which are to be read.
    pub fn read_only(path: &str, sectors: Range<u64>) -> Result<Self> {
        let process = Command::new("xfs_io")
            .args(["-r", path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("xfs_io")?;
        let mut mapping = Self { process, sectors };
        let length = mapping.sectors.end * SECTOR;
        mapping.say(&format!("mmap -r 0 {length}"))?;
        Ok(mapping)
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let input = self.process.stdin.as_mut().context("its input")?;
        writeln!(input, "{line}").context("xfs_io has ended")
    }

    /// Reads what is mapped there, and waits until that is in the process's memory.
    pub fn touch(&mut self) -> Result<()> {
        let (at, length) = self.place();
        self.say(&format!("mread {at} {length}"))?;
        let maps = format!("/proc/{}/smaps", self.process.id());
        wait::for_condition("the pages are mapped", || {
            let maps = fs::read_to_string(&maps).context("xfs_io has ended")?;
            Ok(resident(&maps, "/dev/") >= length / 1024)
        })
    }

    fn place(&self) -> (u64, u64) {
        let length = self.sectors.end - self.sectors.start;
        (self.sectors.start * SECTOR, length * SECTOR)
    }

    /// Reads the same again, and ends.
    pub fn read(mut self) -> Result<Buffer> {
        let (at, length) = self.place();
        self.say(&format!("mread -v {at} {length}"))?;
        self.say("quit")?;
        let mut said = String::new();
        let output = self.process.stdout.as_mut().context("its output")?;
        output.read_to_string(&mut said)?;
        self.process.wait()?;
        let bytes = dumped(&said);
        ensure!(bytes.len() as u64 == length, "xfs_io said: {said}");
        let mut buffer = Buffer::zeroed(length / SECTOR);
        buffer.copy_from_slice(&bytes);
        Ok(buffer)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// KiB in memory of the mappings whose name contains `of`.
fn resident(smaps: &str, of: &str) -> u64 {
    let (mut sum, mut counts) = (0, false);
    for line in smaps.lines() {
        match line.strip_prefix("Rss:") {
            Some(rest) if counts => {
                let figure = rest.split_whitespace().next();
                sum += figure.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
            }
            Some(_) => {}
            None if is_header(line) => counts = line.contains(of),
            None => {}
        }
    }
    sum
}

/// The first line of a mapping begins with its addresses.
fn is_header(line: &str) -> bool {
    let first = line.split(' ').next().unwrap_or_default();
    first.split_once('-').is_some_and(|(from, to)| {
        [from, to]
            .iter()
            .all(|address| u64::from_str_radix(address, 16).is_ok())
    })
}

/// The bytes of a dump of lines `offset:  xx xx ... text`.
fn dumped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.lines() {
        let Some((offset, rest)) = line.split_once(':') else {
            continue;
        };
        if u64::from_str_radix(offset, 16).is_err() {
            continue;
        }
        let words = rest.split_whitespace().take(16);
        bytes.extend(words.map_while(|word| u8::from_str_radix(word, 16).ok()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_read() {
        let text = "00000200:  01 02 ff 00 00 00 00 00 00 00 00 00 00 00 00 0a  ................\n\
                    read 4096/4096 bytes at offset 0\n";
        let bytes = dumped(text);
        assert_eq!((bytes.len(), bytes[2], bytes[15]), (16, 0xff, 10));
    }

    #[test]
    fn resident_pages_are_counted() {
        let text = "7f0000000000-7f0000001000 r--s 00000000 00:05 99 /dev/dm-3\n\
                    Size:  4 kB\nRss:  8 kB\n\
                    7f0000002000-7f0000003000 r--p 00000000 00:00 0\nRss: 16 kB\n";
        assert_eq!(resident(text, "/dev/"), 8);
    }
}
