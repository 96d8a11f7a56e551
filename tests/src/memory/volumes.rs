// SPDX-License-Identifier: GPL-2.0

//! The volumes that are restored while memory is short: one with the swap area, one with a file
//! system, one with a load of direct I/O.

use crate::disks::Blocks;
use crate::dm;
use crate::requests::parts;
use crate::rig::{Rig, Spec};
use crate::sh;
use crate::stress::history::{Effect, History};
use crate::stress::load::{self, Load};
use crate::wait;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Extents of 64 KiB, in sectors: each page that is swapped out is a part of one.
const EXTENT: u64 = 128;
const MIB: u64 = 1 << 11;
/// A copy that comes to no end by itself, KiB/s.
const HELD: u64 = 256;

/// A volume whose restore has begun, and whose copy is held back.
fn restoring(length: u64) -> Result<Rig> {
    let spec = Spec::new(Blocks::B512, EXTENT)
        .length(length)
        .features("format")
        .core("copy_rate", HELD)
        .core("copy_min_rate", 0);
    let mut rig = Rig::new(spec)?;
    rig.start_restore()?;
    Ok(rig)
}

/// Waits for the end of the restore. How long it takes does not matter, as long as it goes on.
fn finish(rig: &Rig) -> Result<()> {
    for message in ["copy_rate 0", "copy_min_rate 8192"] {
        rig.message(message)?;
    }
    let all = rig.status()?.extents;
    let what = format!("the restore of {} is over", rig.name);
    wait::while_it_grows(&what, all, || {
        let status = rig.status()?;
        Ok(if status.mode == "tracking" {
            all
        } else {
            all - status.cdm - 1
        })
    })
}

/// Nothing has failed, and where the maps say so, source and clone are the same.
fn close(mut rig: Rig) -> Result<u64> {
    let status = rig.status()?;
    ensure!(
        status.errors() == [0; 3] && status.metadata_mode == "rw",
        "{status:?}"
    );
    rig.shut_down()?;
    let compared = rig.check_maps_against_disks()?;
    rig.close()?;
    Ok(compared)
}

/// A swap area on a volume that is restored.
pub struct Swap {
    rig: Rig,
    reloads: u64,
}

impl Swap {
    /// Makes it and takes it into use.
    pub fn start() -> Result<Self> {
        let rig = restoring(384 * MIB)?;
        sh::ok("mkswap", &[&rig.path()])?;
        sh::ok("swapon", &[&rig.path()])?;
        Ok(Self { rig, reloads: 0 })
    }

    /// Pages swapped out and in, as the device has counted them.
    pub fn pages(&self) -> Result<(u64, u64)> {
        let moved = self.rig.mapped_moved()?;
        Ok((moved.written / 8, moved.read / 8))
    }

    /// Whether it is still being restored.
    pub fn is_restoring(&self) -> Result<bool> {
        Ok(self.rig.status()?.mode == "restoring")
    }

    /// Puts another table in the place of the old one. With one call to the kernel: no program could
    /// be loaded while the swap area is suspended.
    pub fn reload(&mut self) -> Result<()> {
        self.reloads += 1;
        let jobs = 1 + self.reloads % 4;
        let words = format!("0 6 copy_jobs {jobs} copy_rate {HELD} copy_min_rate 0");
        dm::ok(&["load", &self.rig.name, "--table", &self.rig.table(&words)])?;
        self.rig.resume()?;
        let found = self.rig.status()?.core["copy_jobs"];
        ensure!(found == jobs, "copy_jobs is {found}, must be {jobs}");
        Ok(())
    }

    /// Lets the restore come to its end.
    pub fn finish(&self) -> Result<()> {
        finish(&self.rig)
    }

    /// Reads all back, and checks the rest of the volume.
    pub fn close(self) -> Result<u64> {
        sh::ok("swapoff", &[&self.rig.path()])?;
        close(self.rig)
    }
}

/// A file system on a volume that is restored.
pub struct Files {
    rig: Rig,
}

impl Files {
    /// Where it is mounted.
    pub const FOLDER: &'static str = "/mnt/files";

    /// Makes it: after the restore has begun, or the restore would take it away.
    pub fn start() -> Result<Self> {
        let mut rig = restoring(96 * MIB)?;
        rig.let_go();
        sh::ok("mkfs.ext4", &["-q", "-F", &rig.path()])?;
        fs::create_dir_all(Self::FOLDER)?;
        sh::ok("mount", &[&rig.path(), Self::FOLDER])?;
        Ok(Self { rig })
    }

    /// Where files go.
    pub fn folder(&self) -> &Path {
        Path::new(Self::FOLDER)
    }

    /// Lets the restore come to its end.
    pub fn finish(&self) -> Result<()> {
        finish(&self.rig)
    }

    /// Checks the file system, and the rest of the volume.
    pub fn close(self) -> Result<u64> {
        sh::ok("umount", &[Self::FOLDER])?;
        sh::ok("fsck.ext4", &["-f", "-n", &self.rig.path()])?;
        close(self.rig)
    }
}

/// A load of direct I/O, each read checked, on a volume that is restored.
pub struct Direct {
    rig: Rig,
    history: Arc<History>,
    load: Load,
}

impl Direct {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let rig = restoring(16 * MIB)?;
        let (source, clone) = (&rig.source.part, &rig.clone.part);
        let history = Arc::new(History::new(source, clone, rig.spec.length));
        // The restore has begun already.
        let restored = history.begin(Effect::Clone, rig.all());
        history.end(restored);
        let load = Load::start(&rig, &history, 1)?;
        Ok(Self { rig, history, load })
    }

    /// Fails if a request has failed.
    pub fn check(&self) -> Result<()> {
        self.load.wait_for(1)
    }

    /// Lets the restore come to its end.
    pub fn finish(&self) -> Result<()> {
        finish(&self.rig)
    }

    /// Ends the load and reads everything. Returns how many requests there were.
    pub fn close(self) -> Result<u64> {
        let requests = self.load.stop()?;
        let host = self.rig.host()?;
        for part in parts(self.rig.all()) {
            load::read(&host, &self.history, part).context("after the load")?;
        }
        drop(host);
        close(self.rig)?;
        Ok(requests)
    }
}
