// SPDX-License-Identifier: GPL-2.0

//! Outside the virtual machine: boot, listen, kill, and boot again.

use super::history::{History, Round};
use super::plan::{self, LENGTH};
use super::report::Line;
use crate::host;
use crate::stamps::{Stamp, Writer, BLOCK};
use anyhow::{bail, ensure, Context, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use xtask::module;
use xtask::setup::HandedDown;
use xtask::vm::{create_disk, Config, Disk, Vm};

const DISKS: [&str; 3] = ["source", "clone", "metadata"];
const METADATA_BYTES: u64 = 8 << 20;
/// A boot takes seconds; one that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(240);

/// A volume that lives through several boots.
pub struct Machine {
    handed: HandedDown,
    dir: PathBuf,
    history: History,
    /// What must be restored at the next boot, at least.
    restored: u64,
    hash: String,
}

/// How a boot ended.
enum Ended {
    Killed,
    Clean,
    Finished,
}

impl Machine {
    /// New disks: source and clone are the same.
    ///
    /// # Errors
    ///
    /// The images cannot be made, or this was not started by `cargo xtask test`.
    pub fn new(name: &str) -> Result<Self> {
        let handed = HandedDown::take()?;
        let dir = handed.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let machine = Self {
            handed,
            dir,
            history: History::default(),
            restored: 0,
            hash: String::new(),
        };
        let stamped = machine.image("clone");
        stamp(&stamped)?;
        std::fs::copy(&stamped, machine.image("source"))?;
        create_disk(&machine.image("metadata"), METADATA_BYTES)?;
        let hash = host::hash(&stamped)?;
        Ok(Self { hash, ..machine })
    }

    fn image(&self, role: &str) -> PathBuf {
        self.dir.join(format!("{role}.img"))
    }

    /// Boots, copies up to `target` restored extents, holds the copy with rate `hold`, and kills
    /// the machine when the host has sent so many more writes. Returns how much was restored.
    ///
    /// # Errors
    ///
    /// A check in the guest failed.
    pub fn kill_at(&mut self, target: u64, hold: u64, writes: u64) -> Result<u64> {
        let act = if self.history.0.is_empty() {
            "begin"
        } else {
            "round"
        };
        let mut round = Round::default();
        let mut vm = self.start(&format!("{act} {target} {hold}"))?;
        let (mut held, mut left) = (None, writes);
        let mut restored = self.restored;
        let mut noise = Vec::new();
        while let Some(text) = vm.next_line()? {
            let Some(line) = Line::parse(&text) else {
                noise.push(text);
                continue;
            };
            self.booted(line)?;
            round.hear(line)?;
            match line {
                Line::Held(restored) => held = Some(restored),
                Line::Durable(at) => restored = restored.max(at),
                Line::Issue(..) if held.is_some() && left > 0 => {
                    left -= 1;
                    if left == 0 {
                        vm.kill()?;
                    }
                }
                _ => {}
            }
        }
        self.ended(vm, &Ended::Killed, &noise)?;
        round.cut_off();
        self.history.0.push(round);
        self.restored = restored;
        held.context("the machine was killed before the copy was held")
    }

    /// Boots, copies up to `target` restored extents and shuts down in good order.
    ///
    /// # Errors
    ///
    /// A check in the guest failed.
    pub fn clean_at(&mut self, target: u64) -> Result<u64> {
        let mut round = Round::default();
        let mut restored = None;
        self.talk(&format!("clean {target}"), &Ended::Clean, |line| {
            if let Line::Clean(at) = line {
                restored = Some(at);
            }
            round.hear(line)
        })?;
        round.all_durable();
        self.history.0.push(round);
        self.restored = restored.context("the device was not taken away")?;
        Ok(self.restored)
    }

    /// Boots, lets the restore end, and checks all there is to check.
    ///
    /// # Errors
    ///
    /// A check failed.
    pub fn finish(mut self) -> Result<()> {
        let mut finished = false;
        self.talk("finish", &Ended::Finished, |line| {
            finished |= line == Line::Finished;
            Ok(())
        })?;
        ensure!(finished, "the guest did not come to its end");
        let hash = host::hash(&self.image("clone"))?;
        ensure!(hash == self.hash, "the clone has changed");
        for role in DISKS {
            std::fs::remove_file(self.image(role))?;
        }
        Ok(())
    }

    /// Boots for an act that ends by itself.
    fn talk(
        &mut self,
        act: &str,
        end: &Ended,
        mut on_line: impl FnMut(Line) -> Result<()>,
    ) -> Result<()> {
        let mut vm = self.start(act)?;
        let mut noise = Vec::new();
        while let Some(text) = vm.next_line()? {
            match Line::parse(&text) {
                Some(line) => {
                    self.booted(line)?;
                    on_line(line)?;
                }
                None => noise.push(text),
            }
        }
        self.ended(vm, end, &noise)
    }

    /// Progress must not be lost, and nothing may be lost between the two maps.
    fn booted(&self, line: Line) -> Result<()> {
        let Line::Booted(restored, unrestored) = line else {
            return Ok(());
        };
        ensure!(
            restored >= self.restored,
            "{} extents were durably restored, {restored} are left",
            self.restored
        );
        ensure!(
            restored + unrestored == plan::damaged_extents(),
            "{restored} extents restored and {unrestored} not, of {}",
            plan::damaged_extents()
        );
        Ok(())
    }

    fn start(&self, act: &str) -> Result<Vm> {
        let history = self.dir.join("history");
        std::fs::write(&history, self.history.to_text())?;
        let mut config = Config::new("restart", self.handed.guest.clone());
        config.dir = self.dir.join("vm");
        config.memory = 512;
        config.timeout = LIMIT;
        config.payload = vec![
            (module::FILE.into(), self.handed.module.clone()),
            ("restart".into(), std::env::current_exe()?),
            ("history".into(), history),
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
            "modprobe dm-mod && insmod /payload/{} && \
             exec /payload/restart guest --history /payload/history {act}",
            module::FILE
        );
        Vm::start(config)
    }

    fn ended(&self, vm: Vm, end: &Ended, noise: &[String]) -> Result<()> {
        let outcome = vm.wait()?;
        let checked = match end {
            Ended::Killed if outcome.end == xtask::vm::End::Killed => outcome.check_kernel(),
            Ended::Killed => bail!(
                "the guest ended by itself ({:?}): {}",
                outcome.end,
                noise.join("; ")
            ),
            Ended::Clean | Ended::Finished => outcome.check(),
        };
        checked.with_context(|| noise.join("; "))
    }
}

/// Make an image of which every sector has the clone's stamp.
fn stamp(path: &Path) -> Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut block = [0; BLOCK];
    for sector in 0..LENGTH {
        Stamp::initial(Writer::Clone, sector).fill(&mut block);
        file.write_all(&block)?;
    }
    file.flush()?;
    Ok(())
}
