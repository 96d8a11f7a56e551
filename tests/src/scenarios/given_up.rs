// SPDX-License-Identifier: GPL-2.0

//! A file system on a volume whose metadata device is gone for longer than it is tried: what the manual
//! says to do then works, and nothing that was flushed is lost.

use super::filesystems::{Volume, CHECK_OLD, FILL};
use super::trial;
use anyhow::{ensure, Result};
use dm_restore_tests::{dm, sh, wait};
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![trial("given_up::under_ext4", under_ext4)]
}

/// An aborted journal cannot be frozen. The table that a resume could not take stays where it was, and
/// is taken by the next one.
fn under_ext4() -> Result<()> {
    sh::ok("modprobe", &["ext4"])?;
    let volume = Volume::new(96)?;
    volume.shell("mkfs.ext4 -q $D")?;
    volume.make_clone()?;
    let (rig, name) = (&volume.rig, volume.rig.name.as_str());
    rig.message("metadata_patience 1")?;
    volume.shell(&format!("mount $D $M; {FILL}; sync"))?;
    rig.metadata.break_down()?;
    let lost = volume.shell("head -c 8M /dev/urandom >$M/lost; sync -d $M/lost");
    ensure!(lost.is_err(), "durable without its marks");
    wait::for_condition("ext4 has aborted its journal", || {
        Ok(volume.shell("sync -f $M || true; touch $M/more").is_err())
    })?;
    rig.expect("tracking idle ro")?;
    rig.metadata.heal()?;
    let table = dm::ok(&["table", name])?;
    dm::ok(&["load", name, "--table", &table])?;
    for frozen in ["suspend", "resume"] {
        let ran = dm::run(&[frozen, name])?;
        ensure!(!ran.ok, "{frozen} with an aborted journal: {ran:?}");
        rig.expect("tracking idle ro")?;
    }
    dm::ok(&["suspend", "--nolockfs", name])?;
    dm::ok(&["resume", name])?;
    rig.expect("tracking idle rw")?;
    volume.shell(&format!("umount $M; mount $D $M; {CHECK_OLD}; umount $M"))?;
    volume.shell("e2fsck -fy $D || test $? = 1; e2fsck -fn $D")?;
    volume.close()
}
