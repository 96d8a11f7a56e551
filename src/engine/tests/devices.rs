// SPDX-License-Identifier: GPL-2.0

//! What is sampled, what is compared, and what is refused.

use super::*;
use crate::engine::base::geometry::Geometry;
use crate::engine::base::storage::Heap;
use crate::engine::format::BLOCK;
use crate::engine::record::awake::Found;
use crate::engine::record::checkpoint::{Checkpoint, Purpose, Step};
use crate::engine::record::load::NewMetadata;
use crate::engine::request::admit::{Admission, Ticket};
use crate::engine::request::plan::{Op, Request};
use crate::engine::words::settings::Settings;

const EXTENT: u64 = 128;
const LENGTH: u64 = 100 * EXTENT + 5;

struct Device {
    engine: Engine<Heap>,
    shared: Shared<Heap>,
}

/// What a device holds, by the first sector of a sample.
type Content<'a> = &'a dyn Fn(u64) -> u8;

fn sample(items: impl Iterator<Item = Item>, content: Content<'_>) -> Samples {
    let mut samples = Samples::default();
    for item in items {
        samples.take(item, &[content(item.sectors(LENGTH).start())]);
    }
    samples
}

impl Device {
    fn new(identical: bool) -> Self {
        let geometry = Geometry::new(LENGTH, EXTENT).unwrap();
        let shared = Shared::new(geometry).unwrap();
        let features = Features::default();
        let mut engine = Engine::new(geometry, features, Settings::default()).unwrap();
        engine.format(&shared, &NewMetadata::plain([1; 16], identical));
        engine.clone_is(Samples::plain());
        Self { engine, shared }
    }

    /// The host writes, or discards, at the start of a block of 4 KiB.
    fn send(&mut self, op: Op, block: u64) {
        let sectors = Run::new(block * 8, 1);
        let request = Request {
            op,
            sectors,
            whole: false,
        };
        if self.engine.any_marked(&self.shared, sectors) {
            if op == Op::Discard {
                self.shared.note_unstable(sectors);
            }
            return;
        }
        let (mut ticket, mut buf) = (Ticket::new(request, 0), [0; BLOCK]);
        while self.engine.admit(&self.shared, &mut ticket, 0) != Admission::Go {
            self.engine.next_commit(&self.shared, &mut buf);
            self.engine.commit_written(&self.shared, true, 0);
        }
    }

    fn checkpoint(&mut self, purpose: Purpose) {
        let (mut checkpoint, mut block) = (Checkpoint::new(purpose), [0; BLOCK]);
        while checkpoint.next(&mut self.engine, &self.shared, &mut block) != Step::Done {}
    }

    fn suspend(&mut self, source: Content<'_>) {
        let wanted = self.engine.source_wanted(&self.shared);
        let samples = sample(wanted.items(), source);
        self.engine.source_is(&self.shared, samples);
        self.checkpoint(Purpose::Suspended);
    }

    fn sample_clone_places(&mut self) {
        let places = self.engine.clone_places_wanted(&self.shared);
        self.engine
            .clone_places_are(&sample(places.items(), &clone));
    }

    fn places(&self) -> Vec<u64> {
        let wanted = self.engine.source_wanted(&self.shared);
        wanted.places.iter().collect()
    }

