// SPDX-License-Identifier: GPL-2.0

//! Threads that write while the machine is hibernated, and know what they have written.

use super::stage::{EXTENT, PART, WRITERS};
use crate::io::Device;
use crate::model::host_data;
use crate::random::Random;
use anyhow::{anyhow, Context, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Between two operations of a writer.
const PAUSE: Duration = Duration::from_millis(10);
/// After so many of them comes a flush.
const FLUSH_EVERY: u64 = 6;

/// A write that is done: where, and its generation.
pub type Written = (Range<u64>, u64);

/// Threads that write.
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Result<Vec<Written>>>>,
}

impl Writers {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// The device cannot be opened again.
    pub fn start(device: &Device) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..WRITERS)
            .map(|writer| {
                let (device, stop) = (device.again()?, Arc::clone(&stop));
                Ok(thread::spawn(move || write(&device, writer, &stop)))
            })
            .collect::<Result<_>>()?;
        Ok(Self { stop, threads })
    }

    /// Stops them. Returns what they have written, in order where it overlaps.
    ///
    /// # Errors
    ///
    /// A request failed.
    pub fn stop(self) -> Result<Vec<Written>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in self.threads {
            let written = thread.join().map_err(|_| anyhow!("a writer panicked"))?;
            all.extend(written.context("a writer")?);
        }
        Ok(all)
    }
}

fn write(device: &Device, writer: u64, stop: &AtomicBool) -> Result<Vec<Written>> {
    let mut random = Random::new(writer);
    let mut written = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let sectors = place(&mut random, writer);
        let generation = ((writer + 1) << 32) | (number + 1);
        let data = host_data(sectors.clone(), generation);
        device.write(sectors.start, &data)?;
        written.push((sectors, generation));
        if number % FLUSH_EVERY == FLUSH_EVERY - 1 {
            device.flush()?;
        }
        thread::sleep(PAUSE);
    }
    Ok(written)
}

/// Parts of extents, whole extents, and some that are neither.
fn place(random: &mut Random, writer: u64) -> Range<u64> {
    let (len, align) = match random.below(4) {
        0 => (1 + random.below(7), 1),
        1 => (EXTENT, EXTENT),
        2 => (EXTENT * 3, EXTENT),
        _ => (EXTENT + 40, 4),
    };
    let places = (PART * EXTENT - len) / align + 1;
    let start = writer * PART * EXTENT + random.below(places) * align;
    start..start + len
}
