// SPDX-License-Identifier: GPL-2.0

//! The device under failures, and the commands that it is given meanwhile.

use super::attribute::{Injection, Kind};
use super::host::Host;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::dm;
use dm_restore_tests::random::Random;
use dm_restore_tests::rig::Rig;
use dm_restore_tests::wait;

/// So often a command is tried while failures go on.
const TRIES: u64 = 4;
/// How many in a hundred fail, in turn.
const PERCENT: [u64; 5] = [2, 10, 1, 30, 5];
/// How fast the background copies, KiB/s: a restore is to last for some steps.
pub const RATE: u64 = 512;

/// A mapped device of which something fails.
pub struct Volume {
    /// What fails.
    pub kind: Kind,
    /// The failures.
    pub injection: Injection,
    /// The device.
    pub rig: Rig,
    /// Restores that were begun.
    pub restores: u64,
    /// Tables that were taken into use.
    pub reloads: u64,
    percent: u64,
}

impl Volume {
    /// Nothing fails yet.
    pub fn new(kind: Kind, rig: Rig) -> Result<Self> {
        Ok(Self {
            kind,
            injection: Injection::new(kind)?,
            rig,
            restores: 0,
            reloads: 0,
            percent: 0,
        })
    }

    /// Requests and allocations begin to fail, or fail no more.
    pub fn fail(&mut self, may: bool) -> Result<()> {
        if self.kind == Kind::Requests {
            for slice in [&self.rig.source, &self.rig.clone, &self.rig.metadata] {
                slice.fail_requests(may)?;
            }
        }
        self.set(if may { PERCENT[0] } else { 0 })
    }

    fn set(&mut self, percent: u64) -> Result<()> {
        self.percent = percent;
        self.injection.percent(percent)
    }

    /// Another share fails, and something is done to the device that a user may do.
    pub fn step(&mut self, host: &Host, random: &mut Random) -> Result<()> {
        self.set(PERCENT[random.below(PERCENT.len() as u64) as usize])?;
        let status = self.rig.status()?;
        if status.metadata_mode != "rw" {
            return self.reload(host);
        }
        if status.mode == "tracking" {
            return self.begin(host);
        }
        match random.below(6) {
            0 => self.persist("pause", |rig| rig.message("pause_copy")),
            1 | 2 => self.persist("resume the copy", |rig| rig.message("resume_copy")),
            3 => self.reload(host),
            4 => {
                self.persist("suspend", Rig::suspend)?;
                self.persist("resume", Rig::resume)
            }
            _ => self.persist("rate", |rig| rig.message(&format!("copy_rate {RATE}"))),
        }
    }

    /// Tries a command, at last without failures.
    fn persist(&mut self, what: &str, command: impl Fn(&Rig) -> Result<()>) -> Result<()> {
        for _ in 0..TRIES {
            if command(&self.rig).is_ok() {
                return Ok(());
            }
        }
        self.injection.percent(0)?;
        command(&self.rig).with_context(|| format!("{what}, with no failure any more"))?;
        self.injection.percent(self.percent)
    }

    /// Takes a new table into use: what the metadata say counts.
    pub fn reload(&mut self, host: &Host) -> Result<()> {
        host.reload(|| {
            self.replace_table()?;
            self.persist("resume the copy", |rig| rig.message("resume_copy"))
        })
    }

    fn replace_table(&mut self) -> Result<()> {
        self.reloads += 1;
        self.persist("load", |rig| {
            dm::ok(&["load", &rig.name, "--table", &rig.table(&words())]).map(drop)
        })?;
        self.persist("suspend", Rig::suspend)?;
        self.persist("resume", Rig::resume)
    }

    /// Begins a restore, or does not, if that fails.
    pub fn begin(&mut self, host: &Host) -> Result<()> {
        host.change_mode(|| {
            // A restore that ended at once would look like none.
            self.persist("pause", |rig| rig.message("pause_copy"))?;
            self.persist("suspend", Rig::suspend)?;
            let asked = self.rig.try_message("start_restore")?;
            self.persist("resume", Rig::resume)?;
            // When the record of the mode has failed, it may have landed.
            if self.rig.status()?.metadata_mode != "rw" {
                self.replace_table()?;
            }
            let begun = asked.ok || self.rig.status()?.mode == "restoring";
            self.restores += u64::from(begun);
            self.persist("resume the copy", |rig| rig.message("resume_copy"))?;
            Ok(begun)
        })
    }

    /// Nothing fails any more: the restore comes to its end, and all is as it must be.
    pub fn finish(&mut self, host: &Host) -> Result<()> {
        self.fail(false)?;
        if self.rig.status()?.metadata_mode != "rw" {
            self.reload(host)?;
        }
        self.rig.message("copy_rate 0")?;
        self.rig.message("resume_copy")?;
        host.settle(self.rig.device()?)?;
        wait::for_condition("the restore is over", || {
            Ok(self.rig.status()?.mode == "tracking")
        })?;
        host.check_all(self.rig.device()?)?;
        let status = self.rig.status()?;
        ensure!(status.metadata_mode == "rw", "{status:?}");
        let errors = status.clone_errors + status.source_errors + status.metadata_errors;
        ensure!(
            errors == 0 || self.kind == Kind::Requests,
            "requests failed: {status:?}"
        );
        self.rig.shut_down()?;
        self.rig.check_maps_against_disks()?;
        self.rig.create_with(&words())?;
        host.check_all(self.rig.device()?)
    }
}

/// The optional words of each table but the first.
fn words() -> String {
    format!("1 no_copy 2 copy_rate {RATE}")
}
