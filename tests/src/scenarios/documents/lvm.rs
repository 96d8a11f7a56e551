// SPDX-License-Identifier: GPL-2.0

//! A physical volume of LVM on the mapped device: with the manual's two lines LVM sees it there only.
//!
//! LVM reads every device that it finds. So it finds those of this scenario only: `/dev` is another one
//! for it.

use super::reader::Reader;
use super::SECTORS;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::documents::{lines, MANUAL};
use dm_restore_tests::sh;

/// What the guest lacks: udev, and the file that lists the devices.
const NO_UDEV: &str = "obtain_device_list_from_udev = 0
external_device_info_source = \"none\"
use_devicesfile = 0";

/// All of it.
pub fn on_top() -> Result<()> {
    let mut reader = Reader::new("lvm")?;
    let done = tried(&mut reader);
    let left = reader.try_run("vgchange -an data");
    drop(sh::run("umount", &["--recursive", ROOT]));
    reader.close(done.and(left.map(drop)))
}

fn tried(reader: &mut Reader) -> Result<()> {
    prepare(reader)?;
    let unfiltered = configure(reader, &[])?;
    ensure!(
        unfiltered.contains("lvm-source") || unfiltered.contains("lvm-clone"),
        "LVM does not see source and clone at all: {unfiltered}"
    );
    let filtered = configure(reader, &lines(MANUAL, &["filter", "global_filter"]))?;
    ensure!(
        filtered.trim() == format!("/dev/mapper/{}", reader.volume()),
        "LVM sees: {filtered}"
    );
    roll_back(reader)
}

/// What LVM needs to know.
const SYSTEM: &str = "export LVM_SYSTEM_DIR=/mnt/lvm LVM_SUPPRESS_FD_WARNINGS=1\n";
/// The guest with another `/dev`. A mount namespace would hold what others have mounted.
const ROOT: &str = "/mnt/lvm/root";
const MOUNTS: [&str; 5] = ["/proc", "/sys", "/run", "/tmp", "/mnt/lvm"];

/// Makes that root directory.
fn make_root(reader: &mut Reader) -> Result<()> {
    let mounts = MOUNTS.map(|dir| format!("command mount --bind {dir} {ROOT}{dir}"));
    let mounts = mounts.join(" && ");
    reader.run(&format!(
        "mkdir -p {ROOT} && command mount --bind / {ROOT} && command mount -t tmpfs tmpfs {ROOT}/mnt &&
         mkdir {ROOT}/mnt/lvm && {mounts} && command mount --bind /mnt/lvm/dev {ROOT}/dev"
    ))?;
    (reader.more, reader.root) = (SYSTEM.to_string(), ROOT);
    Ok(())
}

/// A volume group on the volume, with a logical volume of before the clone was made.
fn prepare(reader: &mut Reader) -> Result<()> {
    reader.take_devices(SECTORS, SECTORS)?;
    reader.run("mkdir -p /mnt/lvm/dev/mapper /mnt/lvm/dev/disk/by-id && cp -a /dev/null /dev/zero /dev/urandom /mnt/lvm/dev &&
         cp -a /dev/mapper/control $source $clone $metadata /mnt/lvm/dev/mapper")?;
    for role in ["source", "clone"] {
        let device = reader.device(role);
        reader.run(&format!(
            "ln -s ../../mapper/{device} /mnt/lvm/dev/disk/by-id/lvm-{role}"
        ))?;
    }
    make_root(reader)?;
    configure(reader, &lines(MANUAL, &["filter", "global_filter"]))?;
    reader.run(
        "dmsetup create vol --table \"0 $sectors restore $metadata $source $clone 128 1 format\" &&
         pvcreate /dev/mapper/vol && vgcreate data /dev/mapper/vol && lvcreate -y -l 4 -n old data",
    )?;
    reader
        .paste(MANUAL, &["dd if=", "assume_identical"])
        .context("clone under an active volume group")
}

/// Gives LVM these lines for its devices. Returns which ones have a physical volume, and what it
/// complains of.
fn configure(reader: &Reader, lines: &[&str]) -> Result<String> {
    let lines = lines.join("\n").replace("/scsi-SOURCE", "/lvm-source");
    let lines = lines.replace("/scsi-CLONE", "/lvm-clone");
    reader.run(&format!(
        "cat >/mnt/lvm/lvm.conf <<'EOF'\ndevices {{\n{NO_UDEV}\n{lines}\n}}\nactivation {{\nudev_sync = 0\nudev_rules = 0\nmonitoring = 0\n}}\nEOF
         pvs --noheadings -o pv_name 2>&1"
    ))
}

/// A restore is refused while the group is active. Then the volume group is what it was.
fn roll_back(reader: &Reader) -> Result<()> {
    reader.run("lvcreate -y -l 2 -n new data && lvs data/new")?;
    let held = reader.try_run("dmsetup suspend vol && dmsetup message vol 0 start_restore")?;
    reader.run("dmsetup resume vol")?;
    ensure!(!held.ok, "a restore was begun under an active group");
    reader.expect_status("tracking")?;
    reader
        .paste(MANUAL, &["vgchange", "start_restore"])
        .context("roll back")?;
    reader.run("lvs data/old && ! lvs data/new")?;
    reader.paste(MANUAL, &["while "])?;
    reader.expect_status("tracking")?;
    reader.run("vgchange -an data && vgchange -ay data && lvs data/old && ! lvs data/new")?;
    Ok(())
}
