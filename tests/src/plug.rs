// SPDX-License-Identifier: GPL-2.0

//! Disks that can be pulled out and plugged in again: of null_blk, in memory. What a disk holds
//! outlives being pulled out.

use super::sh;
use anyhow::{Context, Result};
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const CONFIG: &str = "/sys/kernel/config";

/// A disk that can be pulled out. It is plugged in at first, and gone when dropped.
pub struct Plug {
    folder: PathBuf,
}

impl Plug {
    /// A blank disk of at least so many sectors.
    pub fn new(name: &str, sectors: u64) -> Result<Self> {
        let all = Path::new(CONFIG).join("nullb");
        if !all.exists() {
            // Somebody else may do the same now: what counts is that it is there.
            let _ = sh::run("mount", &["-t", "configfs", "none", CONFIG]);
            sh::ok("modprobe", &["null_blk", "nr_devices=0"])?;
        }
        let folder = all.join(name);
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let plug = Self { folder };
        let mib = sectors.div_ceil(2048).to_string();
        for (key, value) in [
            ("size", &*mib),
            ("blocksize", "512"),
            ("memory_backed", "1"),
            ("badblocks_once", "1"),
        ] {
            plug.set(key, value)?;
        }
        plug.plug_in()?;
        Ok(plug)
    }

    /// The next request that meets these sectors fails, and then they are good again.
    pub fn fail_once(&self, bad: Range<u64>) -> Result<()> {
        self.set("badblocks", &format!("+{}-{}", bad.start, bad.end - 1))
    }

    /// Sets an attribute of null_blk.
    fn set(&self, key: &str, value: &str) -> Result<()> {
        let path = self.folder.join(key);
        fs::write(&path, value).with_context(|| format!("{value} to {}", path.display()))
    }

    /// Plugs it in.
    pub fn plug_in(&self) -> Result<()> {
        self.set("power", "1")
    }

    /// Pulls it out: every request fails, for those who have it open too.
    pub fn pull_out(&self) -> Result<()> {
        self.set("power", "0")
    }

    /// Its number now: one that is plugged in gets the lowest that is free, be it one that another
    /// disk had.
    pub fn number(&self) -> Result<u64> {
        let path = self.path();
        Ok(fs::metadata(&path).context(path)?.rdev())
    }

    /// Its node: null_blk names its disks after the folder.
    pub fn path(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        format!("/dev/{}", name.to_string_lossy())
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        // After a failure somebody may have it open; then it stays.
        let _ = self.pull_out();
        let _ = fs::remove_dir(&self.folder);
    }
}
