// SPDX-License-Identifier: GPL-2.0

//! What happens in the virtual machine, from one boot to the next.

use super::history::History;
use super::plan::{self, DAMAGE, EXTENT, LENGTH, WRITERS};
use super::report::Line;
use crate::dm;
use crate::io::Device;
use crate::model::host_data;
use crate::stamps::{self, Found, Stamp, Writer, BLOCK};
use crate::status::Status;
use crate::wait;
use anyhow::{bail, ensure, Context, Result};
use clap::Subcommand;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Name of the mapped device.
const NAME: &str = "restart";
/// While the copy runs: KiB/s. Slow enough to be stopped at a wanted point, also on a busy machine.
const COPY_RATE: u64 = 2560;
/// At first the copy stands still; few extents are under way at a time.
const CORE_ARGS: &str = "6 copy_rate 1 copy_min_rate 0 copy_size 128";
/// Between two operations of a writer.
const PAUSE: Duration = Duration::from_millis(15);
/// Sectors read at a time.
const READ: u64 = 2048;

/// What to do in this boot.
#[derive(Clone, Debug, Subcommand)]
pub enum Act {
    /// Format, damage, begin the restore; then as `round`
    Begin {
        /// Hold the copy when so many extents are restored
        target: u64,
        /// With this rate, KiB/s
        hold: u64,
    },
    /// Check, copy and write on; hold the copy and write on until killed
    Round {
        /// Hold the copy when so many extents are restored
        target: u64,
        /// With this rate, KiB/s
        hold: u64,
    },
    /// Check, copy and write on; then take the device away in good order
    Clean {
        /// When so many extents are restored
        target: u64,
    },
    /// Check, copy all, check; then restore once more and check
    Finish,
}

/// Does it; `history` is what is known so far.
///
/// # Errors
///
/// A step failed, or a sector holds what it must not.
pub fn run(act: &Act, history: &History) -> Result<()> {
    let volume = match act {
        Act::Begin { .. } => begin()?,
        _ => Volume::create("0")?,
    };
    let status = volume.status()?;
    ensure!(status.mode == "restoring", "not restoring: {status:?}");
    Line::Booted(status.restored, status.cdm).say();
    verify(&volume.device, history, true)?;
    volume.device.flush()?;
    Line::Verified.say();
    let round = history.0.len() as u64 + 1;
    match *act {
        Act::Begin { target, hold } | Act::Round { target, hold } => {
            volume.work(round, target, hold)
        }
        Act::Clean { target } => volume.clean(round, target),
        Act::Finish => volume.finish(history),
    }
}

struct Volume {
    device: Device,
}

