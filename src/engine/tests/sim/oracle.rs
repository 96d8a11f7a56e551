// SPDX-License-Identifier: GPL-2.0

//! What each sector may hold, from the requests alone: it knows nothing of maps or journals.
//!
//! For each sector there are three sets of stamps:
//!
//! - `current`: what a read may return now;
//! - `durable`: what may be there after a crash: the last flushed write or a later one;
//! - `lost`: what it may have fallen back to by a failed source flush that the host has not been
//!   told of. The host's next flush must fail, or else none of these may be there.

use super::disk::Stamp;
use super::promise::{ExtentLocks, Promise};
use crate::engine::base::run::Run;
use std::hash::{Hash, Hasher};

/// Marks the stamp of a discard: after it the sector may hold anything.
const ANYTHING: Stamp = 1 << 31;

/// Whether a stamp is that of a discard.
pub fn is_discard(stamp: Stamp) -> bool {
    stamp & ANYTHING != 0
}

/// A few stamps.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Set(Vec<Stamp>);

impl Set {
    fn one(stamp: Stamp) -> Self {
        Self(vec![stamp])
    }

    /// Whether a sector may hold `stamp`.
    pub fn allows(&self, stamp: Stamp) -> bool {
        self.0.contains(&stamp) || self.is_everything()
    }

    fn is_everything(&self) -> bool {
        self.0.iter().any(|stamp| is_discard(*stamp))
    }

    fn add(&mut self, stamp: Stamp) {
        if !self.0.contains(&stamp) {
            self.0.push(stamp);
        }
    }

    fn join(&mut self, other: &Set) {
        other.0.iter().for_each(|stamp| self.add(*stamp));
    }

    /// Keeps what both allow.
    fn meet(&mut self, other: &Set) {
        if other.is_everything() {
            return;
        }
        if self.is_everything() {
            *self = other.clone();
        } else {
            self.0.retain(|stamp| other.0.contains(stamp));
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Clone, Debug)]
struct Sector {
    current: Set,
    durable: Set,
    lost: Set,
    /// Writes that have failed and may land at any time: it may hold them, too.
    late: Set,
    /// Writes that overlap in time: while any is in flight, and what was there before them.
    group: Set,
    before: Set,
    in_flight: u32,
    group_succeeded: bool,
    /// Parts of writes in flight that the source has done.
    parts_done: u32,
    /// Such a part was lost: it counts as acknowledged before that.
    part_lost: bool,
    /// Any of these writes may be lost, FUA or not, and nobody will tell.
    unheard: bool,
    /// When the last write that succeeded was acknowledged.
    acknowledged: u64,
}

/// A flush of the host that is under way: what each sector may hold once it has succeeded.
pub struct Flush {
    id: Stamp,
    at: u64,
    sets: Vec<Set>,
    /// What was lost before it was submitted: if it fails, the host knows.
    lost: Vec<Set>,
    /// It has failed on the disk, which the host does not know yet: what was durable then.
    failed: Option<Vec<Set>>,
}

/// A read that is under way: what it may return.
struct Read {
    id: Stamp,
    sectors: Run,
    sets: Vec<Set>,
}

/// The oracle.
pub struct Oracle {
    window: Run,
    sectors: Vec<Sector>,
    flushes: Vec<Flush>,
    /// Flushes that have succeeded while the target did not know yet of a later one that has failed:
    /// when they were submitted.
    unchecked: Vec<u64>,
    reads: Vec<Read>,
}

/// The stamp of a write, or of a discard.
pub fn stamp(id: Stamp, discard: bool) -> Stamp {
    if discard {
        id | ANYTHING
    } else {
        id
    }
}

impl Oracle {
    /// Every sector of `window` holds `stamp`, durably.
    pub fn new(window: Run, stamp: Stamp) -> Self {
        let sector = Sector {
            current: Set::one(stamp),
            durable: Set::one(stamp),
            lost: Set::default(),
            late: Set::default(),
            group: Set::default(),
            before: Set::default(),
            in_flight: 0,
            group_succeeded: false,
            parts_done: 0,
            part_lost: false,
            unheard: false,
            acknowledged: 0,
        };
        Self {
            window,
            sectors: vec![sector; window.len() as usize],
            flushes: Vec::new(),
            unchecked: Vec::new(),
            reads: Vec::new(),
        }
    }

    fn sector(&mut self, sector: u64) -> &mut Sector {
        &mut self.sectors[(sector - self.window.start()) as usize]
    }

    /// A write or discard is submitted.
    pub fn write_submitted(&mut self, stamp: Stamp, sectors: Run) {
        for at in sectors.start()..sectors.end() {
            let i = (at - self.window.start()) as usize;
            let sector = &mut self.sectors[i];
            if sector.in_flight == 0 {
                sector.before = sector.current.clone();
                sector.group = Set::default();
                sector.group_succeeded = false;
                sector.parts_done = 0;
                sector.part_lost = false;
                sector.unheard = false;
            }
            sector.in_flight += 1;
            sector.group.add(stamp);
            sector.current.add(stamp);
            sector.durable.add(stamp);
            self.flushes
                .iter_mut()
                .for_each(|flush| flush.sets[i].add(stamp));
            for read in self
                .reads
                .iter_mut()
                .filter(|read| read.sectors.contains(at))
            {
                read.sets[(at - read.sectors.start()) as usize].add(stamp);
            }
        }
    }

