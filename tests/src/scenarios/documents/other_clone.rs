// SPDX-License-Identifier: GPL-2.0

//! The clone's device is gone: while tracking another one takes its place, and in a restore a copy of
//! the clone does.

use super::reader::Reader;
use super::SECTORS;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::dm;
use dm_restore_tests::documents::{block, MANUAL};
use dm_restore_tests::sh;

/// The block that takes any device as the clone.
const REPLACE: &[&str] = &["accept_clone"];
/// The block that goes on with a device that holds what the clone held.
const GO_ON: &[&str] = &["grep ' restore restoring '", "dmsetup load"];

/// A volume with a file system, over the target, with a clone.
fn volume(me: &'static str) -> Result<Reader> {
    sh::ok("modprobe", &["ext4"])?;
    let mut reader = Reader::new(me)?;
    reader.take_devices(SECTORS, SECTORS)?;
    reader.take_device("other", SECTORS, SECTORS)?;
    reader.make_file_system()?;
    reader.write("old")?;
    reader
        .paste(MANUAL, &["dmsetup create", "format identical"])
        .context("put it over")?;
    Ok(reader)
}

/// The clone's device answers nothing from now on.
fn lose_clone(reader: &Reader) -> Result<()> {
    let table = format!("0 {SECTORS} error");
    dm::swap(&reader.device("clone"), &table)
}

fn give_other(reader: &mut Reader) {
    reader.more = format!("clone=/dev/mapper/{}\n", reader.device("other"));
}

/// The file system stays mounted. What the new device holds does not matter.
pub fn lost() -> Result<()> {
    let mut reader = volume("lost")?;
    let done = replace(&mut reader);
    reader.close(done)
}

fn replace(reader: &mut Reader) -> Result<()> {
    reader.write("new")?;
    lose_clone(reader)?;
    give_other(reader);
    reader.paste(MANUAL, REPLACE)?;
    reader.expect("new")?;
    let status = reader.status()?;
    ensure!(
        status.mode == "tracking" && status.cdm == status.extents,
        "{status:?}"
    );
    reader
        .paste(MANUAL, &["dd if=", "assume_identical"])
        .context("clone on the new device")?;
    reader.write("damaged")?;
    reader.roll_back(MANUAL, "new")?;
    // Nothing but the new clone is wanted at the next load, and no word.
    reader.run("umount /srv && dmsetup remove vol")?;
    reader.paste(MANUAL, &["modprobe", "dmsetup create"])?;
    reader.expect("new")
}

/// In a restore the first recipe is refused by its own first step, and a device with other content by
/// the target. A copy of the clone is taken, and the restore goes on.
pub fn moved_in_a_restore() -> Result<()> {
    let mut reader = volume("moved")?;
    let done = move_in_a_restore(&mut reader);
    reader.close(done)
}

fn move_in_a_restore(reader: &mut Reader) -> Result<()> {
    reader.run("head -c 8M /dev/urandom >/srv/fill && sync -f /srv/fill")?;
    reader.write("new")?;
    reader.paste(MANUAL, &["pause_copy"])?;
    reader.begin(MANUAL, "old")?;
    reader.run("umount /srv")?;
    let copy = reader.device("other");
    // The copy that was kept of the clone.
    reader.run(&format!(
        "dd if=$clone of=/dev/mapper/{copy} bs=1M conv=fsync status=none"
    ))?;
    let before = reader.status()?;
    ensure!(before.mode == "restoring" && before.cdm > 0, "{before:?}");
    lose_clone(reader)?;
    let read = reader.try_run("dd if=/dev/mapper/vol of=/dev/null bs=1M iflag=direct")?;
    ensure!(!read.ok, "what is on the clone only could be read");
    let early = reader.try_run(&block(MANUAL, REPLACE))?;
    ensure!(!early.ok, "a restore was begun anew from any device");
    given(reader)
}

/// Gives the table a device with other content, and then the right one.
fn given(reader: &mut Reader) -> Result<()> {
    let other = reader.device("other");
    give_other(reader);
    // One sector of the copy is not what it was, and is then.
    reader.run(&format!(
        "dd if=/dev/mapper/{other} of=/mnt/moved/kept count=1 status=none &&
         dd if=/dev/urandom of=/dev/mapper/{other} count=1 conv=fsync status=none"
    ))?;
    let wrong = reader.try_run(&block(MANUAL, GO_ON))?;
    ensure!(!wrong.ok, "other content was taken for the clone");
    reader.expect_status("restoring")?;
    reader.run(&format!(
        "dd if=/mnt/moved/kept of=/dev/mapper/{other} count=1 conv=fsync status=none"
    ))?;
    reader.paste(MANUAL, GO_ON).context("go on with the copy")?;
    reader.run("mount /srv")?;
    reader.finish(MANUAL, "old")?;
    reader.run("umount /srv && fsck.ext4 -fn /dev/mapper/vol && mount /srv")?;
    reader.expect("old")
}
