// SPDX-License-Identifier: GPL-2.0

//! A metadata device taken apart, so that it can be changed and put together again with good
//! checksums: else nothing but the checksums would be tested.

use crate::image::Image;
use crate::superblock::seal;
use arbitrary::Arbitrary;
use dm_restore_engine::base::run::Run;
use dm_restore_engine::format::event::Event;
use dm_restore_engine::format::journal::{Place, Reader, Writer};
use dm_restore_engine::format::layout::{Layout, JOURNAL_BLOCKS};
use dm_restore_engine::format::mapblock::{self, WORDS_PER_BLOCK};
use dm_restore_engine::format::superblock::Superblock;
use dm_restore_engine::format::table::{self, Entry, ENTRIES_PER_BLOCK};
use dm_restore_engine::format::{bytes, Block, BLOCK};
use dm_restore_engine::maps::Mode;
use std::rc::Rc;

const SECTOR: usize = 512;

/// A change. Numbers are taken modulo what there is.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Edit {
    /// A field of the superblocks.
    Superblock(Field, u64),
    /// A field of the older superblock only.
    Older(Field, u64),
    /// An entry of the slot table says something else about where its block is.
    Entry(u16, u8),
    /// A word of a map block.
    Word(u16, u16, u64),
    /// An event more, at the end of a journal block or in a new one.
    Push(u8, Happened),
    /// An event instead of another one.
    Replace(u8, u8, Happened),
    /// A journal block is lost, and its followers come after its predecessor.
    Drop(u8),
    /// A journal block says that it belongs elsewhere.
    Astray(u8, Field, u64),
    /// A byte; the block gets the right checksum, or not.
    Byte(u16, u16, u8, bool),
    /// A block is in another's place, or some sectors of it.
    Block(u16, u16, u8),
    /// A block is zero.
    Zero(u16),
}

/// A field of a superblock, or of what a journal block says about itself.
#[derive(Arbitrary, Clone, Copy, Debug)]
#[expect(missing_docs, reason = "named like the fields")]
pub enum Field {
    Uuid,
    Length,
    ExtentSectors,
    Generation,
    Activation,
    Clean,
    RolesSwapped,
    Lost,
    Mode,
    Tail,
    Chain,
    TableArea,
    BegunWith,
    CloneSectors,
}

/// An event; its run is on the device, or anywhere.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Happened {
    kind: u8,
    anywhere: bool,
    start: u64,
    len: u32,
}

impl Happened {
    fn event(self, extents: u64) -> Event {
        let (start, len) = if self.anywhere {
            (self.start, u64::from(self.len) + 1)
        } else {
            let start = self.start % extents;
            (start, u64::from(self.len) % (extents - start) + 1)
        };
        let run = Run::new(start, len);
        match self.kind % 4 {
            0 => Event::Touched(run),
            1 => Event::Restored(run),
            2 => Event::Overwritten(run),
            _ => Event::RestoreFinished,
        }
    }
}

/// A journal block: what it has, and where it is wrong about itself.
#[derive(Clone, Default)]
struct Batch {
    events: Vec<Event>,
    astray: Option<(Field, u64)>,
}

/// A device taken apart.
pub struct Draft {
    layout: Layout,
    extents: u64,
    superblock: Superblock,
    older: Superblock,
    entries: Vec<Entry>,
    maps: Vec<Option<Block>>,
    journal: Vec<Batch>,
    image: Image,
    /// What is done when it is together again.
    raw: Vec<Edit>,
}

impl Draft {
    /// Takes a good device apart.
    pub fn of(image: &Image) -> Self {
        let layout = Layout::new(image.geometry.extents());
        let decode = |i| Superblock::decode(image.block(i)).ok().flatten();
        let both = [decode(0), decode(1)].map(|found| found.expect("a superblock"));
        let [older, superblock] = if both[0].generation > both[1].generation {
            [both[1], both[0]]
        } else {
            both
        };
        let mut draft = Self {
            layout,
            extents: image.geometry.extents(),
            superblock,
            older,
            entries: Vec::new(),
            maps: Vec::new(),
            journal: Vec::new(),
            image: image.clone(),
            raw: Vec::new(),
        };
        draft.take_maps();
        draft.take_journal();
        draft
    }