    fn compare(
        &self,
        [source, clone]: [Content<'_>; 2],
        accepted: Accepted,
    ) -> Result<(), Refusal> {
        let recorded = self.engine.recorded(&self.shared);
        let found = [
            sample(recorded.clone.items(), clone),
            sample(recorded.source.items(), source),
        ];
        let fits_crossed = recorded.fits_crossed(
            &sample(recorded.source.items(), clone),
            &sample(recorded.clone.items(), source),
        );
        let [clone, source] = &found;
        let exchange = if fits_crossed {
            self.engine.exchange(&self.shared, &recorded, clone, source)
        } else {
            Exchange::No
        };
        recorded
            .differences(clone, source)
            .verdict(accepted, exchange)
    }

    fn offer(&self, devices: [Content<'_>; 2]) -> Result<(), Refusal> {
        self.compare(devices, Accepted::default())
    }
}

/// A device that was declared identical and then written to in one block, that nothing samples by
/// chance; what source and clone hold.
const WRITTEN: u64 = 1100 / 8;

fn clone(_: u64) -> u8 {
    1
}

fn source(sector: u64) -> u8 {
    1 + u8::from(sector == WRITTEN * 8)
}

fn shut_down() -> Device {
    let mut device = Device::new(true);
    device
        .engine
        .clone_is(sample(Wanted::of_clone(Places::default()).items(), &clone));
    device.checkpoint(Purpose::Activated);
    device.send(Op::Write, WRITTEN);
    device.suspend(&source);
    device
}

#[test]
fn exchanged_devices_are_refused_whatever_words_are_given() {
    let device = shut_down();
    assert_eq!(device.offer([&source, &clone]), Ok(()));
    assert_eq!(device.offer([&clone, &source]), Err(Refusal::Exchanged));
    let mut all = Accepted {
        clone: true,
        source: true,
        order: false,
    };
    let told = device.compare([&clone, &source], all);
    assert_eq!(told, Err(Refusal::Exchanged));
    // The clone was not sampled where they differ, so the caller may know better.
    all.order = true;
    assert_eq!(device.compare([&clone, &source], all), Ok(()));
}

/// Where each is sampled where they differ, nobody knows better.
#[test]
fn devices_that_are_certainly_exchanged_are_refused_with_all_words() {
    let mut device = shut_down();
    device.sample_clone_places();
    device.suspend(&source);
    let all = Accepted {
        clone: true,
        source: true,
        order: true,
    };
    assert_eq!(device.compare([&source, &clone], all), Ok(()));
    let told = device.compare([&clone, &source], all);
    assert_eq!(told, Err(Refusal::Exchanged));
}

/// Source and clone are the same wherever they were sampled. Then the source is changed: it is not the
/// clone because of that.
#[test]
fn a_source_that_was_changed_behind_a_restore_is_not_exchanged() {
    let mut device = shut_down();
    let marked = Run::one(WRITTEN * 8 / EXTENT);
    device.shared.maps.clear(Role::Cdm, marked);
    device.suspend(&clone);
    let changed = |sector: u64| source(sector);
    let told = device.offer([&changed, &clone]);
    assert_eq!(told, Err(Refusal::SourceContent));
    let different = Accepted {
        source: true,
        ..Accepted::default()
    };
    assert_eq!(device.compare([&changed, &clone], different), Ok(()));
}

/// What the host has written before is sampled of the clone when a restore begins.
#[test]
fn exchanged_devices_are_refused_after_a_crash_in_a_restore() {
    let mut device = shut_down();
    device.sample_clone_places();
    let (mut begun, mut block) = (device.engine.begin_restore(&device.shared), [0; BLOCK]);
    while begun.next(&mut device.engine, &device.shared, &mut block) != Step::Done {}
    device.checkpoint(Purpose::Activated);
    assert!(device.engine.recorded(&device.shared).source.is_empty());
    assert_eq!(device.offer([&source, &clone]), Ok(()));
    let told = device.offer([&clone, &source]);
    assert_eq!(told, Err(Refusal::Exchanged));
    let accept = Accepted {
        clone: true,
        ..Accepted::default()
    };
    let told = device.compare([&clone, &source], accept);
    assert_eq!(told, Err(Refusal::Exchanged), "no clone that was touched");
}

/// What a restore has copied tells nothing any more, so places lie all over the device.
#[test]
fn places_of_the_clone_are_not_all_where_a_restore_begins() {
    let device = Device::new(false);
    let places = device.engine.clone_places_wanted(&device.shared);
    let extents: Vec<u64> = places.iter().map(|block| block * 8 / EXTENT).collect();
    assert_eq!(extents, [85, 68, 51]);
}

#[test]
fn words_that_cannot_be_right_are_known_by_the_superblock() {
    let check = |mode, clean| {
        let words = |assume_different, start_over| Features {
            assume_different,
            start_over,
            ..Features::default()
        };
        [(true, false), (false, true)]
            .map(|(different, over)| words(different, over).check_mode(mode, clean).err())
    };
    let over = Some(Refusal::StartOverWhileTracking);
    let different = Some(Refusal::DifferentWhileRestoring);
    assert_eq!(check(Mode::Tracking, true), [None, over]);
    assert_eq!(check(Mode::Tracking, false), [None, over]);
    assert_eq!(check(Mode::Restoring, true), [different, None]);
    assert_eq!(
        check(Mode::Restoring, false),
        [None, None],
        "it may be over"
    );
}

#[test]
fn each_difference_is_refused_with_its_own_reason() {
    let device = shut_down();
    let other = |_: u64| 9;
    let told = device.offer([&other, &clone]);
    assert_eq!(told, Err(Refusal::SourceContent));
    let told = device.offer([&source, &other]);
    assert_eq!(told, Err(Refusal::CloneContent));
    let accepted = |clone, source| Accepted {
        clone,
        source,
        order: false,
    };
    let told = device.compare([&other, &clone], accepted(false, true));
    assert_eq!(told, Ok(()));
    let told = device.compare([&other, &clone], accepted(true, false));
    assert_eq!(told, Err(Refusal::SourceContent));
    let told = device.compare([&source, &other], accepted(true, false));
    assert_eq!(told, Ok(()));
}

/// An older clone that differs from the recorded one where the source had been changed only.
#[test]
fn an_older_clone_is_told_by_where_it_differed() {
    let mut device = shut_down();
    let wanted = device.engine.clone_wanted(&device.shared);
    assert_eq!(wanted.places.iter().next(), Some(WRITTEN));
    device.engine.clone_is(sample(wanted.items(), &source));
    device.suspend(&source);
    assert_eq!(device.offer([&source, &source]), Ok(()));
    let told = device.offer([&source, &clone]);
    assert_eq!(told, Err(Refusal::CloneContent));
}

/// The host has written since the samples were taken, then the power went.
#[test]
fn after_a_crash_what_may_have_been_written_is_not_compared() {
    let mut device = shut_down();
    device.checkpoint(Purpose::Activated);
    let written = |sector: u64| source(sector) + u8::from(sector == WRITTEN * 8);
    assert_eq!(device.offer([&written, &clone]), Ok(()));
    let changed = |sector: u64| source(sector) + u8::from(sector > LENGTH - 300);
    let told = device.offer([&changed, &clone]);
    assert_eq!(told, Err(Refusal::SourceContent), "no bit is set there");
}

/// Before the journal is replayed nobody knows where the host may have written.
#[test]
fn by_the_superblock_alone_the_source_is_compared_after_a_clean_shutdown_only() {
    let mut device = shut_down();
    let superblock = device.engine.superblock;
    let before = Recorded::before_load(&superblock);
    assert!(!before.source.is_empty() && before.source == superblock.source);
    assert_eq!(before.clone, superblock.clone);
    device.checkpoint(Purpose::Activated);
    let before = Recorded::before_load(&device.engine.superblock);
    assert!(before.source.is_empty());
    assert_eq!(before.clone, superblock.clone);
}

/// A restore changes the source where no bit is set in the end.
#[test]
fn after_a_crash_in_a_restore_the_source_is_not_compared() {
    let mut device = shut_down();
    device.checkpoint(Purpose::Activated);
    device.send(Op::Write, 0);
    device.suspend(&source);
    let begun = device.engine.begin_restore(&device.shared);
    let (mut begun, mut block) = (begun, [0; BLOCK]);
    while begun.next(&mut device.engine, &device.shared, &mut block) != Step::Done {}
    let other = |_: u64| 9;
    let told = device.offer([&other, &clone]);
    assert_eq!(told, Err(Refusal::SourceContent), "still clean");
    device.checkpoint(Purpose::Activated);
    assert_eq!(device.offer([&other, &clone]), Ok(()));
}

#[test]
fn places_are_those_last_touched_and_then_where_bits_are_set() {
    let mut device = Device::new(true);
    for block in [160, 320, 480] {
        device.send(Op::Write, block);
    }
    // The same extents: no first touches.
    device.send(Op::Write, 161);
    assert_eq!(device.places(), [480, 320, 160]);
    device.shared.maps.set(Role::Cdm, Run::new(2, 2));
    assert_eq!(device.places(), [480, 320, 160, 32, 48]);
}

#[test]
fn nothing_that_was_discarded_is_sampled() {
    let mut device = Device::new(true);
    for block in [160, 320] {
        device.send(Op::Write, block);
    }
    device.send(Op::Discard, 160);
    assert_eq!(device.places(), [320]);
    let ends = |device: &Device| device.engine.source_wanted(&device.shared).ends;
    assert_eq!(ends(&device), [true, true]);
    device.send(Op::Discard, 0);
    assert_eq!(ends(&device), [false, true]);
    assert_eq!(device.places(), [320], "a bit may mean discarded sectors");
}

#[test]
fn after_a_crash_what_may_have_been_discarded_is_not_sampled() {
    let mut device = shut_down();
    device.send(Op::Write, 3);
    device.checkpoint(Purpose::Activated);
    device.engine.assume_unstable(&device.shared);
    let wanted = device.engine.source_wanted(&device.shared);
    assert_eq!(wanted.ends, [false, true]);
    assert_eq!(wanted.places.iter().count(), 0);
}

#[test]
fn what_is_declared_fills_the_maps() {
    let all = Geometry::new(LENGTH, EXTENT).unwrap().extents();
    let declared = |restoring: bool, words: &str| {
        let mut device = shut_down();
        if restoring {
            let (mut begun, mut block) = (device.engine.begin_restore(&device.shared), [0; BLOCK]);
            while begun.next(&mut device.engine, &device.shared, &mut block) != Step::Done {}
            device.shared.maps.set(Role::Prm, Run::one(50));
        }
        let line = format!("1 {words}");
        let words = line.split_whitespace().map(str::as_bytes);
        device.engine.features = crate::engine::words::settings::parse(words).unwrap().0;
        device.engine.declare(&device.shared)?;
        let maps = &device.shared.maps;
        Ok((
            maps.count(Role::Cdm),
            maps.count(Role::Prm),
            device.engine.superblock.begun_with,
        ))
    };
    assert_eq!(declared(false, "accept_clone"), Ok((all, 0, 0)));
    assert_eq!(declared(false, "assume_different"), Ok((all, 0, 0)));
    assert_eq!(declared(false, "assume_same"), Ok((1, 0, 0)));
    assert_eq!(
        declared(false, "start_over"),
        Err(Refusal::StartOverWhileTracking)
    );
    assert_eq!(declared(true, "accept_clone"), Ok((all, 0, all)));
    assert_eq!(declared(true, "start_over"), Ok((all, 0, all)));
    assert_eq!(declared(true, "assume_same"), Ok((1, 1, 1)));
    assert_eq!(
        declared(true, "assume_different"),
        Err(Refusal::DifferentWhileRestoring)
    );
}

/// The superblock says that the shutdown was clean until an activation is durable.
#[test]
fn nothing_is_written_to_a_source_that_counts_as_shut_down() {
    let mut device = shut_down();
    device.checkpoint(Purpose::Activated);
    device.engine.go_on(&device.shared);
    assert!(!device.shared.maps.state().failed);
    device.suspend(&source);
    let failed = Checkpoint::activation(None);
    failed.give_up(&mut device.engine, &device.shared);
    device.engine.go_on(&device.shared);
    assert!(device.shared.maps.state().failed);
}

/// What the kernel that loads a hibernation image writes, by these words; and what the image finds then.
fn found_behind_hibernation(words: Features) -> Found {
    let mut device = shut_down();
    device.checkpoint(Purpose::Activated);
    let left = device.engine.superblock;
    device.engine.features = words;
    if words.declare() {
        device.engine.declare(&device.shared).unwrap();
    } else {
        device.sample_clone_places();
    }
    device.checkpoint(Purpose::Activated);
    let newest = device.engine.superblock;
    device.engine.superblock = left;
    device.engine.find(&newest)
}

/// The maps are not what they were in memory.
#[test]
fn behind_a_hibernation_a_declaration_is_no_mere_activation() {
    assert_eq!(
        found_behind_hibernation(Features::default()),
        Found::TakenUp
    );
    let words = Features {
        assume_different: true,
        ..Features::default()
    };
    assert_eq!(found_behind_hibernation(words), Found::Changed);
}

/// Half of the places are those by which an older clone is told, as long as it is the clone.
#[test]
fn places_from_when_it_became_the_clone_are_kept() {
    let mut device = Device::new(false);
    let wanted = device.engine.clone_wanted(&device.shared);
    device.engine.clone_is(sample(wanted.items(), &clone));
    let before: Vec<u64> = wanted.places.iter().collect();
    let all = device.engine.geometry().all();
    device.shared.maps.clear(Role::Cdm, all);
    device.send(Op::Write, WRITTEN);
    device.sample_clone_places();
    let places: Vec<u64> = device.engine.superblock.clone.places().iter().collect();
    assert_eq!(places[..3], before[..3]);
    // Where it was written, and the start of the extent.
    assert_eq!(places[3..5], [WRITTEN, WRITTEN / 16 * 16]);
    assert_eq!(places[5..], before[5..]);
}
