// SPDX-License-Identifier: GPL-2.0

//! In the virtual machine: a volume that is used, and restored again and again.

use super::files::Files;
use super::plan::{Life, FILES, FIO, LENGTH, WRITERS};
use super::record::{Place, Record};
use super::scsi;
use super::style::Style;
use super::volume::{Part, Volume};
use super::witness::Witness;
use super::writers::Writers;
use crate::dm;
use crate::io::Device;
use crate::sh;
use crate::status::Status;
use crate::wait;
use anyhow::{ensure, Context, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Name of the mapped device.
const NAME: &str = "load";
/// Name of its part with the file system.
const FILES_NAME: &str = "load-files";
/// The copy's rate while extents are left to be seen, KiB/s.
const RATE: u64 = 2048;
/// When a restore that does not come on is given up.
const PATIENCE: Duration = Duration::from_secs(600);
/// Operations that each writer does before the next thing happens.
const SOME: u64 = 24;

/// Lives one life with so many restores.
///
/// # Errors
///
/// Anything failed.
pub fn run(life: Life, restores: u64) -> Result<()> {
    let load = Load {
        life,
        volume: volume(life.style),
        witness: Witness::open(WRITERS)?,
    };
    load.format()?;
    load.enter(Place::Tracking)?;
    load.with_everything(0, |writers| {
        writers.wait_for(SOME)?;
        load.reload(Place::Tracking)?;
        writers.wait_for(SOME)
    })?;
    if !life.style.drops() {
        load.make_clone()?;
    }
    for epoch in 1..=restores {
        load.start_restore(epoch)?;
        load.with_everything(epoch, |writers| load.restore(writers))?;
    }
    let status = load.status()?;
    Volume::remove(&[&load.volume], |_| true)?;
    let errors = status.clone_errors + status.source_errors + status.metadata_errors;
    ensure!(
        status.metadata_mode == "rw" && (errors == 0 || life.style.drops()),
        "requests failed: {status:?}"
    );
    Ok(())
}

fn volume(style: Style) -> Volume {
    let [source, clone, metadata] =
        ["source", "clone", "metadata"].map(|name| Part::whole(disk(name)));
    let metadata = if style.is_one_disk() {
        Part {
            start: LENGTH,
            ..Part::whole(disk("source"))
        }
    } else {
        metadata
    };
    Volume {
        name: NAME.into(),
        style,
        source,
        clone,
        metadata,
    }
}

struct Load {
    life: Life,
    volume: Volume,
    witness: Witness,
}

impl Load {
    fn format(&self) -> Result<()> {
        for name in ["source", "metadata"] {
            scsi::check_cache(name, self.life.block > 1)?;
        }
        Volume::make_below(&[&self.volume])?;
        self.enter(Place::Format)?;
        self.create()?;
        self.witness.say(Record::Formatted)?;
        Volume::make_above(&[&self.volume])
    }

    /// Makes the mapped device. A flush of the source that fails refuses that, and nothing is formatted.
    fn create(&self) -> Result<()> {
        let table = self.table("2 format identical", 1);
        loop {
            let ran = dm::run(&["create", NAME, "--table", &table])?;
            if ran.ok {
                return Ok(());
            }
            ensure!(
                self.volume.style.drops() && ran.err.contains("Input/output error"),
                "not created: {ran:?}"
            );
            dm::run(&["remove", NAME])?;
        }
    }

    fn table(&self, features: &str, rate: u64) -> String {
        let copy_size = self.life.copy_size();
        let words = format!("{features} 6 copy_rate {rate} copy_min_rate 0 copy_size {copy_size}");
        self.volume.table(self.life.extent(), &words)
    }

    /// Another table of the same volume takes over, while everybody writes. Then it is `next`.
    fn reload(&self, next: Place) -> Result<()> {
        self.enter(Place::Reload)?;
        dm::ok(&["load", NAME, "--table", &self.table("0", 1)])?;
        dm::ok(&["suspend", NAME])?;
        dm::ok(&["resume", NAME])?;
        self.enter(next)
    }

    /// Makes the clone anew. What is written stays in caches, unless device-mapper hides them from
    /// the target.
    fn make_clone(&self) -> Result<()> {
        self.enter(Place::Identical)?;
        dm::ok(&["suspend", NAME])?;
        self.witness.say(Record::Cloning)?;
        let [from, to] = ["source", "clone"].map(disk);
        let count = format!("count={}", LENGTH * 512);
        let sync = match self.life.style {
            Style::Large => "conv=notrunc,fsync",
            _ => "conv=notrunc",
        };
        sh::ok(
            "dd",
            &[
                &format!("if={from}"),
                &format!("of={to}"),
                "bs=64k",
                &count,
                "iflag=direct,count_bytes",
                sync,
            ],
        )?;
        dm::ok(&["message", NAME, "0", "assume_identical"])?;
        self.witness.say(Record::Identified)?;
        dm::ok(&["resume", NAME])?;
        self.enter(Place::Tracking)
    }

    fn status(&self) -> Result<Status> {
        dm::target_words(&dm::ok(&["status", NAME])?, "restore")?.parse()
    }

    fn enter(&self, place: Place) -> Result<()> {
        self.witness.say(Record::Enter(place))
    }

    fn start_restore(&self, epoch: u64) -> Result<()> {
        self.enter(Place::Start)?;
        self.witness.say(Record::Starting(epoch))?;
        dm::ok(&["suspend", NAME])?;
        // Over a large volume lies the device that shows it in one piece, and holds it.
        let words: &[&str] = match self.volume.style {
            Style::Large => &["start_restore", "force"],
            _ => &["start_restore"],
        };
        dm::ok(&[&["message", NAME, "0"], words].concat())?;
        self.witness.say(Record::Started(epoch))?;
        dm::ok(&["message", NAME, "0", "copy_rate", "1"])?;
        dm::ok(&["resume", NAME]).map(drop)
    }

    /// From just behind the start of a restore to behind its end.
    fn restore(&self, writers: &Writers) -> Result<()> {
        writers.wait_for(SOME)?;
        self.reload(Place::Middle)?;
        let all = self.status()?.cdm;
        // The background is to get its rate however busy the writers are.
        for key in ["copy_min_rate", "copy_rate"] {
            dm::ok(&["message", NAME, "0", key, &RATE.to_string()])?;
        }
        // On a busy machine it may be over before it was looked at.
        let is_late = |status: &Status| status.mode == "tracking" || status.cdm <= all / 10;
        self.wait_for("few extents are left", is_late)?;
        self.enter(Place::End)?;
        self.wait_for("the restore is over", |status| status.mode == "tracking")?;
        writers.wait_for(2)?;
        self.enter(Place::Tracking)?;
        writers.wait_for(SOME)
    }

    fn wait_for(&self, what: &str, is: impl Fn(&Status) -> bool) -> Result<()> {
        let waited = wait::until_within(PATIENCE, what, || Ok(is(&self.status()?).then_some(())));
        waited.with_context(|| format!("{:?}", self.status()))
    }

    /// Does something while everybody writes.
    fn with_everything(&self, epoch: u64, act: impl FnOnce(&Writers) -> Result<()>) -> Result<()> {
        let device = Device::open(&self.volume.path())?;
        let writers = Writers::start(self.life, &device, &self.witness)?;
        if self.life.style.drops() {
            // A file system ends with the first flush that fails.
            act(&writers)?;
            return writers.stop();
        }
        let part = FILES.end - FILES.start;
        let table = format!("0 {part} linear {} {}", dm::path(NAME), FILES.start);
        dm::ok(&["create", FILES_NAME, "--table", &table])?;
        let files = Files::start(&dm::path(FILES_NAME), epoch, self.witness.lane(WRITERS)?)?;
        let fio = Fio::start();
        act(&writers)?;
        let stopped = [writers.stop(), files.stop(), fio.stop()];
        for stopped in stopped {
            stopped?;
        }
        dm::ok(&["remove", "--retry", FILES_NAME]).map(drop)
    }
}

/// A disk of this machine.
pub fn disk(name: &str) -> String {
    format!("/dev/disk/by-id/virtio-{name}")
}

/// fio: writes at random and verifies what it reads, again and again.
struct Fio {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Fio {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let offset = format!("--offset={}", FIO.start * 512);
                let size = format!("--size={}", (FIO.end - FIO.start) * 512);
                let file = format!("--filename={}", dm::path(NAME));
                sh::ok(
                    "fio",
                    &[
                        "--name=verify",
                        &file,
                        &offset,
                        &size,
                        "--rw=randwrite",
                        "--bs=4k",
                        "--direct=1",
                        "--ioengine=libaio",
                        "--iodepth=8",
                        "--fsync=24",
                        "--verify=crc32c",
                        "--verify_fatal=1",
                        "--allow_mounted_write=1",
                    ],
                )?;
            }
            Ok(())
        });
        Self { stop, thread }
    }

    fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .ok()
            .context("the thread of fio panicked")?
    }
}
