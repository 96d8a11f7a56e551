// SPDX-License-Identifier: GPL-2.0

//! The host: threads that send every kind of request, to the same places at the same time.

use super::history::{Effect, History};
use crate::model::host_data;
use crate::random::Random;
use crate::requests::Host;
use crate::rig::Rig;
use crate::wait;
use anyhow::{bail, Context, Error, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::thread::JoinHandle;

/// Requests in flight at a time.
const THREADS: u64 = 8;
/// What is changed lies in one half of the volume at a time, which begins with one of its quarters.
/// The rest is left to the copy, and to reads.
pub const HALVES: u64 = 3;
/// Half of the changes go to one of so many parts of it, the same for all threads.
const WINDOWS: u64 = 4;
/// It moves on after so many requests.
const WINDOW_MOVES: u64 = 96;
/// The longest request, in sectors.
const LONGEST: u64 = 2048;

/// The threads and what they share.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    history: Arc<History>,
    extent: u64,
    length: u64,
    block: u64,
    /// Held by each request, and taken whole by who wants none in flight.
    gate: RwLock<()>,
    /// With which quarter the half begins that is changed.
    half: AtomicU64,
    done: AtomicU64,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Load {
    /// Starts to load the rig's device.
    pub fn start(rig: &Rig, history: &Arc<History>, seed: u64) -> Result<Self> {
        let shared = Arc::new(Shared {
            history: history.clone(),
            extent: rig.spec.extent,
            length: rig.spec.length,
            block: rig.spec.blocks.sectors(),
            gate: RwLock::new(()),
            half: AtomicU64::new(0),
            done: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        });
        let mut threads = Vec::new();
        for number in 0..THREADS {
            let client = Client {
                host: rig.host()?,
                shared: shared.clone(),
                random: Random::new(seed * 1000 + number),
            };
            threads.push(std::thread::spawn(move || client.run()));
        }
        Ok(Self { shared, threads })
    }

    /// Requests that have ended.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// From now on changes go to another half, one of [`HALVES`].
    pub fn change(&self, half: u64) {
        self.shared.half.store(half, Ordering::Relaxed);
    }

    /// Waits until so many more requests have ended. Fails when a request has failed.
    pub fn wait_for(&self, requests: u64) -> Result<()> {
        let target = self.done() + requests;
        wait::while_it_grows("requests end", target, || {
            self.check()?;
            Ok(self.done())
        })?;
        self.check()
    }

    fn check(&self) -> Result<()> {
        let failure = self.shared.failure().take();
        failure.map_or(Ok(()), Err)
    }

    /// From here on no request is in flight, until the guard is dropped.
    pub fn quiet(&self) -> Result<RwLockWriteGuard<'_, ()>> {
        let guard = self
            .shared
            .gate
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        Ok(guard)
    }

    /// Ends the load and returns how many requests there were.
    pub fn stop(mut self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                bail!("a thread of the load panicked");
            }
        }
        self.check()?;
        Ok(self.done())
    }
}

impl Drop for Load {
    /// After a failure: the threads end when their requests have.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn failure(&self) -> std::sync::MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Client {
    host: Host,
    shared: Arc<Shared>,
    random: Random,
}

impl Client {
    fn run(mut self) {
        let shared = self.shared.clone();
        while !shared.stop.load(Ordering::Relaxed) {
            let _open = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = self.request() {
                shared.failure().get_or_insert(error);
                return;
            }
            shared.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn request(&mut self) -> Result<()> {
        let kind = self.random.below(200);
        let within = if kind < 40 {
            0..self.shared.length
        } else {
            self.changed()
        };
        let sectors = self.somewhere(within);
        let sent = match kind {
            0..=79 => self.read(sectors.clone()),
            80..=149 => self.write(sectors.clone(), false),
            150..=169 => self.write(sectors.clone(), true),
            170..=184 => self.zero(sectors.clone()),
            // Each takes a process, and what it covers is unknown afterwards: not too many.
            185..=187 => self.discard(sectors.clone()),
            _ => self.host.flush().context("flush"),
        };
        sent.with_context(|| format!("request of kind {kind} on {sectors:?}"))
    }

    fn read(&self, sectors: Range<u64>) -> Result<()> {
        read(&self.host, &self.shared.history, sectors)
    }

    fn write(&self, sectors: Range<u64>, fua: bool) -> Result<()> {
        let number = self.shared.history.begin(Effect::Data, sectors.clone());
        let data = host_data(sectors.clone(), number);
        if fua {
            self.host.write_fua(sectors.start, &data)?;
        } else {
            self.host.write(sectors.start, &data)?;
        }
        self.shared.history.end(number);
        Ok(())
    }

    fn zero(&self, sectors: Range<u64>) -> Result<()> {
        let number = self.shared.history.begin(Effect::Zero, sectors.clone());
        self.host.zero(sectors)?;
        self.shared.history.end(number);
        Ok(())
    }

    fn discard(&self, sectors: Range<u64>) -> Result<()> {
        let history = &self.shared.history;
        let number = history.begin(Effect::Undefined, sectors.clone());
        self.host.discard(sectors)?;
        history.end(number);
        Ok(())
    }

    /// Short requests more often than long ones, every other one of whole extents.
    fn somewhere(&mut self, within: Range<u64>) -> Range<u64> {
        let Shared { extent, block, .. } = *self.shared;
        let unit = if self.random.below(2) == 0 {
            extent
        } else {
            block
        };
        let start = within.start + self.random.below(within.end - within.start);
        let start = start / unit * unit;
        let longest = 1 << self.random.below(1 + u64::from(LONGEST.ilog2()));
        let end = start + 1 + self.random.below(longest);
        start..end.next_multiple_of(unit).min(within.end)
    }

    /// Where the next change goes.
    fn changed(&mut self) -> Range<u64> {
        let quarter = self.shared.length / 4;
        let start = self.shared.half.load(Ordering::Relaxed) * quarter;
        if self.random.below(2) == 0 {
            return start..start + 2 * quarter;
        }
        let size = 2 * quarter / WINDOWS;
        let turn = self.shared.done.load(Ordering::Relaxed) / WINDOW_MOVES;
        let start = start + turn % WINDOWS * size;
        start..start + size
    }
}

/// A read, checked.
pub fn read(host: &Host, history: &History, sectors: Range<u64>) -> Result<()> {
    let reading = history.begin_read();
    let data = host.read(sectors.clone())?;
    history.end_read(reading, sectors, &data)
}
