// SPDX-License-Identifier: GPL-2.0

//! Disks of memory that answer after a while, for rows where latency counts.

use crate::io::Device;
use crate::sh;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xtask::bench::line::Line;

const ROOT: &str = "/sys/kernel/config";
/// The kernel's tick.
const TICK: Duration = Duration::from_millis(4);

/// One disk. Its data is in memory and sparse. Dropping it frees the memory.
pub struct Disk {
    folder: PathBuf,
    path: String,
}

impl Disk {
    /// Makes one. `nanoseconds` is how long each request takes; 0: it is not held up.
    pub fn new(name: &str, sectors: u64, nanoseconds: u64) -> Result<Self> {
        prepare()?;
        let folder = Path::new(ROOT).join("nullb").join(name);
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let disk = Self {
            folder,
            path: format!("/dev/{name}"),
        };
        let (mode, latency) = if nanoseconds == 0 {
            ("0", String::new())
        } else {
            ("2", nanoseconds.to_string())
        };
        let mib = sectors.div_ceil(super::MIB).to_string();
        disk.set("size", &mib)?;
        disk.set("blocksize", "512")?;
        disk.set("memory_backed", "1")?;
        disk.set("irqmode", mode)?;
        if !latency.is_empty() {
            disk.set("completion_nsec", &latency)?;
        }
        disk.set("power", "1")?;
        disk.check(nanoseconds).context(disk.path())?;
        Ok(disk)
    }

    /// Refuses a disk whose requests take much longer than they should: without timers of high
    /// resolution each would wait for the kernel's tick.
    fn check(&self, nanoseconds: u64) -> Result<()> {
        const TRIES: usize = 21;
        let device = Device::open(&self.path)?;
        let mut took = Vec::with_capacity(TRIES);
        for _ in 0..TRIES {
            let clock = Instant::now();
            device.read(0..8)?;
            took.push(clock.elapsed());
        }
        took.sort_unstable();
        let median = took.get(TRIES / 2).copied().unwrap_or_default();
        let wanted = Duration::from_nanos(nanoseconds);
        Line::Note(format!(
            "{}: {wanted:?} wanted, {median:?} taken",
            self.path
        ))
        .say()?;
        ensure!(
            median >= wanted && median < wanted + TICK / 2,
            "a request takes {median:?} instead of {wanted:?}"
        );
        Ok(())
    }

    /// Its path.
    pub fn path(&self) -> String {
        self.path.clone()
    }

    fn set(&self, attribute: &str, value: &str) -> Result<()> {
        let file = self.folder.join(attribute);
        fs::write(&file, value).with_context(|| format!("{} = {value}", file.display()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.set("power", "0");
        if let Err(error) = fs::remove_dir(&self.folder) {
            eprintln!("{}: {error}", self.folder.display());
        }
    }
}

fn prepare() -> Result<()> {
    sh::ok("modprobe", &["-a", "configfs"])?;
    if !Path::new(ROOT).join("nullb").exists() {
        sh::ok("modprobe", &["null_blk", "nr_devices=0"])?;
    }
    if !Path::new(ROOT).join("nullb").exists() {
        sh::ok("mount", &["-t", "configfs", "configfs", ROOT])?;
    }
    Ok(())
}
