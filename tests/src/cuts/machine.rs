// SPDX-License-Identifier: GPL-2.0

//! A virtual machine whose disks are served by this process: one volume to live with, and slots for
//! disks as power cuts leave them.

use super::check::Job;
use super::files;
use super::image::{Image, PIECE, SECTOR};
use super::nbd::{Export, Exports, Server};
use super::plan::{Life, FILES, LENGTH};
use super::record::Record;
use super::style::{Style, METADATA};
use super::world::{self, Instant, Plain, Role, Served, Shared, Witness, World};
use crate::forge;
use crate::random::Random;
use crate::stamps::{Stamp, Writer};
use anyhow::{bail, ensure, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use xtask::module;
use xtask::setup::HandedDown;
use xtask::vm::{Config, Disk, Vm};

/// Disks that are checked at the same time.
pub const SLOTS: usize = 6;
const BYTES: usize = LENGTH as usize * SECTOR;
const METADATA_BYTES: usize = METADATA as usize * SECTOR;
/// The sector of a read-back disk from which on it holds the clone.
pub const CLONE_AT: u64 = ((2 * BYTES).next_multiple_of(PIECE) / SECTOR) as u64;
const BACK_BYTES: usize = CLONE_AT as usize * SECTOR + BYTES;
/// A machine that lives longer hangs.
const LIMIT: Duration = Duration::from_secs(3600);

/// The disks for one cut.
struct Slot {
    source: Plain,
    metadata: Plain,
    back: Plain,
}

/// What has come of the cut in a slot.
pub struct Checked {
    /// What the guest said: a word about the file system.
    pub said: Result<String>,
    /// What was read.
    pub back: Image,
    /// The disks afterwards.
    pub after: Volume,
}

/// What the disks of a volume hold.
#[derive(Clone)]
pub struct Volume {
    /// The source.
    pub source: Image,
    /// The clone.
    pub clone: Image,
    /// The metadata device.
    pub metadata: Image,
}

/// The machine.
pub struct Machine {
    vm: Vm,
    /// The volume.
    pub world: Shared,
    slots: Vec<Slot>,
    /// The clone as it was made.
    clone: Image,
    block: u64,
    style: Style,
    _server: Server,
}

impl Machine {
    /// Boots one whose disks have blocks of so many sectors, for volumes of this style.
    ///
    /// # Errors
    ///
    /// Programs are missing, or the machine does not boot.
    pub fn boot(name: &str, handed: &HandedDown, block: u64, style: Style) -> Result<Self> {
        let dir = handed.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let clone = make_clone(&dir)?;
        let world = Arc::new(Mutex::new(fresh(&clone, block, style)));
        let slots: Vec<Slot> = (0..SLOTS)
            .map(|_| Slot {
                source: Plain(Arc::new(Mutex::new(style.source_disk(&clone)))),
                metadata: Plain::zeroed(METADATA_BYTES),
                back: Plain::zeroed(BACK_BYTES),
            })
            .collect();
        let exports = exports(&world, &slots);
        let names: Vec<String> = exports.keys().cloned().collect();
        let server = Server::start(name, exports)?;
        let mut config = Config::new(name, handed.guest.clone());
        config.dir = dir.join("vm");
        config.memory = 768;
        config.timeout = LIMIT;
        config.payload = vec![
            (module::FILE.into(), handed.module.clone()),
            ("cuts".into(), std::env::current_exe()?),
        ];
        config.disks = names
            .iter()
            .map(|name| attached(name, &server, block))
            .collect();
        config.command = format!(
            "modprobe dm-mod && insmod /payload/{} && exec /payload/cuts guest",
            module::FILE
        );
        Ok(Self {
            vm: Vm::start(config)?,
            world,
            slots,
            clone,
            block,
            style,
            _server: server,
        })
    }

    /// Lives a life; `prepare` may change the new disks. Returns the instants that were chosen,
    /// so many from each stay at a place, and what the witness has heard.
    ///
    /// # Errors
    ///
    /// Something failed in the guest.
    pub fn live(
        &mut self,
        life: Life,
        restores: u64,
        each: usize,
        prepare: impl FnOnce(&mut World),
    ) -> Result<(Vec<Instant>, Vec<Record>)> {
        ensure!(
            (life.block, life.style) == (self.block, self.style),
            "a life for other disks"
        );
        let mut new = fresh(&self.clone, self.block, self.style);
        new.choose(life.number, each);
        if self.style.drops() {
            new.disk(Role::Source).fails = Some(Random::new(life.number));
        }
        prepare(&mut new);
        *world::lock(&self.world) = new;
        self.vm.send(&format!("live {} {restores}", life.words()))?;
        self.until_end(|_| Ok(()))?;
        Ok(world::lock(&self.world).take())
    }

    /// Does the jobs on disks as they are given.
    ///
    /// # Errors
    ///
    /// The guest did not answer. What a check has found is in the result.
    pub fn check(&mut self, jobs: &[Job], disks: &[Volume]) -> Result<Vec<Checked>> {
        for (job, volume) in jobs.iter().zip(disks) {
            let slot = &self.slots[job.slot];
            *slot.source.image() = self.style.source_disk(&volume.source);
            // All at once: volumes of one UUID would keep each other out.
            let renamed = forge::renamed(volume.metadata.to_bytes(), job.slot as u8);
            *slot.metadata.image() = Image::from_bytes(&renamed);
            let mut back = Image::zeroed(BACK_BYTES);
            back.place(CLONE_AT as usize * SECTOR, &volume.clone);
            *slot.back.image() = back;
        }
        let words: Vec<String> = jobs.iter().map(Job::to_string).collect();
        self.vm.send(&format!("check {}", words.join(" ")))?;
        let mut said = BTreeMap::<usize, Result<String, String>>::new();
        self.until_end(|line| {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            match words[..] {
                ["@slot", slot, word] => said.insert(slot.parse()?, Ok(word.to_string())),
                ["@failed", slot, why] => said.insert(slot.parse()?, Err(why.to_string())),
                _ => None,
            };
            Ok(())
        })?;
        let checked = jobs.iter().map(|job| {
            let slot = &self.slots[job.slot];
            let said = said.remove(&job.slot);
            let said = said.unwrap_or_else(|| Err("the guest said nothing about it".into()));
            let back = slot.back.image().clone();
            let source = slot.source.image().read(0, BYTES);
            let clone = back.read(CLONE_AT as usize * SECTOR, BYTES);
            Checked {
                said: said.map_err(anyhow::Error::msg),
                back,
                after: Volume {
                    source: Image::from_bytes(&source),
                    clone: Image::from_bytes(&clone),
                    metadata: slot.metadata.image().clone(),
                },
            }
        });
        Ok(checked.collect())
    }

    /// Whether the clone was written to other than by the user who made it anew.
    pub fn clone_was_changed(&self) -> bool {
        world::lock(&self.world).clone_was_changed()
    }

    /// Shuts it down; the kernel must not have complained.
    ///
    /// # Errors
    ///
    /// It has.
    pub fn shut_down(mut self) -> Result<()> {
        self.vm.send("bye")?;
        self.vm.wait()?.check()
    }

    fn until_end(&mut self, mut on_line: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let mut noise = Vec::new();
        while let Some(line) = self.vm.next_line()? {
            match line.as_str() {
                "@end" => return Ok(()),
                line if line.starts_with('@') => on_line(line)?,
                _ => noise.push(line),
            }
        }
        bail!("the guest has ended: {}", noise.join("; "))
    }
}

fn fresh(clone: &Image, block: u64, style: Style) -> World {
    let metadata = Image::zeroed(METADATA_BYTES);
    World::new(style.source_disk(clone), clone.clone(), metadata, block)
}

/// How a disk is attached. Disks with larger blocks are SCSI disks, which know FUA; virtio disks do
/// not, and the guest's kernel sends a flush instead.
fn attached(name: &str, server: &Server, block: u64) -> Disk {
    let mut disk = Disk::served(name, server.socket());
    let is_volume = ["source", "metadata"].contains(&name);
    disk.scsi = is_volume && block > 1;
    if name == "witness" || name.starts_with("back") {
        disk
    } else {
        disk.blocks(block as u32 * SECTOR as u32)
    }
}

fn exports(world: &Shared, slots: &[Slot]) -> Exports {
    let mut exports = Exports::new();
    let mut add = |name: String, export: Arc<dyn Export>| exports.insert(name, export);
    for role in Role::ALL {
        let world = Arc::clone(world);
        add(role.name().into(), Arc::new(Served { world, role }));
    }
    add("witness".into(), Arc::new(Witness(Arc::clone(world))));
    for (number, slot) in slots.iter().enumerate() {
        add(format!("source-{number}"), Arc::new(slot.source.clone()));
        add(
            format!("metadata-{number}"),
            Arc::new(slot.metadata.clone()),
        );
        add(format!("back-{number}"), Arc::new(slot.back.clone()));
    }
    exports
}

/// A file system with a database, and stamps behind it.
fn make_clone(dir: &Path) -> Result<Image> {
    let mut bytes = vec![0; BYTES];
    let files = files::make(dir)?;
    let len = (FILES.end - FILES.start) as usize * SECTOR;
    ensure!(files.len() == len, "a file system of {} bytes", files.len());
    bytes[..len].copy_from_slice(&files);
    let sectors = bytes.chunks_exact_mut(SECTOR).zip(0..);
    for (block, sector) in sectors.skip(FILES.end as usize) {
        Stamp::initial(Writer::Clone, sector).fill(block);
    }
    Ok(Image::from_bytes(&bytes))
}
