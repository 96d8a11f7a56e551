// SPDX-License-Identifier: GPL-2.0

//! What a read may return when other requests are under way on the same sectors.
//!
//! Each operation that changes content takes effect at some instant between its begin and its
//! end. So a sector holds what an operation has left there that is not *superseded*: no other one
//! began after its end. A read may return that of any operation that is not superseded by one that
//! had ended when the read began. The start of a restore is such an operation, on every sector.
//! While one changes a sector, a read may also find it torn: made of what it may return. On a disk of
//! memory it stays so behind two that were under way at the same time.
//!
//! Time is a count of begins and ends. One lock, held for moments, never across I/O.

use super::torn;
use crate::disks::{is_stamped, Part};
use crate::stamps::{self, Found, Stamp, Writer, BLOCK};
use anyhow::{bail, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

/// What an operation leaves on a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What the source held at first.
    Source,
    /// What the clone holds.
    Clone,
    /// The stamp of a host write, with the operation's number as its generation.
    Data,
    /// Zeros.
    Zero,
    /// Anything that was ever there, or zeros: it was discarded.
    Undefined,
}

/// An operation that has not ended.
const UNDER_WAY: u64 = u64::MAX;

#[derive(Clone, Debug)]
struct Operation {
    effect: Effect,
    sectors: Range<u64>,
    begin: u64,
    end: u64,
}

/// Everything that has happened to a device and may still be seen.
pub struct History {
    source: Part,
    clone: Part,
    state: Mutex<State>,
}

struct State {
    now: u64,
    operations: Vec<Operation>,
    /// For each sector the operations that may still be seen.
    sectors: Vec<Vec<u32>>,
    /// When the reads under way began, and how many at that time.
    reads: BTreeMap<u64, u32>,
    /// Sectors that reads have found torn, as they may.
    torn: u64,
}

/// A read under way.
pub struct Reading {
    begin: u64,
}

