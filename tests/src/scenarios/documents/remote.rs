// SPDX-License-Identifier: GPL-2.0

//! The clone is on another machine, which is lost in the middle of a restore; a third one has a copy.
//! All three are this guest: a socket stands in for the way to another machine.

use super::reader::Reader;
use super::SECTORS;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::documents::{block, MANUAL};
use dm_restore_tests::{sh, wait};

/// What is pasted on the machine with the clone, and here.
const SERVE: &[&str] = &["qemu-nbd --fork"];
const CONNECT: &[&str] = &["qemu-nbd --connect=/dev/nbd0 "];
const GO_ON: &[&str] = &["qemu-nbd --connect=/dev/nbd1 ", "dmsetup load"];

/// The other machines.
const OTHER: &str = "other-machine";
const THIRD: &str = "third-machine";

/// The server, as `pkill` and `pgrep` know it.
const SERVER: [&str; 3] = ["-f", "--", "--export-name=clone"];

/// All of it.
pub fn another_machine() -> Result<()> {
    sh::ok("modprobe", &["ext4"])?;
    // The guest lacks it.
    sh::ok("mkdir", &["-p", "/var/lock"])?;
    let mut reader = Reader::new("nbd")?;
    let done = tried(&mut reader);
    reader.close_with(done, || {
        for device in ["/dev/nbd0", "/dev/nbd1"] {
            drop(sh::run("qemu-nbd", &["--disconnect", device]));
        }
        drop(kill_server());
    })
}

fn tried(reader: &mut Reader) -> Result<()> {
    prepare(reader)?;
    serve(reader, OTHER, "clone")?;
    reader.run(&named(CONNECT)).context("connect")?;
    let here = reader.more.clone();
    reader.more = format!("{here}clone=/dev/nbd0\n");
    reader
        .paste(MANUAL, &["modprobe dm-restore", "dmsetup create"])
        .context("with the clone on another machine")?;
    reader.expect("old")?;
    reader.run("head -c 24M /dev/urandom >/srv/fill && sync -f /srv/fill")?;
    reader.write("new")?;
    // Slow enough that it is not over before the machine is lost.
    reader.run("dmsetup message vol 0 copy_rate 256")?;
    reader.begin(MANUAL, "old")?;
    reader.run("umount /srv")?;
    lose(reader)?;
    serve(reader, THIRD, "other")?;
    go_on(reader)
}

/// A volume whose clone was made here. Its disk, and a copy of it, are then in other machines.
fn prepare(reader: &mut Reader) -> Result<()> {
    reader.take_devices(SECTORS, SECTORS)?;
    reader.take_device("other", SECTORS, SECTORS)?;
    reader.make_file_system()?;
    reader.run("head -c 24M /dev/urandom >/srv/fill && sync -f /srv/fill")?;
    reader.write("old")?;
    reader
        .paste(MANUAL, &["dmsetup create", "format identical"])
        .context("put it over")?;
    reader.run("umount /srv && dmsetup remove vol")?;
    let other = reader.device("other");
    reader
        .run(&format!(
            "dd if=$clone of=/dev/mapper/{other} bs=1M conv=fsync status=none"
        ))
        .map(drop)
}

fn socket(machine: &str) -> String {
    format!("/mnt/nbd/{machine}")
}

/// A block with sockets in place of the other machines.
fn named(words: &[&str]) -> String {
    [OTHER, THIRD]
        .iter()
        .fold(block(MANUAL, words), |text, machine| {
            let there = format!("nbd+unix:///clone?socket={}", socket(machine));
            text.replace(&format!("nbd://{machine}/clone"), &there)
        })
}

/// The other machine has the clone on this device.
fn serve(reader: &Reader, machine: &str, role: &str) -> Result<()> {
    let (device, socket) = (reader.device(role), socket(machine));
    let there = format!("socket={socket} clone=/dev/mapper/{device}\n");
    reader
        .run(&format!("{there}{}", block(MANUAL, SERVE)))
        .map(drop)
        .context("serve")
}

fn kill_server() -> Result<()> {
    sh::run("pkill", &[&["-KILL"], &SERVER[..]].concat())?;
    wait::for_condition("the server is gone", || Ok(!sh::run("pgrep", &SERVER)?.ok))
}

/// The other machine is lost in the middle of the restore: what is restored can be read, what is not
/// cannot, and the copy stalls.
fn lose(reader: &Reader) -> Result<()> {
    wait::for_condition("some is restored", || Ok(reader.status()?.restored > 0))?;
    kill_server()?;
    wait::for_condition("the copy stalls", || {
        Ok(reader.status()?.activity == "stalled")
    })?;
    let status = reader.status()?;
    ensure!(status.mode == "restoring" && status.cdm > 0, "{status:?}");
    let read = reader.try_run("dd if=/dev/mapper/vol of=/dev/null bs=64K iflag=direct")?;
    ensure!(!read.ok, "everything can be read");
    Ok(())
}

fn go_on(reader: &mut Reader) -> Result<()> {
    let before = reader.status()?;
    reader.run(&named(GO_ON)).context("go on")?;
    reader.more = reader.more.replace("nbd0", "nbd1");
    let after = reader.status()?;
    ensure!(
        after.restored >= before.restored && after.clone_errors == 0,
        "{before:?}, then {after:?}"
    );
    reader.run("mount /srv")?;
    reader.finish(MANUAL, "old")?;
    let other = reader.device("other");
    // Nothing was written since but what a mount writes.
    reader.run(&format!(
        "mkdir -p /mnt/nbd/clone && command mount -o ro,noload /dev/mapper/{other} /mnt/nbd/clone &&
         cmp /srv/fill /mnt/nbd/clone/fill && umount /mnt/nbd/clone &&
         umount /srv && fsck.ext4 -fn /dev/mapper/vol && mount /srv"
    ))?;
    reader.expect("old")
}
