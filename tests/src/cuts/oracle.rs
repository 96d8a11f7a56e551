// SPDX-License-Identifier: GPL-2.0

//! What the mapped device may hold after a power cut. It knows only what the load told the witness
//! before the cut.

use super::files::ROWS;
use super::plan::{Kind, Life, STAMPS, WRITERS};
use super::record::Record;
use crate::stamps::{self, Found, Stamp, Writer, BLOCK};
use anyhow::{bail, Result};
use std::collections::BTreeSet;

/// What a sector may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// What the first clone holds.
    Clone,
    /// A host write's.
    Host(u64),
    /// Zeros.
    Zero,
    /// It was discarded.
    Anything,
}

impl Content {
    fn is(self, sector: u64, found: Found) -> bool {
        match self {
            Self::Clone => found == Found::Stamp(Stamp::initial(Writer::Clone, sector)),
            Self::Zero => found == Found::Zero,
            Self::Anything => true,
            Self::Host(generation) => {
                let writer = Writer::Host;
                found
                    == Found::Stamp(Stamp {
                        writer,
                        sector,
                        generation,
                    })
            }
        }
    }
}

/// A sector: what was flushed, and later writes of which any may be there.
#[derive(Clone, Debug)]
struct Sector {
    /// Number of the operation, from 1; 0 is none.
    number: u64,
    durable: Content,
    maybe: Vec<(u64, Content)>,
    /// What the clone holds.
    clone: Content,
}

impl Sector {
    const NEW: Self = Self {
        number: 0,
        durable: Content::Clone,
        maybe: Vec::new(),
        clone: Content::Clone,
    };

    /// As the clone is.
    fn restored(&self) -> Self {
        Self {
            durable: self.clone,
            clone: self.clone,
            ..Self::NEW
        }
    }

    /// All of it is durable, and the clone is made of it.
    fn identified(&mut self) {
        if let Some((number, content)) = self.maybe.pop() {
            self.pin(number, content);
        }
        self.clone = self.durable;
    }

    fn may_hold(&self, sector: u64, found: Found) -> bool {
        let mut all = self.maybe.iter().map(|(_, content)| *content);
        self.durable.is(sector, found) || all.any(|content| content.is(sector, found))
    }

    /// Operation `number` is durable.
    fn pin(&mut self, number: u64, content: Content) {
        if self.number < number {
            (self.number, self.durable) = (number, content);
            self.maybe.retain(|(later, _)| *later > number);
        }
    }
}

/// Follows what the load says.
#[derive(Clone)]
pub struct Oracle {
    life: Life,
    sectors: Vec<Sector>,
    issued: [u64; WRITERS as usize],
    flushed: [u64; WRITERS as usize],
    /// Operations that nothing makes durable: they have failed, or their data was dropped.
    failed: BTreeSet<(u64, u64)>,
    /// A flush has failed on its disk, and the target may not have heard of it yet: the operations
    /// that had been issued then. What comes in between the target acknowledges, and takes back when it
    /// hears of the failure: another flush tells the host.
    unheard: Option<[u64; WRITERS as usize]>,
    /// The metadata is formatted.
    pub formatted: bool,
    /// A new clone is being made.
    pub cloning: bool,
    /// The restore that was started last.
    pub epoch: u64,
    /// The next one may have been started.
    pub starting: bool,
    /// Rows that were committed in this epoch.
    pub rows: u64,
    /// Rows of the clone's database.
    pub clone_rows: u64,
}

impl Oracle {
    /// For a life of which nothing has been heard.
    pub fn new(life: Life) -> Self {
        Self {
            life,
            sectors: vec![Sector::NEW; (STAMPS.end - STAMPS.start) as usize],
            issued: [0; WRITERS as usize],
            flushed: [0; WRITERS as usize],
            failed: BTreeSet::new(),
            unheard: None,
            formatted: false,
            cloning: false,
            epoch: 0,
            starting: false,
            rows: 0,
            clone_rows: ROWS,
        }
    }

