// SPDX-License-Identifier: GPL-2.0

//! A disk with a volatile write cache.
//!
//! A write is *unflushed* from when it is received until a flush covers it, or, with FUA, until it
//! is completed. A flush covers the writes that had been completed when it was received. Of the
//! unflushed writes a power cut may keep any part, sector by sector; of several writes to one
//! sector it keeps the content of one, or of none.

use super::image::{Image, SECTOR};
use super::nbd::{Kind, Request, EIO};
use crate::random::Random;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// A write that a power cut may lose.
#[derive(Clone)]
pub struct Unflushed {
    /// When it was received, in the order of all disks.
    pub at: u64,
    start: u64,
    data: Arc<[u8]>,
    /// Sectors that no later write has made meaningless.
    live: Vec<bool>,
    completed: bool,
}

impl Unflushed {
    fn sectors(&self) -> Range<u64> {
        self.start..self.start + self.live.len() as u64
    }

    /// A later write to these sectors is durable.
    fn outlive(&mut self, sectors: &Range<u64>) {
        for (sector, live) in (self.start..).zip(&mut self.live) {
            *live &= !sectors.contains(&sector);
        }
    }

    /// Puts the sectors that `keep` wants into an image; it is asked for each block of `block`
    /// sectors.
    fn land(&self, image: &mut Image, block: u64, mut keep: impl FnMut() -> bool) {
        let mut kept = false;
        let sectors = self.sectors().zip(&self.live);
        for ((sector, live), data) in sectors.zip(self.data.chunks_exact(SECTOR)) {
            if sector == self.start || sector % block == 0 {
                kept = keep();
            }
            if kept && *live {
                image.write(sector as usize * SECTOR, data);
            }
        }
    }
}

/// What is on the platters and in the cache at an instant.
#[derive(Clone)]
pub struct State {
    block: u64,
    durable: Image,
    /// In the order in which they were received.
    pub unflushed: Vec<Unflushed>,
}

impl State {
    /// What is left after a power cut. `keep` is asked for each block of each unflushed write.
    pub fn cut(&self, mut keep: impl FnMut(&Unflushed) -> bool) -> Image {
        let mut image = self.durable.clone();
        for write in &self.unflushed {
            write.land(&mut image, self.block, || keep(write));
        }
        image
    }

    /// The writes of which `is` holds become durable.
    fn persist(&mut self, is: impl Fn(&Unflushed) -> bool) {
        let (durable, mut left): (Vec<_>, Vec<_>) = self.unflushed.drain(..).partition(is);
        for write in &durable {
            write.land(&mut self.durable, 1, || true);
            for older in left.iter_mut().filter(|older| older.at < write.at) {
                older.outlive(&write.sectors());
            }
        }
        self.unflushed = left;
    }
}

/// A request that was received and not completed yet.
pub struct Ticket {
    request: Request,
    /// A write: its place in the order. A flush: the writes that it covers.
    covers: Vec<u64>,
}

impl Ticket {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self.request.kind, Kind::Read)
    }
}

/// A disk.
pub struct Disk {
    state: State,
    /// What a read returns.
    content: Image,
    /// Flushes and FUA are answered and do nothing: a disk that lies.
    pub lies: bool,
    /// How many requests to change something were received.
    pub changes: u64,
    /// Flushes that fail, one in `FAILS`, if there is chance to decide it.
    pub fails: Option<Random>,
    /// What failed flushes have dropped.
    dropped: BTreeSet<u64>,
}

/// One in so many flushes fails.
const FAILS: u64 = 8;

impl Disk {
    /// A disk that holds this and writes blocks of so many sectors whole.
    pub fn new(content: Image, block: u64) -> Self {
        Self {
            state: State {
                block,
                durable: content.clone(),
                unflushed: Vec::new(),
            },
            content,
            lies: false,
            changes: 0,
            fails: None,
            dropped: BTreeSet::new(),
        }
    }

    /// What is on it now, as a read would see it.
    pub fn content(&self) -> &Image {
        &self.content
    }

