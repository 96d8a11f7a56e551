// SPDX-License-Identifier: GPL-2.0

//! What happens in the virtual machine: in the boot that is hibernated, and in the next one.

use super::notes;
use super::stage::{self, Stage, DAMAGE, EXTENT, IMAGE_LENGTH, LAST, LENGTH};
use super::writers::Writers;
use crate::dm;
use crate::io::{Buffer, Device};
use crate::model::host_data;
use crate::sh;
use crate::stamps::{self, Found, Stamp, Writer, BLOCK};
use crate::status::Status;
use crate::wait;
use anyhow::{bail, ensure, Context, Result};
use clap::Subcommand;
use std::fs;
use std::ops::Range;
use std::thread;
use std::time::Duration;

/// Name of the mapped device.
const NAME: &str = "hibernate";
/// The copy, KiB/s: on the way to the wanted point, and from there on. That is slow enough for a part of
/// the volume to be left when the image is written, and fast enough for a part to be copied meanwhile,
/// if somebody does.
const COPY_RATES: [u64; 2] = [4096, 512];
/// At first the copy stands still.
const CORE_ARGS: &str = "6 copy_rate 1 copy_min_rate 0 copy_size 128";
/// The generation of what is written last.
const LAST_GENERATION: u64 = 2;
/// Sectors read at a time.
const READ: u64 = 2048;

/// What to do in this boot.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Act {
    /// Come to a point in the volume's life, hibernate, write a little; then wait to be killed
    Sleep {
        /// Which
        stage: Stage,
    },
    /// Check what the crash has left, let the restore end, check again
    Wake,
    /// Hibernate with the image on the volume itself; then wait to be killed
    Image,
    /// In the first boot hibernate and power off. In the next one take the volume up, then load the
    /// image; behind that write a little, and wait to be killed
    Off,
}

/// Does it.
///
/// # Errors
///
/// A step failed, or a sector holds what it must not.
pub fn run(act: Act) -> Result<()> {
    match act {
        Act::Sleep { stage } => leave(sleep(stage)),
        Act::Wake => wake(),
        Act::Image => leave(image().map(|()| Vec::new())),
        Act::Off if notes::word(disk("notes").as_ref())?.is_some() => leave(load_image()),
        Act::Off => leave(power_off()),
    }
}