    fn take_maps(&mut self) {
        for number in 0..self.layout.entries() {
            let place = self
                .layout
                .table(self.superblock.table_area, number / ENTRIES_PER_BLOCK);
            let block = self.image.block(place);
            let entry = table::decode(block, (number % ENTRIES_PER_BLOCK) as usize);
            let entry = entry.expect("an entry");
            let slot = entry.slot().map(|slot| self.layout.map(number, slot));
            self.maps.push(slot.map(|place| *self.image.block(place)));
            self.entries.push(entry);
        }
    }

    fn take_journal(&mut self) {
        let zero = Rc::new([0; BLOCK]);
        let mut sequence = self.superblock.tail;
        for _ in 0..JOURNAL_BLOCKS {
            let place = self.layout.journal(sequence) as usize;
            let block = self.image.blocks[place].clone();
            let Some(reader) = Reader::new(&block) else {
                break;
            };
            if reader.place.activation != self.superblock.activation
                || reader.place.sequence != sequence
            {
                break;
            }
            self.journal.push(Batch {
                events: reader.events().flatten().collect(),
                astray: None,
            });
            self.image.blocks[place] = zero.clone();
            sequence += 1;
        }
    }

    /// Changes something.
    pub fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Superblock(field, value) => {
                set(&mut self.superblock, field, value);
                // What both must agree on, they agree on.
                if let Field::Uuid | Field::Length | Field::ExtentSectors = field {
                    set(&mut self.older, field, value);
                }
                if let Field::Generation = field {
                    self.older.generation = self.superblock.generation.wrapping_sub(1);
                }
            }
            Edit::Older(field, value) => set(&mut self.older, field, value),
            Edit::Entry(at, place) => self.edit_entry(at, place),
            Edit::Word(at, word, flip) => self.edit_word(at, word, flip),
            Edit::Push(at, happened) => {
                let event = happened.event(self.extents);
                let len = self.journal.len();
                match self.journal.get_mut(usize::from(at) % (len + 1)) {
                    Some(batch) => batch.events.push(event),
                    None => self.journal.push(Batch {
                        events: vec![event],
                        astray: None,
                    }),
                }
            }
            Edit::Replace(at, which, happened) => {
                let event = happened.event(self.extents);
                if let Some(batch) = pick(&mut self.journal, at.into()) {
                    if let Some(place) = pick(&mut batch.events, which.into()) {
                        *place = event;
                    }
                }
            }
            Edit::Drop(at) => {
                if !self.journal.is_empty() {
                    self.journal.remove(usize::from(at) % self.journal.len());
                }
            }
            Edit::Astray(at, field, value) => {
                if let Some(batch) = pick(&mut self.journal, at.into()) {
                    batch.astray = Some((field, value));
                }
            }
            Edit::Byte(..) | Edit::Block(..) | Edit::Zero(_) => self.raw.push(edit),
        }
    }

    fn edit_entry(&mut self, at: u16, place: u8) {
        let number = usize::from(at) % self.entries.len();
        let place = match place % 4 {
            0 => table::Place::Zeros,
            1 => table::Place::Ones,
            2 => table::Place::First,
            _ => table::Place::Second,
        };
        self.entries[number].place = place;
        if self.entries[number].slot().is_some() {
            self.content(number);
        } else {
            self.entries[number].crc = 0;
        }
    }

    /// The content of a map block, which is in a slot from now on.
    fn content(&mut self, number: usize) -> &mut Block {
        if self.entries[number].slot().is_none() {
            self.entries[number].place = table::Place::First;
        }
        self.maps[number].get_or_insert_with(|| {
            let mut block = [0; BLOCK];
            mapblock::start(&mut block, number as u64, |_| 0);
            block
        })
    }

    fn edit_word(&mut self, at: u16, word: u16, flip: u64) {
        let number = usize::from(at) % self.entries.len();
        let words = self.extents.div_ceil(64).min(WORDS_PER_BLOCK);
        // One word more than there should be, at times.
        let word = u64::from(word) % (words + 1).min(WORDS_PER_BLOCK);
        let block = self.content(number);
        let before = *block;
        let flipped = |i| mapblock::word(&before, i) ^ if i == word { flip } else { 0 };
        mapblock::start(block, number as u64, flipped);
    }

    /// Puts it together again.
    pub fn finish(mut self) -> Image {
        self.put_maps();
        self.put_table();
        self.put_journal();
        for superblock in [self.older, self.superblock] {
            let mut block = [0; BLOCK];
            superblock.encode(&mut block);
            self.put(self.layout.superblock(superblock.generation), block);
        }
        for edit in std::mem::take(&mut self.raw) {
            self.put_raw(edit);
        }
        self.image
    }

    fn put(&mut self, place: u64, block: Block) {
        self.image.blocks[place as usize] = Rc::new(block);
    }

    fn put_maps(&mut self) {
        for number in 0..self.entries.len() {
            let entry = self.entries[number];
            if let (Some(slot), Some(mut block)) = (entry.slot(), self.maps[number]) {
                self.entries[number].crc = mapblock::finish(&mut block);
                self.put(self.layout.map(number as u64, slot), block);
            }
        }
    }

    fn put_table(&mut self) {
        // An area that cannot be is the superblock's fault alone.
        let area = self.superblock.table_area.min(1);
        self.superblock.table_crc = 0;
        for index in 0..self.layout.table_blocks() {
            let mut block = [0; BLOCK];
            let first = (index * ENTRIES_PER_BLOCK) as usize;
            let crc = table::encode(&mut block, index, &self.entries[first..]);
            self.superblock.table_crc = table::chain(self.superblock.table_crc, crc);
            self.put(self.layout.table(area, index), block);
        }
    }

    fn put_journal(&mut self) {
        let mut chain = self.superblock.chain;
        for (i, batch) in std::mem::take(&mut self.journal).into_iter().enumerate() {
            let mut says = Superblock {
                tail: self.superblock.tail.wrapping_add(i as u64),
                chain,
                ..self.superblock
            };
            let place = self.layout.journal(says.tail);
            if let Some((field, value)) = batch.astray {
                set(&mut says, field, value);
            }
            let mut block = [0; BLOCK];
            let mut writer = Writer::new(
                &mut block,
                &Place {
                    uuid: says.uuid,
                    activation: says.activation,
                    sequence: says.tail,
                    chain: says.chain,
                },
            );
            for event in batch.events {
                writer.push(event);
            }
            chain = writer.finish();
            self.put(place, block);
        }
    }

    fn put_raw(&mut self, edit: Edit) {
        let blocks = self.image.blocks.len();
        let place = |at: u16| usize::from(at) % blocks;
        match edit {
            Edit::Byte(at, byte, flip, sealed) => {
                let mut block = *self.image.blocks[place(at)];
                block[usize::from(byte) % BLOCK] ^= flip;
                match (sealed, place(at)) {
                    (false, _) => {}
                    (true, 0 | 1) => seal(&mut block),
                    (true, _) => drop(bytes::seal(&mut block)),
                }
                self.put(place(at) as u64, block);
            }
            Edit::Block(from, to, sectors) => {
                let mut block = *self.image.blocks[place(to)];
                let from = self.image.blocks[place(from)].clone();
                for i in (0..8).filter(|i| (sectors >> i) & 1 != 0) {
                    let part = i * SECTOR..(i + 1) * SECTOR;
                    block[part.clone()].copy_from_slice(&from[part]);
                }
                self.put(place(to) as u64, block);
            }
            Edit::Zero(at) => self.put(place(at) as u64, [0; BLOCK]),
            _ => {}
        }
    }
}

fn pick<T>(list: &mut [T], at: usize) -> Option<&mut T> {
    let len = list.len().max(1);
    list.get_mut(at % len)
}

fn set(superblock: &mut Superblock, field: Field, value: u64) {
    match field {
        Field::Uuid => superblock.uuid[..8].copy_from_slice(&value.to_le_bytes()),
        Field::Length => superblock.length = value,
        Field::ExtentSectors => superblock.extent_sectors = value,
        Field::Generation => superblock.generation = value,
        Field::Activation => superblock.activation = value,
        Field::Clean => superblock.clean = value % 2 != 0,
        Field::RolesSwapped => superblock.roles_swapped = value % 2 != 0,
        Field::Lost => superblock.lost = value % 2 != 0,
        Field::Mode => {
            superblock.mode = if value % 2 != 0 {
                Mode::Restoring
            } else {
                Mode::Tracking
            }
        }
        Field::Tail => superblock.tail = value,
        Field::Chain => superblock.chain = value as u32,
        Field::TableArea => superblock.table_area = value % 3,
        Field::BegunWith => superblock.begun_with = value,
        Field::CloneSectors => superblock.clone_sectors = value,
    }
}