    /// Takes in the next record.
    pub fn hear(&mut self, record: Record) {
        match record {
            Record::Issue(writer, end) => {
                let from = std::mem::replace(&mut self.issued[writer as usize], end);
                (from..end).for_each(|number| self.issue(writer, number));
            }
            Record::Fua(writer, number) if number < self.flushed[writer as usize] => {}
            Record::Fua(writer, number) => self.pin(writer, number),
            Record::Flushed(writer, end) => {
                let from = self.flushed[writer as usize];
                (from..end).for_each(|number| self.pin(writer, number));
                self.flushed[writer as usize] = from.max(end);
                // It was sent behind the failure, and waits for all that were under way.
                let heard = |issued: &[u64; WRITERS as usize]| end > issued[writer as usize];
                self.unheard = self.unheard.filter(|issued| !heard(issued));
            }
            Record::Failed(writer, number) => drop(self.failed.insert((writer, number))),
            // What was flushed before is safe; of the rest anything may be gone.
            Record::Dropped => {
                self.flushed = self.issued;
                self.unheard = Some(self.issued);
            }
            Record::Formatted => self.formatted = true,
            Record::Cloning => self.cloning = true,
            Record::Identified => {
                self.sectors.iter_mut().for_each(Sector::identified);
                self.flushed = self.issued;
                self.clone_rows = self.rows.max(ROWS);
                self.cloning = false;
            }
            Record::Row(epoch, number) if epoch == self.epoch => self.rows = number,
            Record::Row(..) | Record::Enter(_) => {}
            Record::Starting(_) => self.starting = true,
            Record::Started(epoch) => {
                for sector in &mut self.sectors {
                    *sector = sector.restored();
                }
                // Nothing of what was written before counts any more, and nothing is under way.
                self.flushed = self.issued;
                self.unheard = None;
                (self.epoch, self.starting, self.rows) = (epoch, false, 0);
            }
        }
    }

    fn issue(&mut self, writer: u64, number: u64) {
        if self.unheard.is_some() {
            self.failed.insert((writer, number));
        }
        self.each(writer, number, |sector, content| {
            sector.maybe.push((number + 1, content));
        });
    }

    fn pin(&mut self, writer: u64, number: u64) {
        if self.failed.contains(&(writer, number)) {
            return;
        }
        self.each(writer, number, |sector, content| {
            sector.pin(number + 1, content)
        });
    }

    fn each(&mut self, writer: u64, number: u64, mut act: impl FnMut(&mut Sector, Content)) {
        let op = self.life.op(writer, number);
        let content = match op.kind {
            Kind::Write | Kind::Fua => Content::Host(op.generation),
            Kind::Zero => Content::Zero,
            Kind::Discard => Content::Anything,
        };
        let (from, to) = (
            op.sectors.start - STAMPS.start,
            op.sectors.end - STAMPS.start,
        );
        for sector in &mut self.sectors[from as usize..to as usize] {
            act(sector, content);
        }
    }

    /// Checks what was read from the writers' part of the volume.
    ///
    /// # Errors
    ///
    /// A sector holds what it must not.
    pub fn check(&self, data: &[u8]) -> Result<()> {
        let now = self.compare(data, Sector::clone);
        // All of it is from before, or all of it from after: no mixture.
        if self.starting && now.is_err() && self.compare(data, Sector::restored).is_ok() {
            return Ok(());
        }
        now
    }

