// SPDX-License-Identifier: GPL-2.0

//! In the virtual machine: links to SCSI disks, as the guest's init makes them for virtio disks,
//! and what the kernel knows of a disk's cache.

use super::load::disk;
use crate::sh;
use crate::wait;
use anyhow::{ensure, Context, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The vendor and the file that show a controller in /sys.
const CONTROLLER: &str = "/sys/bus/virtio/drivers/virtio_scsi";
/// What QEMU gives it: source and metadata device.
const DISKS: usize = 2;

/// Loads the drivers, and makes links to the disks if there is a controller.
///
/// # Errors
///
/// The disks do not come.
pub fn link() -> Result<()> {
    for driver in ["virtio_scsi", "sd_mod"] {
        sh::ok("modprobe", &[driver])?;
    }
    let bound = fs::read_dir(CONTROLLER)?.filter_map(Result::ok);
    if !bound
        .map(|entry| entry.path())
        .any(|path| path.join("device").exists())
    {
        return Ok(());
    }
    let serials = wait::until("the SCSI disks are there", || {
        let serials = serials()?;
        Ok((serials.len() == DISKS).then_some(serials))
    })?;
    for (node, serial) in serials {
        symlink(Path::new("/dev").join(node), disk(&serial))?;
    }
    Ok(())
}

/// The names of the disks' nodes, with their serial numbers.
fn serials() -> Result<Vec<(String, String)>> {
    let mut serials = Vec::new();
    for entry in fs::read_dir("/sys/block")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let page = Path::new("/sys/block").join(&name).join("device/vpd_pg80");
        // A header of four bytes comes first.
        if let (true, Ok(page)) = (name.starts_with("sd"), fs::read(page)) {
            let serial = String::from_utf8_lossy(page.get(4..).unwrap_or_default());
            serials.push((name, serial.trim().to_string()));
        }
    }
    Ok(serials)
}

/// The kernel must flush the disk, and send it FUA if it is said to know it.
///
/// # Errors
///
/// It would not.
pub fn check_cache(name: &str, fua: bool) -> Result<()> {
    let node: PathBuf = fs::canonicalize(disk(name))?;
    let node = node.file_name().context("a disk has a name")?;
    let queue = Path::new("/sys/block").join(node).join("queue");
    let cache = fs::read_to_string(queue.join("write_cache"))?;
    ensure!(
        cache.trim() == "write back",
        "{name} has no write cache: {cache}"
    );
    let known = fs::read_to_string(queue.join("fua"))?;
    ensure!((known.trim() == "1") == fua, "{name} and FUA: {known}");
    let discard = fs::read_to_string(queue.join("discard_max_bytes"))?;
    ensure!(discard.trim() != "0", "{name} knows no discard");
    Ok(())
}
