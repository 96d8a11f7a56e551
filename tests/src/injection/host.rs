// SPDX-License-Identifier: GPL-2.0

//! Threads that read and write, and what is known of every sector.
//!
//! Each writer has sectors of its own, so its requests follow each other there; everything else is
//! shared. A flush that fails may fail for anybody's writes: there is one at a time, and what it
//! says holds for all.
//!
//! Locks, in the order in which they are taken: `gate` (shared by each request, alone by whoever
//! changes the mode), `flusher`, `regions` (one at a time, for moments).

use super::sectors::{Sector, Ticket, CLONE, ZERO};
use anyhow::{bail, ensure, Context, Result};
use dm_restore_tests::errno::EIO;
use dm_restore_tests::io::{Buffer, Device};
use dm_restore_tests::model::host_data;
use dm_restore_tests::random::Random;
use dm_restore_tests::stamps::{self, Found, Stamp, Writer, BLOCK};
use dm_restore_tests::wait;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};
use std::thread;

/// Extent size in sectors.
pub const EXTENT: u64 = 64;
/// Threads.
pub const WRITERS: u64 = 4;
/// Extents of each.
const EXTENTS: u64 = 48;
/// Sectors of each.
const REGION: u64 = EXTENTS * EXTENT;
/// Sectors of all.
pub const LENGTH: u64 = REGION * WRITERS;

/// What the host did.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests.
    pub requests: AtomicU64,
    /// Requests that failed.
    pub failed: AtomicU64,
    /// Flushes that failed.
    pub failed_flushes: AtomicU64,
}

/// All that the threads share.
pub struct Host {
    /// Where the clone's content is on its disk.
    clone_start: u64,
    /// Whether requests may fail; if not, a read returns the last write, and nothing else.
    may_fail: bool,
    regions: Vec<Mutex<Vec<Sector>>>,
    gate: RwLock<()>,
    flusher: Mutex<()>,
    tickets: AtomicU64,
    /// Counts the times at which all that was not durable came into doubt.
    doubts: AtomicU64,
    generations: AtomicU64,
    stop: AtomicBool,
    /// What happened.
    pub counts: Counts,
}