    /// What a power cut would find now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Receives a request as number `at` in the order of all disks.
    pub fn receive(&mut self, request: Request, at: u64) -> Ticket {
        let covers = match &request.kind {
            Kind::Read => Vec::new(),
            Kind::Write(data) => self.write(&request, data.clone(), at),
            Kind::Zero => self.write(&request, vec![0; request.len].into(), at),
            Kind::Flush => {
                let completed = self.state.unflushed.iter().filter(|write| write.completed);
                completed.map(|write| write.at).collect()
            }
        };
        Ticket { request, covers }
    }

    fn write(&mut self, request: &Request, data: Arc<[u8]>, at: u64) -> Vec<u64> {
        self.changes += 1;
        self.content.write(request.offset, &data);
        self.state.unflushed.push(Unflushed {
            at,
            start: (request.offset / SECTOR) as u64,
            live: vec![true; data.len() / SECTOR],
            data,
            completed: false,
        });
        vec![at]
    }

    /// Completes a request. Returns what a read has read.
    ///
    /// # Errors
    ///
    /// A flush fails, and has dropped some of what it covers.
    pub fn complete(&mut self, ticket: &Ticket) -> Result<Vec<u8>, u32> {
        let Ticket { request, covers } = ticket;
        let is_covered = |write: &Unflushed| covers.contains(&write.at);
        match request.kind {
            Kind::Read => return Ok(self.content.read(request.offset, request.len)),
            Kind::Write(_) | Kind::Zero => {
                let writes = self.state.unflushed.iter_mut();
                for write in writes.filter(|write| is_covered(write)) {
                    write.completed = true;
                }
                if request.fua && !self.lies {
                    self.state.persist(is_covered);
                }
            }
            Kind::Flush if self.flush_fails(covers) => {
                self.drop_some(covers);
                return Err(EIO);
            }
            Kind::Flush if !self.lies => self.state.persist(is_covered),
            Kind::Flush => {}
        }
        Ok(Vec::new())
    }

    /// A flush must fail if another one has dropped what it covers.
    fn flush_fails(&mut self, covers: &[u64]) -> bool {
        let is_unlucky = match &mut self.fails {
            Some(chance) => chance.below(FAILS) == 0,
            None => false,
        };
        is_unlucky || covers.iter().any(|at| self.dropped.contains(at))
    }

