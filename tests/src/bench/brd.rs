// SPDX-License-Identifier: GPL-2.0

//! Disks of memory, for rows where the cost per I/O counts.

use super::fill;
use crate::sh;
use anyhow::Result;

/// Some disks of the same size. Dropping them frees their memory.
pub struct Disks {
    count: u32,
}

impl Disks {
    /// Makes so many of so many sectors, nothing written yet.
    pub fn new(count: u32, sectors: u64) -> Result<Self> {
        let number = format!("rd_nr={count}");
        let size = format!("rd_size={}", sectors / 2);
        sh::ok("modprobe", &["brd", &number, &size, "max_part=0"])?;
        Ok(Self { count })
    }

    /// The path of one of them, counted from 0.
    pub fn path(&self, number: u32) -> String {
        format!("/dev/ram{number}")
    }

    /// Writes all of the first so many of them: what was never written is served faster.
    pub fn fill(&self, first: u32) -> Result<()> {
        (0..first.min(self.count)).try_for_each(|number| fill::whole(&self.path(number)))
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        // A row that failed may have left a device over it; `contest` takes those away first.
        if let Err(error) = sh::ok("modprobe", &["-r", "brd"]) {
            eprintln!("{error:#}");
        }
    }
}
