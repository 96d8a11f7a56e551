// SPDX-License-Identifier: GPL-2.0

//! A newcomer pastes the blocks of README and manual, one after the other, and finds what they promise.

mod lvm;
mod other_clone;
mod reader;
mod remote;

use super::trial;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::documents::{MANUAL, README};
use dm_restore_tests::sh;
use libtest_mimic::Trial;
use reader::Reader;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("documents::are_safe_to_paste", paste),
        trial("documents::clone_is_lost_while_tracking", other_clone::lost),
        trial(
            "documents::clone_moves_in_a_restore",
            other_clone::moved_in_a_restore,
        ),
        trial(
            "documents::clone_on_another_machine",
            remote::another_machine,
        ),
        trial("documents::physical_volume_on_top", lvm::on_top),
    ]
}

/// Sectors of source and clone at first, and when they have grown.
const SECTORS: u64 = 64 << 11;
const GROWN: u64 = 96 << 11;

fn paste() -> Result<()> {
    sh::ok("modprobe", &["ext4"])?;
    let mut reader = Reader::new("doc")?;
    let done = prepare(&mut reader)
        .and_then(|()| readme(&reader))
        .and_then(|()| manual(&reader));
    reader.close(done)
}

/// The devices of somebody who does not know the target yet, with a file system on the source that is
/// in use.
fn prepare(reader: &mut Reader) -> Result<()> {
    let [source, clone] = reader.take_devices(SECTORS, GROWN)?;
    for (role, grown) in [("source", source), ("clone", clone)] {
        let (name, line) = (reader.device(role), grown.line(0));
        reader.run(&format!("echo '{line}' >/mnt/doc/{name}"))?;
    }
    reader.make_file_system()?;
    reader.write("old")
}

fn readme(reader: &Reader) -> Result<()> {
    let paste = |words: &[&str], what| reader.paste(README, words).context(what);
    paste(&["dmsetup create", "format identical"], "put it over")?;
    reader.expect("old")?;
    reader.write("new")?;
    reader.roll_back(README, "old")?;
    reader.write("newer")?;
    paste(&["dd if=", "assume_identical"], "renew the clone")?;
    reader.expect("newer")?;
    reader.write("newest")?;
    reader.roll_back(README, "newer")?;
    reader
        .run("umount /srv && dmsetup remove vol")
        .context("reboot")?;
    paste(&["modprobe", "dmsetup create"], "at boot")?;
    reader.expect("newer")?;
    paste(&[" linear "], "stop using it")?;
    reader.expect_status("linear")?;
    reader.expect("newer")
}

/// Goes on where the README has ended: another target lies over the source.
fn manual(reader: &Reader) -> Result<()> {
    let paste = |words: &[&str], what| reader.paste(MANUAL, words).context(what);
    let clone = ["dd if=", "assume_identical"];
    reader.write("away")?;
    paste(&["assume_different"], "put it back")?;
    reader.expect_status("tracking")?;
    paste(&clone, "clone under a mount")?;
    reader.write("damaged")?;
    paste(&["copy_jobs 8"], "core arguments")?;
    reader.roll_back(MANUAL, "away")?;
    paste(&["pause_copy"], "pause")?;
    paste(&["resume_copy"], "go on")?;
    let before = reader.run("df --output=size /srv | tail -1")?;
    paste(&["lvextend"], "grow")?;
    let after = reader.run("df --output=size /srv | tail -1")?;
    let size = |text: &str| text.trim().parse::<u64>();
    ensure!(size(&after)? > size(&before)?, "{before} to {after} KiB");
    paste(&clone, "clone of the grown volume")?;
    reader.write("damaged again")?;
    reader.roll_back(MANUAL, "away")?;
    trimmed(reader)
}

/// What is discarded counts as changed: of a file system that is a quarter full, nearly three quarters.
fn trimmed(reader: &Reader) -> Result<()> {
    let quarter = (GROWN / 4) >> 11;
    reader.run(&format!(
        "head -c {quarter}M /dev/urandom >/srv/fill && sync -f /srv/fill"
    ))?;
    reader.paste(MANUAL, &["dd if=", "assume_identical"])?;
    reader.run("fstrim /srv")?;
    let status = reader.status()?;
    let share = 100 * status.cdm / status.extents;
    ensure!((55..=75).contains(&share), "{share} % of {status:?}");
    Ok(())
}