    /// Drops about half of these writes, or all. A read then finds what was there before.
    fn drop_some(&mut self, covers: &[u64]) {
        let mut fallback = Random::new(0);
        let chance = self.fails.as_mut().unwrap_or(&mut fallback);
        let all = chance.below(3) == 0;
        let dropped = &mut self.dropped;
        self.state.unflushed.retain(|write| {
            let drop = covers.contains(&write.at) && (all || chance.below(2) == 0);
            if drop {
                dropped.insert(write.at);
            }
            !drop
        });
        self.content = self.state.cut(|_| true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Disk {
        Disk::new(Image::zeroed(8 * SECTOR), 1)
    }

    fn write(sector: usize, fill: u8, sectors: usize, fua: bool) -> Request {
        Request {
            kind: Kind::Write(vec![fill; sectors * SECTOR].into()),
            offset: sector * SECTOR,
            len: sectors * SECTOR,
            fua,
        }
    }

    fn flush() -> Request {
        Request {
            kind: Kind::Flush,
            offset: 0,
            len: 0,
            fua: false,
        }
    }

    /// First byte of each sector after a cut.
    fn left(disk: &Disk, keep: impl FnMut(&Unflushed) -> bool) -> Vec<u8> {
        let image = disk.state().cut(keep);
        (0..8).map(|sector| image.sector(sector)[0]).collect()
    }

    fn durable(disk: &Disk) -> Vec<u8> {
        left(disk, |_| false)
    }

    #[test]
    fn a_flush_covers_what_was_completed_when_it_came() {
        let mut disk = disk();
        let first = disk.receive(write(0, 1, 1, false), 1);
        let second = disk.receive(write(1, 2, 1, false), 2);
        disk.complete(&first).unwrap();
        let flushing = disk.receive(flush(), 3);
        disk.complete(&second).unwrap();
        assert_eq!(durable(&disk), [0; 8], "it has not ended");
        disk.complete(&flushing).unwrap();
        assert_eq!(durable(&disk)[..2], [1, 0]);
        assert_eq!(left(&disk, |_| true)[..2], [1, 2]);
    }

    #[test]
    fn fua_makes_its_own_data_durable_and_nothing_else() {
        let mut disk = disk();
        let plain = disk.receive(write(0, 1, 1, false), 1);
        disk.complete(&plain).unwrap();
        let fua = disk.receive(write(4, 2, 1, true), 2);
        assert_eq!(durable(&disk)[4], 0, "not before it is completed");
        disk.complete(&fua).unwrap();
        assert_eq!(durable(&disk), [0, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn a_lost_write_does_not_come_back_over_a_later_durable_one() {
        let mut disk = disk();
        let older = disk.receive(write(0, 1, 3, false), 1);
        disk.complete(&older).unwrap();
        let newer = disk.receive(write(1, 2, 1, true), 2);
        disk.complete(&newer).unwrap();
        assert_eq!(left(&disk, |_| true)[..3], [1, 2, 1]);
        let flushing = disk.receive(flush(), 3);
        disk.complete(&flushing).unwrap();
        assert_eq!(durable(&disk)[..3], [1, 2, 1]);
    }

    #[test]
    fn writes_tear_at_blocks() {
        let mut disk = Disk::new(Image::zeroed(8 * SECTOR), 4);
        disk.receive(write(0, 1, 8, false), 1);
        let mut first = true;
        let torn = left(&disk, |_| std::mem::take(&mut first));
        assert_eq!(torn, [1, 1, 1, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn any_of_several_writes_to_a_sector_may_be_the_one_that_is_left() {
        let mut disk = disk();
        for at in 1..=3 {
            let ticket = disk.receive(write(0, at as u8, 1, false), at);
            disk.complete(&ticket).unwrap();
        }
        for kept in 0..=3 {
            assert_eq!(u64::from(left(&disk, |write| write.at == kept)[0]), kept);
        }
        assert_eq!(disk.content().sector(0)[0], 3, "a read sees the last one");
    }

    #[test]
    fn a_failing_flush_drops_what_it_covers_and_so_does_its_neighbour() {
        let mut disk = disk();
        // Each flush fails.
        let first = disk.receive(write(0, 1, 8, true), 1);
        disk.complete(&first).unwrap();
        for at in 2..10 {
            let ticket = disk.receive(write(at as usize % 8, at as u8, 1, false), at);
            disk.complete(&ticket).unwrap();
        }
        let (one, other) = (disk.receive(flush(), 10), disk.receive(flush(), 11));
        disk.fails = Some((0..).map(Random::new).find(unlucky).unwrap());
        assert_eq!(disk.complete(&one), Err(EIO));
        disk.fails = None;
        assert!(!disk.dropped.is_empty());
        assert_eq!(disk.complete(&other), Err(EIO), "it covered them, too");
        let left: Vec<u8> = (0..8).map(|at| disk.content().sector(at)[0]).collect();
        assert_eq!(left, self::left(&disk, |_| true));
        assert!(left.contains(&1), "what was there before: {left:?}");
        let third = disk.receive(flush(), 12);
        assert!(disk.complete(&third).is_ok(), "there is nothing left to do");
    }

    fn unlucky(chance: &Random) -> bool {
        chance.clone().below(FAILS) == 0
    }

    #[test]
    fn a_disk_that_lies_makes_nothing_durable() {
        let mut disk = disk();
        disk.lies = true;
        let ticket = disk.receive(write(0, 1, 1, true), 1);
        disk.complete(&ticket).unwrap();
        let flushing = disk.receive(flush(), 2);
        disk.complete(&flushing).unwrap();
        assert_eq!(durable(&disk), [0; 8]);
    }
}
