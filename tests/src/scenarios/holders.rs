// SPDX-License-Identifier: GPL-2.0

//! `start_restore` under somebody who holds the mapped device: refused, unless forced.

use super::{on, trial};
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::sh;
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("starts::a_mounted_device_is_refused", mounted),
        trial("starts::a_forced_start_goes_on", forced),
        trial("starts::swap_and_mappings_hold_it", others),
    ]
}

const BUSY: &str = "Device or resource busy";
const HELD: &str = "start_restore: the device is mounted or held";

/// Room for a file system: 32 MiB.
fn spec() -> Spec {
    Spec::new(Blocks::B512, 128)
        .length(32 << 11)
        .features("format no_copy")
}

/// The message must be refused, with the reason in the log, and change nothing.
fn refused(rig: &Rig) -> Result<()> {
    let before = rig.status()?;
    let mut log = Log::from_now()?;
    rig.suspend()?;
    let ran = rig.try_message("start_restore");
    rig.resume()?;
    let ran = ran?;
    ensure!(!ran.ok && ran.err.contains(BUSY), "{ran:?}");
    told(&mut log, HELD)?;
    let after = rig.status()?;
    ensure!(after == before, "refused, but {after:?} was {before:?}");
    Ok(())
}

fn told(log: &mut Log, what: &str) -> Result<()> {
    let lines = log.lines()?;
    let told = lines.iter().any(|line| line.contains(what));
    ensure!(told, "the log does not say '{what}': {lines:#?}");
    Ok(())
}

/// `umount` has said busy, and the next line was pasted all the same.
fn mounted() -> Result<()> {
    on(spec(), |rig| {
        let shell = |line: &str| sh::shell(&format!("D={} M=/mnt/held; {line}", rig.path()));
        shell("mkdir -p $M; mkfs.ext4 -q $D; mount $D $M; echo kept >$M/file; sync")?;
        let done = refused(rig);
        let kept = shell("echo more >>$M/file; sync; cat $M/file; umount $M; e2fsck -fn $D");
        done?;
        ensure!(kept?.starts_with("kept\nmore"), "the file was lost");
        Ok(())
    })?;
    // And right afterwards it goes.
    on(spec(), |rig| {
        rig.start_restore()?;
        rig.check(0..1024)
    })
}

/// The content changes under a file system that only reads, and the log says so.
fn forced() -> Result<()> {
    on(spec(), |rig| {
        let (path, number) = (rig.path(), rig.number().to_string());
        let shell = |line: &str| sh::shell(&format!("D={path} M=/mnt/forced; {line}"));
        shell("mkdir -p $M; mkfs.ext4 -q $D; mount -o ro $D $M")?;
        let begun = (|| {
            refused(rig)?;
            let mut log = Log::from_now()?;
            rig.suspend()?;
            let begun = rig.message("start_restore force");
            rig.resume()?;
            begun?;
            told(
                &mut log,
                &format!("{number}: start_restore: the content changes"),
            )
        })();
        shell("umount $M").context("umount")?;
        begun?;
        let status = rig.status()?;
        ensure!(status.mode == "restoring", "{status:?}");
        rig.tracker.begin_restore();
        rig.check(rig.all())
    })
}

fn others() -> Result<()> {
    on(spec(), |rig| {
        let (path, name) = (rig.path(), format!("{}-on-top", rig.name));
        let table = format!("0 1024 linear {path} 0");
        dm::ok(&["create", &name, "--table", &table])?;
        let done = refused(rig).context("a mapping");
        dm::ok(&["remove", "--retry", &name])?;
        done?;
        sh::ok("mkswap", &[&path])?;
        sh::ok("swapon", &[&path])?;
        let done = refused(rig).context("swap");
        sh::ok("swapoff", &[&path])?;
        done?;
        rig.start_restore()?;
        rig.check(rig.all())
    })
}