impl Volume {
    fn create(features: &str) -> Result<Self> {
        let [metadata, source, clone] =
            ["metadata", "source", "clone"].map(|role| format!("/dev/disk/by-id/virtio-{role}"));
        let table = format!(
            "0 {LENGTH} restore {metadata} {source} {clone} {EXTENT} {features} {CORE_ARGS}"
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

    /// Copies and writes until `target` extents are restored; the writers go on.
    fn copy_until(&self, round: u64, target: u64) -> Result<Writers> {
        let writers = Writers::start(&self.device, round)?;
        self.message(&format!("copy_rate {COPY_RATE}"))?;
        wait::until("the copy comes to the wanted point", || {
            let status = self.status()?;
            ensure!(
                status.mode == "restoring",
                "the restore is over before its time: {status:?}"
            );
            Ok((status.restored >= target).then_some(()))
        })?;
        Ok(writers)
    }

    fn work(&self, round: u64, target: u64, hold: u64) -> Result<()> {
        let _writers = self.copy_until(round, target)?;
        self.message(&format!("copy_rate {hold}"))?;
        Line::Held(self.status()?.restored).say();
        loop {
            let restored = self.status()?.restored;
            self.device.flush()?;
            Line::Durable(restored).say();
            thread::sleep(PAUSE);
        }
    }

    fn clean(self, round: u64, target: u64) -> Result<()> {
        self.copy_until(round, target)?.stop()?;
        self.message("copy_rate 1")?;
        wait::for_condition("the copy is held", || Ok(self.status()?.copying == 0))?;
        let restored = self.status()?.restored;
        self.remove()?;
        Line::Clean(restored).say();
        Ok(())
    }

    fn finish(self, history: &History) -> Result<()> {
        self.message("copy_rate 0")?;
        self.wait_tracking()?;
        verify(&self.device, history, false).context("when all was copied")?;
        // Whatever the maps have forgotten comes to light now.
        dm::ok(&["suspend", NAME])?;
        self.message("start_restore")?;
        dm::ok(&["resume", NAME])?;
        self.wait_tracking()?;
        verify(&self.device, &History::default(), false).context("after a second restore")?;
        let status = self.status()?;
        let errors = status.clone_errors + status.source_errors + status.metadata_errors;
        ensure!(
            errors == 0 && status.metadata_mode == "rw",
            "requests failed: {status:?}"
        );
        ensure!(
            status.cdm == 0,
            "a restore that nobody wrote in leaves nothing: {status:?}"
        );
        self.remove()?;
        Line::Finished.say();
        Ok(())
    }

    fn wait_tracking(&self) -> Result<()> {
        wait::for_condition("the restore is over", || {
            Ok(self.status()?.mode == "tracking")
        })
    }

    fn remove(self) -> Result<()> {
        drop(self.device);
        dm::ok(&["remove", "--retry", NAME]).map(drop)
    }
}

/// A new volume: damaged, restore begun, copy held.
fn begin() -> Result<Volume> {
    let volume = Volume::create("2 format identical")?;
    for run in plan::damaged() {
        volume.device.write(run.start, &host_data(run, DAMAGE))?;
    }
    let status = volume.status()?;
    ensure!(
        status.cdm == plan::damaged_extents(),
        "not all damage is marked: {status:?}"
    );
    dm::ok(&["suspend", NAME])?;
    volume.message("start_restore")?;
    dm::ok(&["resume", NAME])?;
    Ok(volume)
}

/// Reads every sector and compares. With `tell`, what was not certain is told.
fn verify(device: &Device, history: &History, tell: bool) -> Result<()> {
    let expected = history.expected();
    let mut wrong = Vec::new();
    for start in (0..LENGTH).step_by(READ as usize) {
        let data = device.read(start..start + READ)?;
        for (sector, block) in (start..).zip(data.chunks_exact(BLOCK)) {
            let may = &expected[sector as usize];
            match generation(sector, stamps::read(block)) {
                Some(found) if may.may_be(found) => {
                    if tell && !may.is_certain() {
                        Line::Pin(sector, found).say();
                    }
                }
                _ => wrong.push(format!(
                    "sector {sector}: {} instead of {may:x?}",
                    stamps::read(block)
                )),
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

/// Threads that write.
struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Result<()>>>,
}

impl Writers {
    fn start(device: &Device, round: u64) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for writer in 0..WRITERS {
            let (device, stop) = (device.again()?, Arc::clone(&stop));
            threads.push(thread::spawn(move || {
                let done = write(&device, round, writer, &stop);
                if let Err(error) = &done {
                    eprintln!("writer {writer}: {error:#}");
                    std::process::exit(1);
                }
                done
            }));
        }
        Ok(Self { stop, threads })
    }

    fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        Ok(())
    }
}

fn write(device: &Device, round: u64, writer: u64, stop: &AtomicBool) -> Result<()> {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let op = plan::op(round, writer, number);
        let data = host_data(op.sectors.clone(), op.generation);
        Line::Issue(writer, number).say();
        if op.fua {
            device.write_fua(op.sectors.start, &data)?;
            Line::Fua(writer, number).say();
        } else {
            device.write(op.sectors.start, &data)?;
        }
        if op.flush_after {
            device.flush()?;
            Line::Flushed(writer, number + 1).say();
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
