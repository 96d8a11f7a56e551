// SPDX-License-Identifier: GPL-2.0

//! Logical blocks of different sizes: those of the mapped device never grow under who uses it.

use super::trial;
use anyhow::{ensure, Result};
use dm_restore_tests::disks::{self, Blocks};
use dm_restore_tests::kmsg::{self, Log};
use dm_restore_tests::refusal::Reasons;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::{dm, sh};
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("block_sizes::under_a_file_system", under_a_file_system),
        trial("block_sizes::fixed_at_format", fixed_at_format),
    ]
}

const LENGTH: u64 = 8 << 11;
const REASON: &str = "Logical blocks of a mapped device in use cannot grow";

fn spec() -> Spec {
    Spec::new(Blocks::B512, 128)
        .length(LENGTH)
        .features("format")
}

/// Slices of a source and a clone with such blocks.
fn mixed(source: Blocks, clone: Blocks) -> Result<Rig> {
    let (source, _) = disks::take_data(source, LENGTH, false)?;
    let (_, clone) = disks::take_data(clone, LENGTH, false)?;
    Rig::over(spec(), source, clone)
}

/// A file system with blocks of 1 KiB on a linear device; the restore target comes between the two
/// only if it does not ask for larger ones.
fn under_a_file_system() -> Result<()> {
    let rig = mixed(Blocks::B512, Blocks::B4096)?;
    let (name, source) = (format!("{}-fs", rig.name), rig.source.path());
    let mount = format!("/tmp/{name}");
    dm::ok(&[
        "create",
        &name,
        "--table",
        &format!("0 {LENGTH} linear {source} 0"),
    ])?;
    let node = dm::path(&name);
    sh::shell(&format!(
        "mkfs.ext4 -q -F -b 1024 {node}; mkdir -p {mount}; mount {node} {mount}; echo before >{mount}/file"
    ))?;
    let mut log = Log::from_now()?;
    let ran = dm::run(&["load", &name, "--table", &rig.table("1 format")])?;
    let lines = log.lines()?;
    if ran.ok {
        // To take it into use would be the file system's end.
        dm::ok(&["clear", &name])?;
    }
    let resumed = dm::ok(&["resume", &name]);
    let used = sh::shell(&format!(
        "echo after >{mount}/file; sync -f {mount}/file; umount {mount}; e2fsck -fn {node} >/dev/null"
    ));
    dm::ok(&["remove", "--retry", &name])?;
    ensure!(!ran.ok, "larger blocks were let in");
    resumed?;
    used?;
    let told = |words: &str| lines.iter().any(|line| line.contains(words));
    ensure!(told(REASON) && told("4096") && told("512"), "{lines:?}");
    let trouble = kmsg::trouble(&log.lines()?);
    ensure!(trouble.is_empty(), "{trouble:?}");
    rig.close()
}

/// A clone with larger blocks than those at format is refused, also while nobody uses the device; with
/// smaller ones the device keeps what it had.
fn fixed_at_format() -> Result<()> {
    let small = mixed(Blocks::B512, Blocks::B512)?;
    let large = mixed(Blocks::B512, Blocks::B4096)?;
    let with = |metadata: &Rig, devices: &Rig| {
        Rig::assemble(
            spec(),
            devices.source.part.clone(),
            devices.clone.part.clone(),
            metadata.metadata.part.clone(),
            metadata.tracker.clone(),
        )
    };
    let block_size = |rig: &Rig| sh::ok("blockdev", &["--getss", &rig.path()]);

    let mut rig = with(&small, &small)?;
    rig.create()?;
    ensure!(block_size(&rig)?.trim() == "512");
    rig.shut_down()?;
    let mut log = Log::from_now()?;
    let other = with(&small, &large)?;
    let mut reasons = Reasons::default();
    let must = "metadata was made for smaller logical blocks";
    reasons.table(
        &other,
        "a clone with larger blocks",
        &other.table("1 accept_clone"),
        must,
    );
    reasons.check(1)?;
    let lines = log.lines()?;
    let told =
        |line: &String| line.contains("blocks of 4096 bytes") && line.contains("made for 512");
    ensure!(lines.iter().any(told), "{lines:?}");
    rig.create_with("0")?;
    rig.shut_down()?;

    let mut rig = with(&large, &large)?;
    rig.create()?;
    ensure!(block_size(&rig)?.trim() == "4096");
    rig.shut_down()?;
    let mut rig = with(&large, &small)?;
    rig.create_with("2 accept_clone assume_same")?;
    ensure!(block_size(&rig)?.trim() == "4096", "blocks that shrink");
    rig.shut_down()
}
