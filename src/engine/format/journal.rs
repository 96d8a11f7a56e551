// SPDX-License-Identifier: GPL-2.0

//! A journal block: a batch of events that becomes durable with one write.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | CRC-32C of the rest |
//! | 4 | 4 | magic |
//! | 8 | 16 | UUID of the metadata |
//! | 24 | 8 | number of the activation |
//! | 32 | 8 | sequence number |
//! | 40 | 4 | checksum of the block before |
//! | 44 | 4 | number of events |
//! | 64 | 16 each | events |
//!
//! UUID, activation and the predecessor's checksum tie a block to its place in one history: the
//! tail of an older one is never replayed.

use super::bytes;
use super::event::{Event, EVENT};
use super::{Block, BLOCK, HEADER};

const MAGIC: u32 = u32::from_le_bytes(*b"dRjn");
/// Most events in a block.
pub const EVENTS_PER_BLOCK: usize = (BLOCK - HEADER) / EVENT;

/// Where a block belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// UUID of the metadata.
    pub uuid: [u8; 16],
    /// The activation that wrote it: each time the target takes the metadata up it is a new one.
    pub activation: u64,
    /// Counts blocks; the place in the ring follows from it.
    pub sequence: u64,
    /// Checksum of the block before it.
    pub chain: u32,
}

/// Fills a block event by event.
pub struct Writer<'a> {
    block: &'a mut Block,
    events: usize,
}

impl<'a> Writer<'a> {
    /// Starts an empty block.
    pub fn new(block: &'a mut Block, place: &Place) -> Self {
        bytes::start(block, MAGIC);
        bytes::put(block, 8, &place.uuid);
        bytes::put_u64(block, 24, place.activation);
        bytes::put_u64(block, 32, place.sequence);
        bytes::put_u32(block, 40, place.chain);
        Self { block, events: 0 }
    }

    /// How many more events fit.
    pub fn room(&self) -> usize {
        EVENTS_PER_BLOCK.saturating_sub(self.events)
    }

    /// Adds an event; false if it does not fit.
    pub fn push(&mut self, event: Event) -> bool {
        let at = HEADER.saturating_add(self.events.saturating_mul(EVENT));
        match self.block.get_mut(at..at.saturating_add(EVENT)) {
            Some(out) => event.encode(out),
            None => return false,
        }
        self.events = self.events.saturating_add(1);
        true
    }

    /// Seals the block and returns its checksum, which the next one carries.
    pub fn finish(self) -> u32 {
        bytes::put_u32(self.block, 44, self.events as u32);
        bytes::seal(self.block)
    }
}

/// An intact journal block, of any history.
pub struct Reader<'a> {
    block: &'a Block,
    /// Where it says it belongs.
    pub place: Place,
    /// Its checksum.
    pub crc: u32,
    events: usize,
}

impl<'a> Reader<'a> {
    /// The block, if its checksum is right.
    pub fn new(block: &'a Block) -> Option<Self> {
        let crc = bytes::sealed(block, MAGIC)?;
        Some(Self {
            block,
            place: Place {
                uuid: bytes::get(block, 8),
                activation: bytes::get_u64(block, 24),
                sequence: bytes::get_u64(block, 32),
                chain: bytes::get_u32(block, 40),
            },
            crc,
            events: bytes::get_u32(block, 44) as usize,
        })
    }

    /// Its events in order; `None` stands for what is not one.
    pub fn events(&self) -> impl Iterator<Item = Option<Event>> + 'a {
        let block = self.block;
        // A count beyond the block reads past its end, where there is no event.
        (0..self.events.min(EVENTS_PER_BLOCK.saturating_add(1))).map(move |i| {
            let at = HEADER.saturating_add(i.saturating_mul(EVENT));
            Event::decode(block.get(at..at.saturating_add(EVENT))?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::base::run::Run;
    use proptest::prelude::*;

    fn event() -> impl Strategy<Value = Event> {
        let run = (0u64..1 << 32, 1u64..1 << 32).prop_map(|(a, n)| Run::new(a, n));
        prop_oneof![
            run.clone().prop_map(Event::Touched),
            run.clone().prop_map(Event::Restored),
            run.prop_map(Event::Overwritten),
            Just(Event::RestoreFinished),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(
            events in prop::collection::vec(event(), 0..=EVENTS_PER_BLOCK),
            uuid in any::<[u8; 16]>(), activation in any::<u64>(), sequence in any::<u64>(), chain in any::<u32>(),
            flip in 0..BLOCK * 8,
        ) {
            let place = Place { uuid, activation, sequence, chain };
            let mut block = [0xff; BLOCK];
            let mut writer = Writer::new(&mut block, &place);
            for event in &events { prop_assert!(writer.push(*event)); }
            let crc = writer.finish();
            let reader = Reader::new(&block).unwrap();
            prop_assert_eq!(reader.place, place);
            prop_assert_eq!(reader.crc, crc);
            prop_assert_eq!(reader.events().collect::<Option<Vec<_>>>().unwrap(), events);
            // Any flipped bit is found.
            block[flip / 8] ^= 1 << (flip % 8);
            prop_assert!(Reader::new(&block).is_none());
        }
    }

    #[test]
    fn a_full_block_takes_no_more() {
        let place = Place {
            uuid: [1; 16],
            activation: 1,
            sequence: 1,
            chain: 0,
        };
        let mut block = [0; BLOCK];
        let mut writer = Writer::new(&mut block, &place);
        while writer.room() > 0 {
            assert!(writer.push(Event::RestoreFinished));
        }
        assert!(!writer.push(Event::RestoreFinished));
    }
}
