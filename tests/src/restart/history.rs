// SPDX-License-Identifier: GPL-2.0

//! What is known about the past, and what each sector may hold therefore.

use super::plan::{self, LENGTH, WRITERS};
use super::report::Line;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write;

/// More operations than a writer can have announced without being heard: the guest does not wait
/// until QEMU has passed on what it prints.
const UNHEARD: u64 = 32;

/// What one writer did in one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    /// Operations below this number may have been sent.
    pub issued: u64,
    /// Operations below this number are durable.
    pub flushed: u64,
    /// These are durable too.
    pub fua: BTreeSet<u64>,
}

/// One boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// What was found at its start, where that was not certain before: sector and generation.
    pub pins: Vec<(u64, u64)>,
    /// What was written then.
    pub writers: Vec<Writer>,
}

impl Default for Round {
    fn default() -> Self {
        Self {
            pins: Vec::new(),
            writers: vec![Writer::default(); WRITERS as usize],
        }
    }
}

/// All boots so far since the restore began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(pub Vec<Round>);

/// What a sector may hold: generations of the host, 0 for the clone's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sector {
    /// What is there if nothing later reached the disk.
    pub durable: u64,
    /// Later writes, of which any may be there.
    pub maybe: Vec<u64>,
}

impl Sector {
    /// Whether it may hold this.
    pub fn may_be(&self, generation: u64) -> bool {
        self.durable == generation || self.maybe.contains(&generation)
    }

    /// Whether it can hold but one thing.
    pub fn is_certain(&self) -> bool {
        self.maybe.is_empty()
    }

    fn write(&mut self, generation: u64, durable: bool) {
        if durable {
            self.pin(generation);
        } else {
            self.maybe.push(generation);
        }
    }

    fn pin(&mut self, generation: u64) {
        self.durable = generation;
        self.maybe.clear();
    }
}

impl Round {
    /// Takes in what the guest said.
    pub fn hear(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Pin(sector, generation) => self.pins.push((sector, generation)),
            Line::Issue(writer, number) => self.writer(writer)?.issued = number + 1,
            Line::Flushed(writer, count) => self.writer(writer)?.flushed = count,
            Line::Fua(writer, number) => {
                self.writer(writer)?.fua.insert(number);
            }
            _ => {}
        }
        Ok(())
    }

    /// The machine was killed: what it said last may not have been heard.
    pub fn cut_off(&mut self) {
        for writer in &mut self.writers {
            writer.issued += UNHEARD;
        }
    }

    /// Everything that was sent is durable: the machine was shut down in good order.
    pub fn all_durable(&mut self) {
        for writer in &mut self.writers {
            writer.flushed = writer.issued;
        }
    }

    fn writer(&mut self, writer: u64) -> Result<&mut Writer> {
        self.writers
            .get_mut(writer as usize)
            .context("there is no such writer")
    }
}

impl History {
    /// What each sector may hold.
    pub fn expected(&self) -> Vec<Sector> {
        let mut sectors = vec![Sector::default(); LENGTH as usize];
        for (index, round) in self.0.iter().enumerate() {
            for (sector, generation) in &round.pins {
                sectors[*sector as usize].pin(*generation);
            }
            for (writer, did) in round.writers.iter().enumerate() {
                for number in 0..did.issued {
                    let op = plan::op(index as u64 + 1, writer as u64, number);
                    let durable = number < did.flushed || did.fua.contains(&number);
                    for sector in op.sectors {
                        sectors[sector as usize].write(op.generation, durable);
                    }
                }
            }
        }
        sectors
    }

    /// As text, for the payload.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for round in &self.0 {
            text += "round\n";
            for (sector, generation) in &round.pins {
                let _ = writeln!(text, "pin {sector} {generation}");
            }
            for did in &round.writers {
                let _ = write!(text, "writer {} {}", did.issued, did.flushed);
                for number in &did.fua {
                    let _ = write!(text, " {number}");
                }
                text.push('\n');
            }
        }
        text
    }

    /// Reads what [`History::to_text`] wrote.
    pub fn parse(text: &str) -> Result<Self> {
        let mut history = Self::default();
        for line in text.lines() {
            history
                .parse_line(line)
                .with_context(|| format!("line '{line}'"))?;
        }
        Ok(history)
    }

    fn parse_line(&mut self, line: &str) -> Result<()> {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let numbers: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>()?;
        match (word, numbers.as_slice()) {
            ("round", &[]) => self.0.push(Round {
                writers: Vec::new(),
                ..Round::default()
            }),
            ("pin", &[sector, generation]) => self.last()?.pins.push((sector, generation)),
            ("writer", &[issued, flushed, ref fua @ ..]) => {
                let fua = fua.iter().copied().collect();
                self.last()?.writers.push(Writer {
                    issued,
                    flushed,
                    fua,
                });
            }
            _ => anyhow::bail!("not understood"),
        }
        Ok(())
    }

    fn last(&mut self) -> Result<&mut Round> {
        self.0.last_mut().context("there is no round yet")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(issued: u64, flushed: u64, fua: &[u64]) -> Round {
        let mut round = Round::default();
        round.writers[1] = Writer {
            issued,
            flushed,
            fua: fua.iter().copied().collect(),
        };
        round
    }

    #[test]
    fn text_and_back() {
        let mut first = round(9, 6, &[7]);
        first.pins.push((5, 0));
        let history = History(vec![first, round(3, 0, &[])]);
        assert_eq!(History::parse(&history.to_text()).unwrap(), history);
        assert!(History::parse("writer 1 2").is_err());
    }

    #[test]
    fn only_what_was_flushed_is_certain() {
        let expected = History(vec![round(1, 0, &[])]).expected();
        let op = plan::op(1, 1, 0);
        let sector = &expected[op.sectors.start as usize];
        assert!(sector.may_be(0) && sector.may_be(op.generation) && !sector.is_certain());
        let expected = History(vec![round(1, 1, &[])]).expected();
        let sector = &expected[op.sectors.start as usize];
        assert!(!sector.may_be(0) && sector.may_be(op.generation) && sector.is_certain());
        let untouched = op.sectors.end as usize;
        assert!(expected[untouched].may_be(0) && expected[untouched].is_certain());
    }

    #[test]
    fn a_fua_write_is_certain_and_those_before_it_are_not() {
        let expected = History(vec![round(3, 0, &[2])]).expected();
        let (before, fua) = (plan::op(1, 1, 1), plan::op(1, 1, 2));
        assert!(fua.fua);
        assert!(expected[fua.sectors.start as usize].is_certain());
        if !fua.sectors.contains(&before.sectors.start) {
            assert!(!expected[before.sectors.start as usize].is_certain());
        }
    }

    #[test]
    fn a_pin_ends_doubt() {
        let op = plan::op(1, 1, 0);
        let mut next = Round::default();
        next.pins.push((op.sectors.start, 0));
        let expected = History(vec![round(1, 0, &[]), next]).expected();
        let sector = &expected[op.sectors.start as usize];
        assert!(sector.is_certain() && sector.may_be(0));
    }
}
