// SPDX-License-Identifier: GPL-2.0

//! What a virtual machine is made of, and the command line that says so to QEMU.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use super::accel::Accel;
use crate::guest::Guest;
use crate::{debug, paths};

/// Seconds after which the stock kernel complains about a task that waits.
const HUNG: u32 = 60;

/// A disk: a raw file of the host, or what a server on the host exports.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The guest finds it as `/dev/disk/by-id/virtio-<serial>`; at most 20 bytes.
    pub serial: String,
    /// The file, or the Unix socket of a server of network block devices.
    pub path: PathBuf,
    /// The name of the server's export, if it is one.
    pub export: Option<String>,
    /// A SCSI disk, which knows FUA, instead of a virtio one, which does not. The guest has no link
    /// to it before it loads the driver and makes one.
    pub scsi: bool,
    /// Whether QEMU refuses writes.
    pub read_only: bool,
    /// Logical block size, bytes.
    pub logical: u32,
    /// Physical block size, bytes.
    pub physical: u32,
}

impl Disk {
    /// A writable disk with 512-byte blocks.
    pub fn new(serial: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            serial: serial.into(),
            path: path.into(),
            export: None,
            scsi: false,
            read_only: false,
            logical: 512,
            physical: 512,
        }
    }

    /// A writable disk with 512-byte blocks: an export of that name of the server on a socket.
    pub fn served(name: &str, socket: impl Into<PathBuf>) -> Self {
        Self {
            export: Some(name.to_owned()),
            ..Self::new(name, socket)
        }
    }

    /// The same disk, read-only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The same disk with this logical block size, bytes, also the physical one if that is
    /// smaller.
    #[must_use]
    pub fn blocks(mut self, logical: u32) -> Self {
        self.logical = logical;
        self.physical = self.physical.max(logical);
        self
    }
}

/// Make a sparse file of `bytes` zeroes for a disk, in place of what was there.
///
/// # Errors
///
/// The file cannot be made.
pub fn create_disk(path: &Path, bytes: u64) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    file.set_len(bytes)?;
    Ok(())
}

/// A virtual machine to be started.
#[derive(Clone, Debug)]
pub struct Config {
    /// Kernel and root image.
    pub guest: Guest,
    /// Where its logs and its payload image go: `build/vm/<name>` by default.
    pub dir: PathBuf,
    /// Its disks, besides root and payload.
    pub disks: Vec<Disk>,
    /// Files for `/payload`: name there, path here.
    pub payload: Vec<(String, PathBuf)>,
    /// The shell script that it runs.
    pub command: String,
    /// More words for the kernel's command line, for instance `slab_nomerge`.
    pub cmdline: Vec<String>,
    /// Memory, MiB.
    pub memory: u32,
    /// Processors.
    pub cpus: u32,
    /// It is killed after this time, or after a multiple of it if its kernel is a slow one.
    pub timeout: Duration,
    /// The command has a terminal: QEMU's standard input and output as the guest's `/dev/hvc0`.
    pub terminal: bool,
}

impl Config {
    /// A machine with 2 processors, 1 GiB of memory and 10 minutes to live.
    #[must_use]
    pub fn new(name: &str, guest: Guest) -> Self {
        Self {
            guest,
            dir: paths::build().join("vm").join(name),
            disks: Vec::new(),
            payload: Vec::new(),
            command: String::new(),
            cmdline: Vec::new(),
            memory: 1024,
            cpus: 2,
            timeout: Duration::from_secs(600),
            terminal: false,
        }
    }

    /// The image of its payload.
    #[must_use]
    pub fn payload_image(&self) -> PathBuf {
        self.dir.join("payload.img")
    }

