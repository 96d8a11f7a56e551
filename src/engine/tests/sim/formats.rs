// SPDX-License-Identifier: GPL-2.0

//! What is written comes back, and damage is found.

use super::disk::MetaDisk;
use super::life::Life;
use super::meta::{self, Loaded};
use super::params::Params;
use super::params::Style;
use super::rng::Rng;
use super::world::live;
use crate::engine::base::run::Run;
use crate::engine::base::storage::Heap;
use crate::engine::format::layout::{JOURNAL_BLOCKS, SUPERBLOCKS};
use crate::engine::format::samples::Samples;
use crate::engine::format::{Block, Refusal, BLOCK};
use crate::engine::machine::Engine;
use crate::engine::maps::Role;
use crate::engine::record::checkpoint::{Checkpoint, Purpose, Step};
use crate::engine::record::commit::Commit;
use crate::engine::record::load::NewMetadata;
use crate::engine::request::admit::{Admission, Ticket};
use crate::engine::request::plan::{Op, Request};
use crate::engine::shared::Shared;
use crate::engine::sync::flushes::Settled;
use crate::engine::words::settings::Settings;
use proptest::prelude::*;
use std::rc::Rc;

/// Two map blocks and a bit of a third.
const EXTENTS: u64 = 2 * 32256 + 100;

fn params() -> Params {
    let mut params = Params::any(Style::Mixed, &mut Rng::new(1));
    params.extent_sectors = 8;
    params.length = EXTENTS * 8;
    params
}

struct Device {
    engine: Engine<Heap>,
    shared: Shared<Heap>,
    disk: MetaDisk,
}

impl Device {
    fn formatted() -> Self {
        let (mut engine, shared) = meta::blank(&params(), Settings::default());
        engine.format(&shared, &NewMetadata::plain([7; 16], true));
        engine.clone_is(Samples::plain());
        let disk = MetaDisk::new(engine.layout().blocks());
        let mut device = Self {
            engine,
            shared,
            disk,
        };
        device.checkpoint(Purpose::Suspended);
        device.checkpoint(Purpose::Activated);
        device
    }

    fn checkpoint(&mut self, purpose: Purpose) {
        let (mut block, mut checkpoint) = ([0; BLOCK], Checkpoint::new(purpose));
        loop {
            match checkpoint.next(&mut self.engine, &self.shared, &mut block) {
                Step::Write(place) => self.disk.write(place, Rc::new(block)),
                Step::WriteFua(place) => self.disk.write_fua(place, Rc::new(block)),
                Step::Flush => self.disk.flush(),
                Step::Wait => panic!("nothing is under way"),
                Step::Done => return,
            }
        }
    }

    /// The host's first touch of `run`, through the journal.
    fn touch(&mut self, run: Run) {
        let request = Request {
            op: Op::Write,
            sectors: Run::new(run.start() * 8, run.len() * 8),
            whole: false,
        };
        let mut ticket = Ticket::new(request, 0);
        while self.engine.admit(&self.shared, &mut ticket, 0) != Admission::Go {
            let mut block = [0; BLOCK];
            match self.engine.next_commit(&self.shared, &mut block) {
                Commit::Write(place) => {
                    self.disk.write_fua(place, Rc::new(block));
                    self.engine.commit_written(&self.shared, true, 0);
                }
                Commit::Checkpoint => self.checkpoint(Purpose::Running),
                Commit::Nothing => panic!("it waits for nothing"),
            }
        }
    }

    fn load(&self) -> Result<Loaded, Refusal> {
        load(&self.disk.view())
    }

    fn has_the_bits_of(&self, loaded: &Loaded) -> bool {
        let words = EXTENTS.div_ceil(64);
        self.shared.maps.state() == loaded.shared.maps.state()
            && (0..2).all(|map| {
                (0..words).all(|i| {
                    self.shared.maps.numbered(map).word(i)
                        == loaded.shared.maps.numbered(map).word(i)
                })
            })
    }
}

fn load(device: &[Rc<Block>]) -> Result<Loaded, Refusal> {
    let loaded = meta::load(device, &params(), Settings::default())?;
    Ok(loaded.expect("it is formatted"))
}