impl History {
    /// A device of so many sectors on which everything is the source's.
    pub fn new(source: &Part, clone: &Part, sectors: u64) -> Self {
        let first = Operation {
            effect: Effect::Source,
            sectors: 0..sectors,
            begin: 0,
            end: 0,
        };
        Self {
            source: source.clone(),
            clone: clone.clone(),
            state: Mutex::new(State {
                now: 0,
                operations: vec![first],
                sectors: vec![vec![0]; sectors as usize],
                reads: BTreeMap::new(),
                torn: 0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked has failed its test; what is noted here stands.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// An operation on `sectors` begins. Its number is the generation of what it writes.
    pub fn begin(&self, effect: Effect, sectors: Range<u64>) -> u64 {
        self.state().begin(effect, sectors)
    }

    /// The operation has ended, well.
    pub fn end(&self, number: u64) {
        let mut state = self.state();
        let now = state.tick();
        state.operations[number as usize].end = now;
    }

    /// How many sectors reads have found torn, as they may.
    pub fn torn(&self) -> u64 {
        self.state().torn
    }

    /// A read begins.
    pub fn begin_read(&self) -> Reading {
        let mut state = self.state();
        let begin = state.tick();
        *state.reads.entry(begin).or_default() += 1;
        Reading { begin }
    }

    /// The read has ended, with this data from `sectors`.
    pub fn end_read(&self, read: Reading, sectors: Range<u64>, data: &[u8]) -> Result<()> {
        let blocks = data.chunks_exact(BLOCK);
        let found: Vec<(&[u8], Found)> = blocks.map(|it| (it, stamps::read(it))).collect();
        let mut state = self.state();
        let mut wrong = Vec::new();
        for (sector, (block, found)) in sectors.clone().zip(found) {
            let allowed = match found {
                Found::Garbage => self.may_be_torn(&state, sector, block, read.begin),
                whole => self.allows(&state, sector, whole, read.begin),
            };
            if allowed {
                state.torn += u64::from(found == Found::Garbage);
            } else {
                let found = match found {
                    Found::Garbage => torn::describe(block, &self.ever_at(&state, sector)),
                    whole => whole.to_string(),
                };
                let possible = state.possible(sector, read.begin);
                wrong.push(format!(
                    "sector {sector}: found {found}, possible are {possible}"
                ));
            }
        }
        state.ended(read);
        drop(state);
        if wrong.is_empty() {
            return Ok(());
        }
        let count = wrong.len();
        wrong.truncate(4);
        bail!(
            "{count} of sectors {sectors:?} are wrong: {}",
            wrong.join("; ")
        )
    }

    fn allows(&self, state: &State, sector: u64, found: Found, read_at: u64) -> bool {
        let mut seen = state.visible(sector, read_at);
        seen.any(|number| match self.left_by(state, number, sector) {
            Some(left) => found == left,
            None => self.was_ever_at(sector, found),
        })
    }

    /// Whether it was being changed, and each word is of what a read may return. Of a disk of memory,
    /// which copies word by word, also whether two operations have changed it at the same time.
    fn may_be_torn(&self, state: &State, sector: u64, block: &[u8], read_at: u64) -> bool {
        let seen: Vec<u32> = state.visible(sector, read_at).collect();
        let changes = seen.iter().any(|number| state.changes_at(*number, read_at));
        let was_mixed = self.source.in_memory && seen.len() > 1;
        if !changes && !was_mixed {
            return false;
        }
        let contents: Option<Vec<Found>> = seen
            .iter()
            .map(|number| self.left_by(state, *number, sector))
            .collect();
        let contents = contents.unwrap_or_else(|| self.ever_at(state, sector));
        torn::is_mixture(block, &contents)
    }

    /// What an operation leaves on a sector, if that is known.
    fn left_by(&self, state: &State, number: u32, sector: u64) -> Option<Found> {
        match state.operations[number as usize].effect {
            Effect::Source => Some(self.initial(Writer::Source, sector)),
            Effect::Clone => Some(self.initial(Writer::Clone, sector)),
            Effect::Zero => Some(Found::Zero),
            Effect::Data => Some(host_stamp(sector, u64::from(number))),
            Effect::Undefined => None,
        }
    }

    /// All that any operation has ever left on a sector, and zeros.
    fn ever_at(&self, state: &State, sector: u64) -> Vec<Found> {
        let numbers = (0..).zip(&state.operations);
        let there = numbers.filter(|(_, operation)| operation.sectors.contains(&sector));
        let left = there.filter_map(|(number, _)| self.left_by(state, number, sector));
        std::iter::once(Found::Zero).chain(left).collect()
    }

    fn initial(&self, writer: Writer, sector: u64) -> Found {
        let part = match writer {
            Writer::Clone => &self.clone,
            _ => &self.source,
        };
        let at = part.start + sector;
        if is_stamped(at) {
            Found::Stamp(Stamp::initial(writer, at))
        } else {
            Found::Zero
        }
    }

    /// What can be on a sector that was discarded: something of its own, or zeros.
    fn was_ever_at(&self, sector: u64, found: Found) -> bool {
        match found {
            Found::Garbage => false,
            Found::Zero => true,
            Found::Stamp(stamp) if stamp.writer == Writer::Host => stamp.sector == sector,
            Found::Stamp(stamp) => found == self.initial(stamp.writer, sector),
        }
    }
}

fn host_stamp(sector: u64, generation: u64) -> Found {
    Found::Stamp(Stamp {
        writer: Writer::Host,
        sector,
        generation,
    })
}

impl State {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn begin(&mut self, effect: Effect, sectors: Range<u64>) -> u64 {
        let begin = self.tick();
        let number = self.operations.len();
        self.operations.push(Operation {
            effect,
            sectors: sectors.clone(),
            begin,
            end: UNDER_WAY,
        });
        let oldest_read = self.reads.keys().next().copied().unwrap_or(begin);
        for sector in sectors {
            self.forget(sector, oldest_read);
            self.sectors[sector as usize].push(number as u32);
        }
        number as u64
    }

    /// Drops what no read can see any more.
    fn forget(&mut self, sector: u64, oldest_read: u64) {
        let list = &self.sectors[sector as usize];
        if list.len() < 2 {
            return;
        }
        let seen: Vec<u32> = self.visible(sector, oldest_read).collect();
        self.sectors[sector as usize] = seen;
    }

    /// The operations whose effect a read that began at `read_at` may see.
    fn visible(&self, sector: u64, read_at: u64) -> impl Iterator<Item = u32> + '_ {
        let list = &self.sectors[sector as usize];
        let operation = |number: u32| &self.operations[number as usize];
        // What ended before the latest begin of all that had ended by then is superseded.
        let ended = list.iter().map(|number| operation(*number));
        let latest = ended
            .filter(|operation| operation.end < read_at)
            .map(|operation| operation.begin)
            .max()
            .unwrap_or(0);
        let numbers = list.iter().copied();
        numbers.filter(move |number| operation(*number).end >= latest)
    }

    /// Whether an operation changed its sectors when a read that began at `read_at` was under way.
    fn changes_at(&self, number: u32, read_at: u64) -> bool {
        let Operation { effect, end, .. } = &self.operations[number as usize];
        *end > read_at && !matches!(effect, Effect::Source | Effect::Clone)
    }

    fn possible(&self, sector: u64, read_at: u64) -> String {
        let describe = |number: u32| {
            let Operation {
                effect, begin, end, ..
            } = &self.operations[number as usize];
            let end = if *end == UNDER_WAY {
                "now".to_string()
            } else {
                end.to_string()
            };
            format!("{effect:?} {number} ({begin} to {end})")
        };
        let all: Vec<String> = self.visible(sector, read_at).map(describe).collect();
        format!("{} for a read that began at {read_at}", all.join(", "))
    }

    fn ended(&mut self, read: Reading) {
        if let Some(count) = self.reads.get_mut(&read.begin) {
            *count -= 1;
            if *count == 0 {
                self.reads.remove(&read.begin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disks::{Blocks, Disk};
    use crate::model::host_data;

    fn history() -> History {
        history_of(false)
    }

    fn history_of(in_memory: bool) -> History {
        let part = |disk| Part {
            disk,
            blocks: Blocks::B512,
            start: 0,
            sectors: 8,
            in_memory,
        };
        History::new(&part(Disk::Source), &part(Disk::Clone), 8)
    }

    fn clone_data() -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        Stamp::initial(Writer::Clone, 0).fill(&mut block);
        block
    }

    fn sees(history: &History, data: &[u8]) -> bool {
        let read = history.begin_read();
        history.end_read(read, 0..1, data).is_ok()
    }

    #[test]
    fn the_last_write_is_seen_and_no_older_one() {
        let history = history();
        let old = history.begin(Effect::Data, 0..2);
        history.end(old);
        assert!(sees(&history, &host_data(0..1, old)));
        let new = history.begin(Effect::Data, 0..1);
        assert!(sees(&history, &host_data(0..1, old)));
        assert!(sees(&history, &host_data(0..1, new)));
        history.end(new);
        assert!(!sees(&history, &host_data(0..1, old)));
        assert!(!sees(&history, &clone_data()));
        assert!(sees(&history, &host_data(0..1, new)));
    }

    #[test]
    fn of_writes_at_the_same_time_either_may_be_last() {
        let history = history();
        let first = history.begin(Effect::Data, 0..1);
        let second = history.begin(Effect::Data, 0..1);
        history.end(first);
        history.end(second);
        assert!(sees(&history, &host_data(0..1, first)));
        assert!(sees(&history, &host_data(0..1, second)));
        assert!(!sees(&history, &clone_data()));
    }

    #[test]
    fn a_read_may_see_what_was_there_when_it_began() {
        let history = history();
        let read = history.begin_read();
        for _ in 0..3 {
            let write = history.begin(Effect::Data, 0..1);
            history.end(write);
        }
        let mut first = vec![0; BLOCK];
        Stamp::initial(Writer::Source, 0).fill(&mut first);
        history.end_read(read, 0..1, &first).unwrap();
        assert!(!sees(&history, &first));
    }

    #[test]
    fn a_restore_takes_back_what_had_ended() {
        let history = history();
        let before = history.begin(Effect::Data, 0..1);
        history.end(before);
        let across = history.begin(Effect::Data, 0..1);
        let restore = history.begin(Effect::Clone, 0..8);
        history.end(restore);
        assert!(!sees(&history, &host_data(0..1, before)));
        assert!(sees(&history, &clone_data()));
        assert!(sees(&history, &host_data(0..1, across)));
    }

    #[test]
    fn a_disk_of_memory_mixes_writes_at_the_same_time() {
        for in_memory in [false, true] {
            let history = history_of(in_memory);
            let first = history.begin(Effect::Data, 0..1);
            let second = history.begin(Effect::Data, 0..1);
            history.end(first);
            history.end(second);
            let [first, second] = [first, second].map(|number| host_data(0..1, number));
            let mixed = mixture(&first, &second);
            assert_eq!(sees(&history, &mixed), in_memory);
            assert!(!sees(&history, &mixture(&first, &clone_data())));
            history.end(history.begin(Effect::Data, 0..1));
            assert!(!sees(&history, &mixed));
        }
    }

    fn mixture(first: &[u8], second: &[u8]) -> Vec<u8> {
        [&first[..BLOCK / 2], &second[BLOCK / 2..]].concat()
    }

    #[test]
    fn torn_only_while_it_is_written() {
        let history = history();
        let first = history.begin(Effect::Data, 0..1);
        history.end(first);
        let second = history.begin(Effect::Data, 0..1);
        let torn = mixture(&host_data(0..1, first), &host_data(0..1, second));
        assert!(sees(&history, &torn));
        assert!(!sees(&history, &mixture(&torn, &clone_data())));
        assert!(!sees(&history, &vec![7; BLOCK]));
        history.end(second);
        assert!(!sees(&history, &torn));
    }

    #[test]
    fn torn_while_it_is_discarded() {
        let history = history();
        let write = history.begin(Effect::Data, 0..1);
        history.end(write);
        let torn = mixture(&host_data(0..1, write), &[0; BLOCK]);
        assert!(!sees(&history, &torn));
        let discard = history.begin(Effect::Undefined, 0..1);
        assert!(sees(&history, &torn));
        assert!(!sees(&history, &mixture(&torn, &clone_data())));
        history.end(discard);
        assert!(!sees(&history, &torn));
    }

    #[test]
    fn behind_a_discard_torn_with_whatever_was_there() {
        let history = history();
        let [old, new] = [0, 1].map(|_| {
            let write = history.begin(Effect::Data, 0..1);
            history.end(write);
            write
        });
        let discard = history.begin(Effect::Undefined, 0..1);
        history.end(discard);
        let torn = mixture(&host_data(0..1, old), &host_data(0..1, new));
        assert!(!sees(&history, &torn));
        history.begin(Effect::Zero, 0..1);
        assert!(sees(&history, &torn));
    }
}
