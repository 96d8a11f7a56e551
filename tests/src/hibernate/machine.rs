// SPDX-License-Identifier: GPL-2.0

//! Outside the virtual machine: boot, wait until it has slept, kill it, boot again.

use super::guest::{ASLEEP, DONE};
use super::notes;
use super::stage::{Stage, IMAGE_LENGTH, LENGTH};
use crate::host;
use crate::stamps::{Stamp, Writer, BLOCK};
use anyhow::{bail, ensure, Context, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;
use xtask::module;
use xtask::setup::HandedDown;
use xtask::vm::{create_disk, Config, Disk, Vm};

const DISKS: [&str; 5] = ["source", "clone", "metadata", "swap", "notes"];
const SECTOR: u64 = 512;
const METADATA_BYTES: u64 = 8 << 20;
/// Memory in MiB, and swap for an image of it.
const MEMORY: u32 = 384;
const SWAP_BYTES: u64 = 512 << 20;
/// A boot with an image takes a minute or two; one that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(900);
/// The act that is the same in two boots.
const OFF: &str = "off";
/// Between two looks at the notes.
const PAUSE: Duration = Duration::from_millis(200);

/// A volume and its disks.
pub struct Machine {
    handed: HandedDown,
    dir: PathBuf,
    hash: String,
}

impl Machine {
    /// New disks: source and clone are the same.
    ///
    /// # Errors
    ///
    /// The images cannot be made, or this was not started by `cargo xtask test`.
    pub fn new(name: &str) -> Result<Self> {
        let machine = Self::bare(name)?;
        let clone = machine.image("clone");
        machine.stamp_clone()?;
        std::fs::copy(&clone, machine.image("source"))?;
        let hash = host::hash(&clone)?;
        Ok(Self { hash, ..machine })
    }

    /// New disks: source and clone are large enough for an image of the memory, and blank.
    ///
    /// # Errors
    ///
    /// As for [`Machine::new`].
    pub fn with_large_disks(name: &str) -> Result<Self> {
        let machine = Self::bare(name)?;
        for role in ["source", "clone"] {
            create_disk(&machine.image(role), IMAGE_LENGTH * SECTOR)?;
        }
        Ok(machine)
    }

    fn bare(name: &str) -> Result<Self> {
        let handed = HandedDown::take()?;
        let dir = handed.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let machine = Self {
            handed,
            dir,
            hash: String::new(),
        };
        create_disk(&machine.image("metadata"), METADATA_BYTES)?;
        create_disk(&machine.image("swap"), SWAP_BYTES)?;
        create_disk(&machine.image("notes"), notes::BYTES)?;
        Ok(machine)
    }

    fn image(&self, role: &str) -> PathBuf {
        self.dir.join(format!("{role}.img"))
    }

    fn stamp_clone(&self) -> Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(self.image("clone"))?);
        let mut block = [0; BLOCK];
        for sector in 0..LENGTH {
            Stamp::initial(Writer::Clone, sector).fill(&mut block);
            file.write_all(&block)?;
        }
        Ok(file.flush()?)
    }

    /// Boots, comes to `stage`, hibernates, begins again, and is killed.
    ///
    /// # Errors
    ///
    /// A check in the guest failed.
    pub fn sleep(&self, stage: Stage) -> Result<()> {
        self.until_done(&format!("sleep {}", stage.name()))
    }

    /// Boots, hibernates with the image on the volume, and is killed.
    ///
    /// # Errors
    ///
    /// A check in the guest failed.
    pub fn image_on_volume(self) -> Result<()> {
        self.until_done("image")?;
        self.remove()
    }

    /// Boots, hibernates, is switched off; boots again, takes the volume up, loads the image, and is
    /// killed.
    ///
    /// # Errors
    ///
    /// A check in the guest failed.
    pub fn off_and_on(&self) -> Result<()> {
        self.start(OFF)?.wait()?.check_kernel()?;
        let word = notes::word(&self.image("notes"))?.unwrap_or_default();
        ensure!(word == ASLEEP, "the machine did not go off: {word}");
        self.until_done(OFF)
    }

    fn until_done(&self, act: &str) -> Result<()> {
        let mut vm = self.start(act)?;
        let notes = self.image("notes");
        let mut noise = Vec::new();
        let word = loop {
            match notes::word(&notes)? {
                Some(word) if word != ASLEEP => break word,
                _ => {}
            }
            match vm.line_within(PAUSE)? {
                Ok(Some(line)) => noise.push(line),
                Ok(None) => {
                    let outcome = vm.wait()?;
                    outcome.check_kernel()?;
                    bail!(
                        "the guest has ended ({:?}): {}",
                        outcome.end,
                        noise.join("; ")
                    );
                }
                Err(_) => {}
            }
        };
        vm.kill()?;
        vm.wait()?.check_kernel()?;
        ensure!(word == DONE, "{word}");
        Ok(())
    }

    /// Boots again and checks.
    ///
    /// # Errors
    ///
    /// A check failed.
    pub fn wake(self) -> Result<()> {
        let mut noise = Vec::new();
        let outcome = self
            .start("wake")?
            .run(|line| noise.push(line.to_string()))?;
        outcome.check().with_context(|| noise.join("; "))?;
        let hash = host::hash(&self.image("clone"))?;
        ensure!(hash == self.hash, "the clone has changed");
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        for role in DISKS {
            std::fs::remove_file(self.image(role))?;
        }
        Ok(())
    }

    fn start(&self, act: &str) -> Result<Vm> {
        let mut config = Config::new("hibernate", self.handed.guest.clone());
        config.dir = self.dir.join("vm");
        config.memory = MEMORY;
        config.timeout = LIMIT;
        config.payload = vec![
            (module::FILE.into(), self.handed.module.clone()),
            ("hibernate".into(), std::env::current_exe()?),
        ];
        for role in DISKS {
            let disk = Disk::new(role, self.image(role));
            config.disks.push(if role == "clone" {
                disk.read_only()
            } else {
                disk
            });
        }
        config.command = format!(
            "modprobe dm-mod && insmod /payload/{} && cp /payload/hibernate /run && \
             exec /run/hibernate guest {act}",
            module::FILE
        );
        Vm::start(config)
    }
}