fn run() -> impl Strategy<Value = Run> {
    (0..EXTENTS, 1u64..400)
        .prop_map(|(at, len)| Run::new(at, len).intersection(Run::new(0, EXTENTS)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Touches come back from the journal, from a checkpoint, and from both.
    #[test]
    fn bits_come_back(before in prop::collection::vec(run(), 0..20), after in prop::collection::vec(run(), 0..20)) {
        let mut device = Device::formatted();
        before.iter().for_each(|run| device.touch(*run));
        prop_assert!(device.has_the_bits_of(&device.load().unwrap()));
        device.checkpoint(Purpose::Running);
        prop_assert!(device.has_the_bits_of(&device.load().unwrap()));
        after.iter().for_each(|run| device.touch(*run));
        prop_assert!(device.has_the_bits_of(&device.load().unwrap()));
        device.checkpoint(Purpose::Suspended);
        let loaded = device.load().unwrap();
        prop_assert!(device.has_the_bits_of(&loaded));
        prop_assert_eq!(loaded.shared.maps.count(Role::Cdm), device.shared.maps.count(Role::Cdm));
    }

    /// After a clean shutdown a flipped bit is refused wherever something is read.
    #[test]
    fn damage_after_a_clean_shutdown_is_refused(runs in prop::collection::vec(run(), 1..5), at in 0..BLOCK, bit in 0u32..8) {
        let mut device = Device::formatted();
        runs.iter().for_each(|run| device.touch(*run));
        device.checkpoint(Purpose::Suspended);
        let view = device.disk.view();
        let mut places: Vec<u64> = (0..258).collect();
        places.extend((0..).map_while(|i| device.engine.table_place(i)));
        let entries = 0..device.engine.layout().entries();
        places.extend(entries.filter_map(|entry| device.engine.map_place(&device.shared, entry)));
        for place in places {
            let mut damaged = view.clone();
            let mut block = *damaged[place as usize];
            block[at] ^= 1u8 << bit;
            damaged[place as usize] = Rc::new(block);
            prop_assert!(meta::load(&damaged, &params(), Settings::default()).is_err(), "block {}", place);
        }
    }

    /// A damaged journal block with good ones behind it is damage; the last one may be a crash.
    #[test]
    fn only_the_last_journal_block_may_be_torn(count in 2u64..20, which in 0u64..20, at in 0..BLOCK) {
        let mut device = Device::formatted();
        for i in 0..count {
            device.touch(Run::one(i * 2));
        }
        let which = which % count;
        let mut damaged = device.disk.view();
        let place = (2 + which) as usize;
        let mut block = *damaged[place];
        block[at] ^= 1;
        damaged[place] = Rc::new(block);
        match load(&damaged) {
            Ok(loaded) => {
                prop_assert_eq!(which, count - 1);
                prop_assert_eq!(loaded.torn, Some(place as u64));
                prop_assert_eq!(loaded.shared.maps.count(Role::Cdm), count - 1);
            }
            Err(refusal) => {
                prop_assert!(which < count - 1);
                prop_assert_eq!(refusal, Refusal::JournalHole);
            }
        }
    }
}

/// A map block or a slot table that was good once, but is not the one that is named, is damage.
#[test]
fn what_was_good_once_is_refused() {
    let mut device = Device::formatted();
    for i in 0..3 {
        device.touch(Run::one(i * 2));
        device.checkpoint(Purpose::Suspended);
    }
    let view = device.disk.view();
    let stale = |place: u64, old: u64| {
        let mut stale = view.clone();
        stale[place as usize] = view[old as usize].clone();
        load(&stale).err()
    };
    // The two slots of a block lie side by side, and so do the two areas of a table of one block.
    let map = device.engine.map_place(&device.shared, 0).unwrap();
    let maps = SUPERBLOCKS + JOURNAL_BLOCKS + 2;
    let other = maps + ((map - maps) ^ 1);
    assert_eq!(stale(map, other), Some(Refusal::MapMismatch));
    let table = device.engine.table_place(0).unwrap();
    let tables = SUPERBLOCKS + JOURNAL_BLOCKS;
    let other = tables + ((table - tables) ^ 1);
    assert_eq!(stale(table, other), Some(Refusal::TableMismatch));
}

/// A full ring is emptied by a checkpoint, over and over.
#[test]
fn the_ring_goes_around() {
    let mut device = Device::formatted();
    for i in 0..1000 {
        device.touch(Run::one(i * 3));
        if i % 7 == 0 {
            let loaded = device.load().unwrap();
            assert!(device.has_the_bits_of(&loaded), "after touch {i}");
        }
    }
    assert!(device.engine.journal.sequence >= 1000);
}

/// A torn block is zeroed when the metadata is taken up: left as it is, it would be damage after the
/// next clean shutdown.
#[test]
fn a_torn_block_must_be_zeroed() {
    for zeroed in [false, true] {
        let mut device = Device::formatted();
        device.touch(Run::one(1));
        let place = 2 + (device.engine.journal.sequence + 255) % 256;
        let mut block = *device.disk.view()[place as usize];
        block[100] ^= 1;
        device.disk.write_fua(place, Rc::new(block));
        let loaded = device.load().unwrap();
        assert_eq!(loaded.torn, Some(place));
        (device.engine, device.shared) = (loaded.engine, loaded.shared);
        if zeroed {
            device.disk.write_fua(place, Rc::new([0; BLOCK]));
        }
        device.checkpoint(Purpose::Activated);
        device.checkpoint(Purpose::Suspended);
        let refused = device.load().err();
        let expected = (!zeroed).then_some(Refusal::JournalDamagedClean);
        assert_eq!(refused, expected);
    }
}

/// A journal block that reaches the device after the metadata was taken up anew belongs to an
/// activation that is over: its request was never acknowledged, and its clears may be untrue by now.
#[test]
fn a_block_that_comes_late_is_not_replayed() {
    let mut device = Device::formatted();
    device.touch(Run::one(1));
    let before = device.disk.view();
    let place = (2 + device.engine.journal.sequence % 256) as usize;
    device.touch(Run::one(5));
    let late = device.disk.view()[place].clone();
    let mut loaded = load(&before).unwrap();
    std::mem::swap(&mut device.engine, &mut loaded.engine);
    std::mem::swap(&mut device.shared, &mut loaded.shared);
    device.disk.restart(before);
    device.checkpoint(Purpose::Activated);
    device.disk.write_fua(place as u64, late);
    let loaded = device.load().unwrap();
    assert_eq!(loaded.shared.maps.count(Role::Cdm), 1);
}

/// The target's own flush fails with nothing to undo: data of the host's may be gone all the same.
#[test]
fn the_host_hears_of_a_failed_flush_of_the_targets_own() {
    let mut device = Device::formatted();
    let before = device.shared.sync.sync_point();
    device.shared.sync.note_failed_flush();
    let settle = |device: &mut Device, point| device.engine.settle_at(&device.shared, point, true);
    assert!(!device.shared.sync.is_settled(before));
    assert_eq!(settle(&mut device, before), Settled::Waiting);
    device.engine.flush_failed(&device.shared);
    let after = device.shared.sync.sync_point();
    assert_eq!(settle(&mut device, before), Settled::Failed, "sent before");
    assert!(!device.shared.sync.is_settled(after));
    assert_eq!(settle(&mut device, after), Settled::Failed, "sent after");
    assert_eq!(
        settle(&mut device, after),
        Settled::Failed,
        "sent meanwhile"
    );
    let later = device.shared.sync.sync_point();
    assert_eq!(settle(&mut device, later), Settled::Durable, "told once");
    assert!(device.shared.sync.is_settled(later));
}

/// Device-mapper forgets the error of a flush that comes with a FUA write, which follows.
#[test]
fn a_fua_write_behind_a_failed_flush_fails() {
    let mut device = Device::formatted();
    let settle = |device: &mut Device, point| device.engine.settle_at(&device.shared, point, false);
    let before = device.shared.sync.fua_point();
    device.shared.sync.note_failed_flush();
    let behind = device.shared.sync.fua_point();
    device.engine.flush_failed(&device.shared);
    assert_eq!(settle(&mut device, before), Settled::Failed, "under way");
    assert!(!device.shared.sync.is_settled(behind));
    assert_eq!(settle(&mut device, behind), Settled::Failed);
    let later = device.shared.sync.fua_point();
    assert_eq!(settle(&mut device, later), Settled::Durable, "told once");
}

/// The same seed is the same life.
#[test]
fn a_seed_is_a_life() {
    assert_eq!(live(&Life::of(77)).unwrap(), live(&Life::of(77)).unwrap());
}