    fn compare(&self, data: &[u8], may: impl Fn(&Sector) -> Sector) -> Result<()> {
        let mut wrong = Vec::new();
        let sectors = STAMPS.zip(&self.sectors).zip(data.chunks_exact(BLOCK));
        for ((number, sector), block) in sectors {
            let found = stamps::read(block);
            let may = may(sector);
            if !may.may_hold(number, found) {
                wrong.push(format!("sector {number}: {found} instead of {may:x?}"));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let count = wrong.len();
        wrong.truncate(6);
        bail!("{count} sectors are wrong: {}", wrong.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::host_data;

    const LIFE: Life = Life {
        number: 1,
        block: 1,
        style: super::super::style::Style::Plain,
    };

    /// A volume on which everything is the clone's.
    fn volume() -> Vec<u8> {
        let mut data = vec![0; (STAMPS.end - STAMPS.start) as usize * BLOCK];
        for (sector, block) in STAMPS.zip(data.chunks_exact_mut(BLOCK)) {
            Stamp::initial(Writer::Clone, sector).fill(block);
        }
        data
    }

    fn apply(data: &mut [u8], number: u64) {
        let op = LIFE.op(0, number);
        assert!(
            matches!(op.kind, Kind::Write | Kind::Fua),
            "choose another number"
        );
        let at = (op.sectors.start - STAMPS.start) as usize * BLOCK;
        let written = host_data(op.sectors, op.generation);
        data[at..at + written.len()].copy_from_slice(&written);
    }

    fn write_number() -> u64 {
        let is_write = |number: &u64| LIFE.op(0, *number).kind == Kind::Write;
        (0..100).find(is_write).unwrap()
    }

    #[test]
    fn an_issued_write_may_be_there_and_a_flushed_one_must() {
        let (number, clone) = (write_number(), volume());
        let mut written = clone.clone();
        apply(&mut written, number);
        let mut oracle = Oracle::new(LIFE);
        assert!(oracle.check(&written).is_err(), "nothing was issued");
        oracle.hear(Record::Issue(0, number + 1));
        assert!(oracle.check(&clone).is_ok() && oracle.check(&written).is_ok());
        oracle.hear(Record::Flushed(0, number + 1));
        assert!(oracle.check(&clone).is_err() && oracle.check(&written).is_ok());
    }

    #[test]
    fn a_restore_takes_everything_back_at_once() {
        let (number, clone) = (write_number(), volume());
        let mut written = clone.clone();
        apply(&mut written, number);
        let mut oracle = Oracle::new(LIFE);
        oracle.hear(Record::Issue(0, number + 1));
        oracle.hear(Record::Flushed(0, number + 1));
        oracle.hear(Record::Starting(1));
        assert!(oracle.check(&clone).is_ok() && oracle.check(&written).is_ok());
        let mut mixed = written.clone();
        let at = (LIFE.op(0, number).sectors.start - STAMPS.start) as usize * BLOCK;
        mixed[at..at + BLOCK].copy_from_slice(&clone[at..at + BLOCK]);
        if LIFE.op(0, number).sectors.clone().count() > 1 {
            assert!(oracle.check(&mixed).is_err());
        }
        oracle.hear(Record::Started(1));
        assert!(oracle.check(&clone).is_ok() && oracle.check(&written).is_err());
    }

    #[test]
    fn what_was_dropped_or_has_failed_is_pinned_by_no_later_flush() {
        let (number, clone) = (write_number(), volume());
        let records = [Record::Dropped, Record::Failed(0, number)];
        for lost in records {
            let mut oracle = Oracle::new(LIFE);
            oracle.hear(Record::Issue(0, number + 1));
            oracle.hear(lost);
            oracle.hear(Record::Flushed(0, number + 1));
            assert!(oracle.check(&clone).is_ok(), "{lost:?}");
        }
    }

    /// The target hears of the failure behind it, takes it back, and tells the host by another flush.
    #[test]
    fn what_is_issued_before_a_failure_is_heard_of_is_not_safe() {
        let (number, clone) = (write_number(), volume());
        let mut oracle = Oracle::new(LIFE);
        oracle.hear(Record::Dropped);
        oracle.hear(Record::Issue(0, number + 1));
        oracle.hear(Record::Flushed(0, number + 1));
        assert!(oracle.check(&clone).is_ok());
        let is_write = |number: &u64| LIFE.op(0, *number).kind == Kind::Write;
        let next = (number + 1..).find(is_write).unwrap();
        oracle.hear(Record::Issue(0, next + 1));
        assert!(oracle.check(&clone).is_ok());
        oracle.hear(Record::Flushed(0, next + 1));
        assert!(oracle.check(&clone).is_err(), "it was heard of");
    }

    #[test]
    fn a_restore_goes_back_to_the_clone_that_was_made_last() {
        let (number, clone) = (write_number(), volume());
        let mut written = clone.clone();
        (0..=number).for_each(|number| {
            if LIFE.op(0, number).kind == Kind::Write {
                apply(&mut written, number);
            }
        });
        let mut oracle = Oracle::new(LIFE);
        oracle.hear(Record::Issue(0, number + 1));
        oracle.hear(Record::Identified);
        oracle.hear(Record::Issue(0, number + 2));
        oracle.hear(Record::Started(1));
        assert!(oracle.check(&written).is_ok() && oracle.check(&clone).is_err());
    }

    #[test]
    fn a_row_counts_for_its_own_epoch() {
        let mut oracle = Oracle::new(LIFE);
        oracle.hear(Record::Row(0, 5));
        oracle.hear(Record::Started(1));
        oracle.hear(Record::Row(0, 6));
        assert_eq!((oracle.epoch, oracle.rows), (1, 0));
    }
}