    /// The source has done a part of it; the request is not acknowledged yet.
    pub fn part_done(&mut self, sectors: Run) {
        for at in sectors.start()..sectors.end() {
            self.sector(at).parts_done += 1;
        }
    }

    /// Whether a failed source flush may have dropped a part of a write in flight that was done.
    pub fn is_part_lost(&self, sectors: Run) -> bool {
        let known = |at: u64| &self.sectors[(at - self.window.start()) as usize];
        (sectors.start()..sectors.end()).any(|at| known(at).in_flight > 0 && known(at).part_lost)
    }

    /// It is done. With `fua` it is durable by itself, before whatever was submitted later; the
    /// ones in `beside` were in flight when it was submitted.
    pub fn write_done(
        &mut self,
        stamp: Stamp,
        sectors: Run,
        ok: bool,
        fua: Option<&[Stamp]>,
        now: u64,
    ) {
        for at in sectors.start()..sectors.end() {
            let sector = self.sector(at);
            sector.in_flight -= 1;
            sector.group_succeeded |= ok;
            if ok && !sector.part_lost {
                sector.acknowledged = now;
            }
            if let (Some(beside), true) = (fua, ok && !sector.unheard) {
                let later = |other: Stamp| other & !ANYTHING >= stamp & !ANYTHING;
                sector
                    .durable
                    .0
                    .retain(|other| later(*other) || beside.contains(other));
            }
            if sector.in_flight == 0 {
                sector.current = sector.group.clone();
                if sector.group_succeeded {
                    sector.lost = Set::default();
                }
                if sector.part_lost || !sector.group_succeeded {
                    let before = sector.before.clone();
                    sector.current.join(&before);
                }
            }
        }
    }

    /// A write fails, and may land later.
    pub fn may_come_late(&mut self, stamp: Stamp, sectors: Run) {
        for at in sectors.start()..sectors.end() {
            self.sector(at).late.add(stamp);
            let reads = self.reads.iter_mut();
            for read in reads.filter(|read| read.sectors.contains(at)) {
                read.sets[(at - read.sectors.start()) as usize].add(stamp);
            }
        }
    }

    /// A flush of the host is submitted.
    pub fn flush_submitted(&mut self, id: Stamp, at: u64) {
        let mut sets: Vec<_> = self.sectors.iter().map(|s| s.current.clone()).collect();
        // What an earlier flush has lost the host hears from that one.
        for earlier in &self.flushes {
            let lost = earlier.failed.iter().flatten();
            for ((set, sector), lost) in sets.iter_mut().zip(&self.sectors).zip(lost) {
                if sector.acknowledged <= earlier.at {
                    set.join(lost);
                }
            }
        }
        self.flushes.push(Flush {
            id,
            at,
            sets,
            lost: self.sectors.iter().map(|s| s.lost.clone()).collect(),
            failed: None,
        });
    }

    /// It has succeeded: whatever was acknowledged before it was submitted is durable. It must be
    /// there too, at the next [`Oracle::check_lost`].
    pub fn flush_succeeded(&mut self, id: Stamp) {
        let place = self.flushes.iter().position(|flush| flush.id == id);
        let flush = self.flushes.swap_remove(place.expect("flush is known"));
        for (sector, set) in self.sectors.iter_mut().zip(&flush.sets) {
            sector.durable.meet(set);
        }
        self.unchecked.push(flush.at);
    }

    /// The target knows of every source flush that has failed: what the host believes to be durable
    /// must be there.
    pub fn check_lost(&mut self, visible: impl Fn(u64) -> Stamp) -> ExtentLocks {
        for at in core::mem::take(&mut self.unchecked) {
            for (sector, i) in self.sectors.iter_mut().zip(self.window.start()..) {
                let lost = !sector.lost.is_empty() && sector.in_flight == 0;
                if !lost || sector.acknowledged > at {
                    continue;
                }
                let stamp = visible(i);
                if !sector.current.allows(stamp) && !sector.late.allows(stamp) {
                    return Err(Promise::Faults.broken(format!(
                        "sector {i} was lost by a failed source flush, and the host's next flush, of {at}, succeeded"
                    )));
                }
                sector.lost = Set::default();
            }
        }
        Ok(())
    }

    /// It has failed: so the host knows that what was not durable may be lost.
    pub fn flush_failed(&mut self, id: Stamp) {
        let place = self.flushes.iter().position(|flush| flush.id == id);
        let flush = self.flushes.swap_remove(place.expect("flush is known"));
        for (i, sector) in self.sectors.iter_mut().enumerate() {
            let mut told = flush.lost[i].clone();
            if sector.acknowledged <= flush.at {
                let lost = core::mem::take(&mut sector.lost);
                sector.current.join(&lost);
                sector.before.join(&lost);
                told.join(&lost);
            }
            // Of the flushes under way only one has to tell the host.
            for other in &mut self.flushes {
                other.sets[i].join(&told);
            }
        }
    }