/// A lock that a failed test may have left behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Host {
    /// Everything holds the clone's content.
    pub fn new(clone_start: u64, may_fail: bool) -> Self {
        let region = || Mutex::new(vec![Sector::default(); REGION as usize]);
        Self {
            clone_start,
            may_fail,
            regions: (0..WRITERS).map(|_| region()).collect(),
            gate: RwLock::new(()),
            flusher: Mutex::new(()),
            tickets: AtomicU64::new(0),
            doubts: AtomicU64::new(0),
            generations: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            counts: Counts::default(),
        }
    }

    /// Runs threads with requests, and `meanwhile` beside them, until that ends or one fails.
    pub fn under_load(
        &self,
        device: &Device,
        seed: u64,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.stop.store(false, Ordering::Relaxed);
        let work = |writer| {
            let done = self.work(device, writer, seed);
            // One that fails ends them all.
            self.stop.store(true, Ordering::Relaxed);
            done
        };
        let work = &work;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..WRITERS)
                .map(|writer| scope.spawn(move || work(writer)))
                .collect();
            let ended = meanwhile();
            self.stop.store(true, Ordering::Relaxed);
            for thread in threads {
                let joined = thread.join();
                joined.map_err(|_| anyhow::anyhow!("a writer panicked"))??;
            }
            ended
        })
    }

    /// Waits until the threads have sent so many more requests, or have ended.
    pub fn wait_for_requests(&self, more: u64) -> Result<()> {
        let sent = || self.counts.requests.load(Ordering::Relaxed);
        let wanted = sent() + more;
        wait::for_condition("the host goes on", || {
            Ok(sent() >= wanted || self.stop.load(Ordering::Relaxed))
        })
    }

    /// Changes the mode, with no request under way. With `true` from `change` a restore has begun.
    pub fn change_mode(&self, change: impl FnOnce() -> Result<bool>) -> Result<()> {
        let _gate = self.gate.write();
        let _flusher = lock(&self.flusher);
        let begun = change()?;
        self.doubt();
        if begun {
            for region in &self.regions {
                lock(region).iter_mut().for_each(Sector::reset);
            }
        }
        Ok(())
    }

    /// Replaces the table, under load. What was not flushed is in doubt.
    pub fn reload(&self, load: impl FnOnce() -> Result<()>) -> Result<()> {
        let _flusher = lock(&self.flusher);
        let loaded = load();
        self.doubt();
        loaded
    }

    fn doubt(&self) {
        if !self.may_fail {
            return;
        }
        self.doubts.fetch_add(1, Ordering::SeqCst);
        for region in &self.regions {
            lock(region).iter_mut().for_each(Sector::doubted);
        }
    }

    /// A thread: requests until it is stopped.
    fn work(&self, device: &Device, writer: u64, seed: u64) -> Result<()> {
        let mut random = Random::new(seed * WRITERS + writer);
        while !self.stop.load(Ordering::Relaxed) {
            let _gate = self.gate.read();
            self.request(device, writer, &mut random)
                .with_context(|| format!("writer {writer}"))?;
            self.counts.requests.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn request(&self, device: &Device, writer: u64, random: &mut Random) -> Result<()> {
        let sectors = place(random);
        let start = writer * REGION;
        let sectors = start + sectors.start..start + sectors.end;
        match random.below(20) {
            0 => self.flush(device),
            1 => self.write_fua(device, sectors),
            2 => self.write(sectors.clone(), ZERO, || device.zero(sectors)),
            3..=10 => {
                let (data, generation) = self.data(&sectors);
                self.write(sectors.clone(), generation, || {
                    device.write(sectors.start, &data)
                })
            }
            _ => self.read(device, sectors),
        }
    }

    fn data(&self, sectors: &Range<u64>) -> (Buffer, u64) {
        let generation = 1 + self.generations.fetch_add(1, Ordering::Relaxed);
        (host_data(sectors.clone(), generation), generation)
    }

    /// Whether a request succeeded. It may fail with EIO, if any may fail.
    fn outcome(&self, result: io::Result<()>) -> Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(error) if self.may_fail && error.raw_os_error() == Some(EIO) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn update(&self, sectors: Range<u64>, mut change: impl FnMut(&mut Sector)) {
        let region = sectors.start / REGION;
        let first = region * REGION;
        let mut all = lock(&self.regions[region as usize]);
        for sector in sectors {
            change(&mut all[(sector - first) as usize]);
        }
    }

    fn write(
        &self,
        sectors: Range<u64>,
        content: u64,
        write: impl FnOnce() -> io::Result<()>,
    ) -> Result<()> {
        let doubts = self.doubts.load(Ordering::SeqCst);
        let done = self
            .outcome(write())
            .with_context(|| format!("write of {sectors:?}"))?;
        self.update(sectors, |sector| {
            // A flush that failed meanwhile may have failed for this write.
            let sure = done && doubts == self.doubts.load(Ordering::SeqCst);
            let ticket = sure.then(|| self.tickets.fetch_add(1, Ordering::SeqCst));
            sector.written(content, ticket);
        });
        Ok(())
    }

    fn write_fua(&self, device: &Device, sectors: Range<u64>) -> Result<()> {
        let (data, generation) = self.data(&sectors);
        let _flusher = lock(&self.flusher);
        let sent = self.tickets.load(Ordering::SeqCst);
        // The kernel sends a flush behind it.
        let result = device.write_fua(sectors.start, &data);
        let done = self.outcome(result).context("FUA write")?;
        self.update(sectors, |sector| match done {
            true => sector.pinned(generation),
            false => sector.written(generation, None),
        });
        self.flush_ended(done, sent);
        Ok(())
    }

    /// Flushes.
    pub fn flush(&self, device: &Device) -> Result<()> {
        let _flusher = lock(&self.flusher);
        let sent = self.tickets.load(Ordering::SeqCst);
        let done = self.outcome(device.flush()).context("flush")?;
        self.flush_ended(done, sent);
        Ok(())
    }

    fn flush_ended(&self, done: bool, sent: Ticket) {
        if !done {
            self.counts.failed_flushes.fetch_add(1, Ordering::Relaxed);
            self.doubt();
            return;
        }
        for region in &self.regions {
            let mut all = lock(region);
            all.iter_mut().for_each(|sector| sector.flushed(sent));
        }
    }

    fn read(&self, device: &Device, sectors: Range<u64>) -> Result<()> {
        let data = match device.read(sectors.clone()) {
            Ok(data) => data,
            Err(error) => {
                let failed = self.outcome(Err(error));
                return failed
                    .map(drop)
                    .with_context(|| format!("read of {sectors:?}"));
            }
        };
        self.compare(sectors, &data)
    }

    fn compare(&self, sectors: Range<u64>, data: &[u8]) -> Result<()> {
        let mut blocks = (sectors.start..).zip(data.chunks_exact(BLOCK));
        let mut wrong = Vec::new();
        self.update(sectors.clone(), |expected| {
            let Some((sector, block)) = blocks.next() else {
                return;
            };
            let found = stamps::read(block);
            let content = self.content(sector, found);
            let right = |content| match self.may_fail {
                true => expected.may_be(content),
                false => expected.last() == content,
            };
            if !content.is_some_and(right) {
                wrong.push(format!("sector {sector}: {found} instead of {expected:x?}"));
            }
        });
        if !wrong.is_empty() {
            let count = wrong.len();
            wrong.truncate(4);
            bail!("{count} of {sectors:?} are wrong: {}", wrong.join("; "));
        }
        Ok(())
    }

    /// What was found in a sector, or `None` if it belongs nowhere.
    fn content(&self, sector: u64, found: Found) -> Option<u64> {
        match found {
            Found::Zero => Some(ZERO),
            Found::Stamp(Stamp {
                writer: Writer::Clone,
                sector: at,
                ..
            }) => (at == self.clone_start + sector).then_some(CLONE),
            Found::Stamp(Stamp {
                writer: Writer::Host,
                sector: at,
                generation,
            }) => (at == sector).then_some(generation),
            _ => None,
        }
    }

    /// Reads and compares everything; no request may fail any more.
    pub fn check_all(&self, device: &Device) -> Result<()> {
        for start in (0..LENGTH).step_by(EXTENT as usize) {
            let sectors = start..start + EXTENT;
            let data = device
                .read(sectors.clone())
                .with_context(|| format!("read of {sectors:?}"))?;
            self.compare(sectors, &data)?;
        }
        Ok(())
    }

    /// Checks that nothing is left in doubt when requests have stopped failing: a first flush may
    /// tell of what was, the next may not.
    pub fn settle(&self, device: &Device) -> Result<()> {
        self.flush(device)?;
        let failed = self.counts.failed_flushes.load(Ordering::Relaxed);
        self.flush(device)?;
        ensure!(
            failed == self.counts.failed_flushes.load(Ordering::Relaxed),
            "flushes go on failing"
        );
        Ok(())
    }
}

/// Single sectors, parts of extents, whole extents, and some that are neither, within a region.
fn place(random: &mut Random) -> Range<u64> {
    let (len, align) = match random.below(5) {
        0 => (1 + random.below(7), 1),
        1 => (8, 8),
        2 => (EXTENT, EXTENT),
        3 => (EXTENT * (1 + random.below(4)), EXTENT),
        _ => (EXTENT + 40, 4),
    };
    let start = random.below((REGION - len) / align + 1) * align;
    start..start + len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stay_in_their_region_and_are_of_all_kinds() {
        let mut random = Random::new(1);
        let places: Vec<_> = (0..1000).map(|_| place(&mut random)).collect();
        assert!(places.iter().all(|place| place.end <= REGION));
        let whole = |place: &Range<u64>| place.start % EXTENT == 0 && place.end % EXTENT == 0;
        assert!(places.iter().any(whole));
        assert!(places.iter().any(|place| !whole(place)));
    }
}