    /// The command that starts QEMU.
    ///
    /// # Errors
    ///
    /// A path has a character that QEMU's options cannot express.
    pub fn qemu(&self, accel: Accel) -> Result<Command> {
        // QEMU is to die with us, also when we are killed.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
        qemu.args([
            "-machine",
            "q35",
            "-accel",
            accel.option(),
            "-cpu",
            accel.cpu(),
        ]);
        qemu.args(["-smp", &self.cpus.to_string()]);
        qemu.args(["-m", &format!("{}M", self.memory)]);
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        qemu.arg("-kernel").arg(&self.guest.kernel);
        qemu.arg("-initrd").arg(&self.guest.initrd);
        qemu.arg("-append").arg(self.append(accel));
        self.ports(&mut qemu)?;
        let root = Disk::new("root", &self.guest.root).read_only();
        let payload = Disk::new("payload", self.payload_image()).read_only();
        if self.disks.iter().any(|disk| disk.scsi) {
            qemu.args(["-device", "virtio-scsi-pci,id=scsi"]);
        }
        for disk in [&root, &payload].into_iter().chain(&self.disks) {
            add_disk(&mut qemu, disk)?;
        }
        Ok(qemu)
    }

    /// What its time limits are multiplied with.
    pub(super) fn slowness(&self) -> u32 {
        debug::slowness(&self.guest.release)
    }

    fn append(&self, accel: Accel) -> String {
        let patience = format!(
            "sysctl.kernel.hung_task_timeout_secs={}",
            HUNG * self.slowness()
        );
        let mut words = vec![
            "console=ttyS0",
            // The end of the machine, not a hang, and soon: a broken kernel proves nothing.
            "panic=-1",
            "oops=panic",
            &*patience,
        ];
        if self.terminal {
            words.push("dm_restore.shell");
        }
        words.extend(accel.cmdline());
        words.extend(self.cmdline.iter().map(String::as_str));
        words.join(" ")
    }

    /// The kernel's console, the command's output and its exit code.
    fn ports(&self, qemu: &mut Command) -> Result<()> {
        let console = value(&self.dir.join("console.log"))?;
        let exit = value(&self.dir.join("exit"))?;
        qemu.args(["-chardev", &format!("file,id=console,path={console}")]);
        qemu.args(["-serial", "chardev:console"]);
        qemu.args(["-device", "virtio-serial-pci"]);
        qemu.args(["-chardev", "stdio,id=output,signal=off"]);
        let device = if self.terminal {
            "virtconsole,chardev=output,name=terminal"
        } else {
            "virtserialport,chardev=output,name=output"
        };
        qemu.args(["-device", device]);
        qemu.args(["-chardev", &format!("file,id=exit,path={exit}")]);
        qemu.args(["-device", "virtserialport,chardev=exit,name=exit"]);
        Ok(())
    }
}

/// Writes to a file stay in the host's page cache (also when QEMU is killed), and zeroes that are
/// written to it become holes: copies of large, nearly empty disks would fill the host's. Flushes
/// reach a server, discards both.
fn add_disk(qemu: &mut Command, disk: &Disk) -> Result<()> {
    let Disk {
        serial,
        logical,
        physical,
        ..
    } = disk;
    let path = value(&disk.path)?;
    let store = match &disk.export {
        None => format!("format=raw,cache=writeback,aio=threads,detect-zeroes=unmap,file={path}"),
        Some(export) => format!(
            "format=raw,cache=none,file.driver=nbd,file.export={export},\
             file.server.type=unix,file.server.path={path}"
        ),
    };
    let read_only = if disk.read_only { "on" } else { "off" };
    qemu.arg("-drive").arg(format!(
        "if=none,id=disk-{serial},discard=unmap,read-only={read_only},{store}"
    ));
    let device = if disk.scsi {
        "scsi-hd,bus=scsi.0,dpofua=on"
    } else {
        "virtio-blk-pci"
    };
    qemu.arg("-device").arg(format!(
        "{device},drive=disk-{serial},serial={serial},\
         logical_block_size={logical},physical_block_size={physical}"
    ));
    Ok(())
}

/// A path as the value of one of QEMU's options: a comma is doubled.
fn value(path: &Path) -> Result<String> {
    let Some(text) = path.to_str() else {
        bail!("{} is not UTF-8", path.display());
    };
    Ok(text.replace(',', ",,"))
}