    /// A source flush has failed on the disk: the host's flush `id`, or one of the target's own.
    pub fn lost(&mut self, id: Option<Stamp>) {
        for flush in &mut self.flushes {
            if Some(flush.id) == id {
                flush.failed = Some(self.sectors.iter().map(|s| s.durable.clone()).collect());
            }
        }
        for (i, sector) in self.sectors.iter_mut().enumerate() {
            sector.lost.join(&sector.durable);
            if sector.in_flight > 0 {
                sector.part_lost |= sector.parts_done > 0;
                sector.group_succeeded = false;
                sector.before.join(&sector.durable);
            }
            let at = self.window.start() + i as u64;
            for read in self
                .reads
                .iter_mut()
                .filter(|read| read.sectors.contains(at))
            {
                read.sets[(at - read.sectors.start()) as usize].join(&sector.durable);
            }
        }
    }

    /// Nobody will tell the host of what is lost: it is as if it had been told.
    pub fn told(&mut self) {
        for (i, sector) in self.sectors.iter_mut().enumerate() {
            let lost = core::mem::take(&mut sector.lost);
            sector.current.join(&lost);
            sector.before.join(&lost);
            sector.unheard = sector.in_flight > 0;
            for flush in &mut self.flushes {
                flush.sets[i].join(&lost);
            }
        }
    }

    /// A new table knows nothing of losses that the host was not told of; and what could not be
    /// recorded, if `unrecorded`, may be gone as after a crash.
    pub fn reloaded(&mut self, unrecorded: bool) {
        for sector in &mut self.sectors {
            let lost = core::mem::take(&mut sector.lost);
            sector.current.join(&lost);
            if unrecorded {
                let durable = sector.durable.clone();
                sector.current.join(&durable);
            }
        }
    }

    /// A read is submitted.
    pub fn read_submitted(&mut self, id: Stamp, sectors: Run) {
        let sets = (sectors.start()..sectors.end())
            .map(|at| {
                let sector = self.sector(at);
                let mut set = sector.current.clone();
                set.join(&sector.lost);
                set.join(&sector.late);
                set
            })
            .collect();
        self.reads.push(Read { id, sectors, sets });
    }

    /// A part of it has returned `stamp` for `sector`.
    pub fn read_returned(&self, id: Stamp, sector: u64, stamp: Stamp) -> ExtentLocks {
        let read = self
            .reads
            .iter()
            .find(|read| read.id == id)
            .expect("read is known");
        let set = &read.sets[(sector - read.sectors.start()) as usize];
        if set.allows(stamp) {
            Ok(())
        } else {
            Err(Promise::Reads.broken(format!(
                "read {id} of sector {sector} returned {stamp}, allowed {set:?}"
            )))
        }
    }

    /// All of it has returned.
    pub fn read_done(&mut self, id: Stamp) {
        self.reads.retain(|read| read.id != id);
    }

    /// Whether a read of `sector` may return `stamp` now.
    pub fn check_now(&self, sector: u64, stamp: Stamp) -> ExtentLocks {
        let known = &self.sectors[(sector - self.window.start()) as usize];
        let allowed = [&known.current, &known.lost, &known.late];
        if allowed.iter().any(|set| set.allows(stamp)) {
            Ok(())
        } else {
            Err(Promise::Reads.broken(format!(
                "sector {sector} holds {stamp}, allowed {:?}",
                known.current
            )))
        }
    }

    /// Everything that decides what may be there after a crash now.
    pub fn hash_durable(&self, digest: &mut impl Hasher) {
        self.sectors
            .iter()
            .for_each(|sector| sector.durable.hash(digest));
    }

    /// Whether `sector` may hold `stamp` after a crash now.
    pub fn check_crashed(&self, sector: u64, stamp: Stamp) -> ExtentLocks {
        let known = &self.sectors[(sector - self.window.start()) as usize];
        let durable = &known.durable;
        if durable.allows(stamp) || known.late.allows(stamp) {
            Ok(())
        } else {
            Err(Promise::Flushed.broken(format!(
                "after the crash sector {sector} holds {stamp}, allowed {durable:?}"
            )))
        }
    }

    /// Every sector now holds what `content` says, durably: after a crash, or because a restore
    /// has begun. Nothing is in flight.
    pub fn settle(&mut self, content: impl Fn(u64) -> Stamp) {
        self.flushes.clear();
        self.unchecked.clear();
        self.reads.clear();
        for (i, sector) in self.sectors.iter_mut().enumerate() {
            let stamp = content(self.window.start() + i as u64);
            sector.current = Set::one(stamp);
            sector.durable = Set::one(stamp);
            sector.lost = Set::default();
            sector.late = Set::default();
            sector.in_flight = 0;
        }
    }
}