/// Nothing that is printed behind a hibernation comes out of the machine.
fn leave(done: Result<Vec<u64>>) -> Result<()> {
    let disk = Device::open(&disk("notes"))?;
    let (generations, word) = match done {
        Ok(generations) => (generations, DONE.to_string()),
        Err(error) => (Vec::new(), format!("{error:#}")),
    };
    notes::leave(&disk, &generations, &word)?;
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

/// What the host waits for.
pub const DONE: &str = "done";
/// What is left when the power goes off.
pub const ASLEEP: &str = "asleep";

fn disk(role: &str) -> String {
    format!("/dev/disk/by-id/virtio-{role}")
}

/// Returns what each sector holds.
fn sleep(stage: Stage) -> Result<Vec<u64>> {
    swap_on(&disk("swap"))?;
    let volume = Volume::create(LENGTH, "2 format identical")?;
    let mut generations = vec![0; LENGTH as usize];
    let mut set = |sectors: Range<u64>, generation| {
        generations[sectors.start as usize..sectors.end as usize].fill(generation);
    };
    if stage != Stage::Tracking {
        volume.begin_restore()?;
    }
    let writers = Writers::start(&volume.device)?;
    volume.come_to(stage)?;
    hibernate()?;
    volume.message("pause_copy")?;
    for (sectors, generation) in writers.stop()? {
        set(sectors, generation);
    }
    wait::for_condition("no copy is under way", || Ok(volume.status()?.copying == 0))?;
    if stage != Stage::Tracking {
        volume.check_copies()?;
    }
    volume
        .device
        .write(LAST.start, &host_data(LAST, LAST_GENERATION))?;
    set(LAST, LAST_GENERATION);
    volume.device.flush()?;
    volume.check_health()?;
    Ok(generations)
}

/// Makes an image of the memory and begins again from it.
fn hibernate() -> Result<()> {
    hibernate_by("test_resume")
}

fn hibernate_by(way: &str) -> Result<()> {
    fs::write("/sys/power/disk", way).context("/sys/power/disk")?;
    fs::write("/sys/power/state", "disk").context("the machine did not hibernate")
}

fn swap_on(device: &str) -> Result<()> {
    sh::ok("mkswap", &["-q", device])?;
    sh::ok("swapon", &[device]).map(drop)
}

/// With the image on the volume: what is marked is written, a first touch fails and nothing hangs.
fn image() -> Result<()> {
    let volume = Volume::create(IMAGE_LENGTH, "2 format identical")?;
    let path = dm::path(NAME);
    swap_on(&path)?;
    ensure!(
        hibernate().is_err(),
        "first touches were written while the machine was frozen"
    );
    volume.check_health().context("after first touches")?;
    sh::ok("swapoff", &[&path])?;
    let zeros = Buffer::zeroed(READ);
    for start in (0..IMAGE_LENGTH).step_by(READ as usize) {
        volume.device.write(start, &zeros)?;
    }
    volume.device.flush()?;
    let status = volume.status()?;
    ensure!(
        status.cdm == status.extents,
        "not all is marked: {status:?}"
    );
    swap_on(&path)?;
    hibernate().context("with all extents marked")?;
    sh::ok("swapoff", &[&path])?;
    volume.check_health().context("behind the image")
}

/// Leaves a journal with records, and then a little more behind the resume.
fn power_off() -> Result<Vec<u64>> {
    swap_on(&disk("swap"))?;
    let volume = Volume::create(LENGTH, "2 format identical")?;
    let mut generations = vec![0; LENGTH as usize];
    let mut write = |extents: Range<u64>| -> Result<()> {
        for extent in extents.rev() {
            let sectors = extent * EXTENT..(extent + 1) * EXTENT;
            let place = sectors.start as usize..sectors.end as usize;
            volume
                .device
                .write(sectors.start, &host_data(sectors, LAST_GENERATION))?;
            generations[place].fill(LAST_GENERATION);
        }
        Ok(volume.device.flush()?)
    };
    write(0..20)?;
    notes::leave(&Device::open(&disk("notes"))?, &[], ASLEEP)?;
    hibernate_by("shutdown")?;
    write(40..60)?;
    volume.check_health()?;
    let status = volume.status()?;
    ensure!(
        status.cdm == 40,
        "not what was written before and behind the resume: {status:?}"
    );
    Ok(generations)
}

/// Returns only if that fails: else the memory is another one.
fn load_image() -> Result<Vec<u64>> {
    let _volume = Volume::create(LENGTH, "0")?;
    let swap = fs::canonicalize(disk("swap"))?;
    let name = swap.file_name().unwrap_or_default().to_string_lossy();
    let numbers = fs::read_to_string(format!("/sys/class/block/{name}/dev"))?;
    fs::write("/sys/power/resume", numbers.trim()).context("/sys/power/resume")?;
    bail!("there was no image to be loaded")
}

fn wake() -> Result<()> {
    let notes = Device::open(&disk("notes"))?;
    let generations = notes::generations(&notes)?;
    let volume = Volume::create(LENGTH, "0")?;
    volume
        .verify(&generations)
        .context("behind the crash, while copying")?;
    volume.message("copy_rate 0")?;
    volume.wait_tracking()?;
    volume.verify(&generations).context("when all was copied")?;
    // Whatever the maps have forgotten comes to light now.
    dm::ok(&["suspend", NAME])?;
    volume.message("start_restore")?;
    dm::ok(&["resume", NAME])?;
    volume.wait_tracking()?;
    volume
        .verify(&vec![0; LENGTH as usize])
        .context("after a second restore")?;
    volume.check_health()?;
    drop(volume.device);
    dm::ok(&["remove", "--retry", NAME]).map(drop)
}

struct Volume {
    device: Device,
}

impl Volume {
    fn create(length: u64, features: &str) -> Result<Self> {
        let [metadata, source, clone] = ["metadata", "source", "clone"].map(disk);
        let table = format!(
            "0 {length} restore {metadata} {source} {clone} {EXTENT} {features} {CORE_ARGS}"
        );
        dm::ok(&["create", NAME, "--table", &table])?;
        Ok(Self {
            device: Device::open(&dm::path(NAME))?,
        })
    }

    fn status(&self) -> Result<Status> {
        dm::target_words(&dm::ok(&["status", NAME])?, "restore")?.parse()
    }

    fn message(&self, words: &str) -> Result<()> {
        let mut args = vec!["message", NAME, "0"];
        args.extend(words.split(' '));
        dm::ok(&args).map(drop)
    }

    fn begin_restore(&self) -> Result<()> {
        for extent in stage::damaged() {
            let sectors = extent * EXTENT..(extent + 1) * EXTENT;
            self.device
                .write(sectors.start, &host_data(sectors, DAMAGE))?;
        }
        let (status, damaged) = (self.status()?, stage::damaged().count() as u64);
        ensure!(
            status.cdm == damaged,
            "{damaged} extents are damaged: {status:?}"
        );
        dm::ok(&["suspend", NAME])?;
        self.message("start_restore")?;
        dm::ok(&["resume", NAME]).map(drop)
    }

    /// Copies until the stage is reached; the copy goes on, slowly.
    fn come_to(&self, stage: Stage) -> Result<()> {
        let [fast, slow] = COPY_RATES;
        let Some(target) = stage.restored(self.status()?.cdm) else {
            return Ok(());
        };
        self.message(&format!("copy_rate {fast}"))?;
        wait::until("the copy comes to the wanted point", || {
            let status = self.status()?;
            ensure!(
                status.mode == "restoring",
                "the restore is over before its time: {status:?}"
            );
            Ok((status.restored >= target).then_some(()))
        })?;
        self.message(&format!("copy_rate {slow}"))
    }

    /// What the target says is unrestored was not copied, and what it says is restored was. Nobody
    /// writes or copies.
    fn check_copies(&self) -> Result<()> {
        let source = Device::open_read_only(&disk("source"))?;
        let mut left = 0;
        for extent in stage::damaged() {
            let sector = extent * EXTENT;
            let found = stamps::read(&source.read(sector..sector + 1)?);
            left += u64::from(generation(sector, found) == Some(DAMAGE));
        }
        let status = self.status()?;
        ensure!(
            status.cdm == left,
            "{} extents are unrestored, but {left} were not copied: copies went on behind the image",
            status.cdm
        );
        Ok(())
    }

    fn check_health(&self) -> Result<()> {
        let status = self.status()?;
        ensure!(
            status.errors() == [0; 3] && status.metadata_mode == "rw",
            "requests failed: {status:?}"
        );
        Ok(())
    }

    fn wait_tracking(&self) -> Result<()> {
        wait::for_condition("the restore is over", || {
            Ok(self.status()?.mode == "tracking")
        })
    }

    /// Reads every sector and compares.
    fn verify(&self, generations: &[u64]) -> Result<()> {
        let mut wrong = Vec::new();
        for start in (0..LENGTH).step_by(READ as usize) {
            let data = self.device.read(start..start + READ)?;
            for (sector, block) in (start..).zip(data.chunks_exact(BLOCK)) {
                let (found, wanted) = (stamps::read(block), generations[sector as usize]);
                if generation(sector, found) != Some(wanted) {
                    wrong.push(format!("sector {sector}: {found} instead of {wanted:x}"));
                }
            }
        }
        if !wrong.is_empty() {
            let count = wrong.len();
            wrong.truncate(6);
            bail!("{count} sectors are wrong: {}", wrong.join("; "));
        }
        Ok(())
    }
}

/// The generation of what was found in a sector, 0 for the clone's; `None` if it belongs nowhere.
fn generation(sector: u64, found: Found) -> Option<u64> {
    match found {
        Found::Stamp(Stamp {
            writer: Writer::Clone,
            sector: at,
            ..
        }) if at == sector => Some(0),
        Found::Stamp(Stamp {
            writer: Writer::Host,
            sector: at,
            generation,
        }) if at == sector => Some(generation),
        _ => None,
    }
}
