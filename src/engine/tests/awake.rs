// SPDX-License-Identifier: GPL-2.0

//! What may be gone on from behind a hibernation, and that the background rests before it.

use super::*;
use crate::engine::base::run::Run;
use crate::engine::copy::choose::{Activity, Background};
use crate::engine::format::event::Event;
use crate::engine::format::journal::{Place, Writer};
use crate::engine::format::samples::Samples;
use crate::engine::format::BLOCK;
use crate::engine::maps::Role;
use crate::engine::record::checkpoint::{Checkpoint, Step};
use crate::engine::request::in_flight::{Ended, Taken};
use crate::engine::restoring::Device;
use crate::engine::sync::cache::Cache;

/// A device, and what is found on it when it was taken up once since.
fn taken_up() -> (Device, Superblock) {
    let device = Device::restoring(0..8);
    let last = &device.engine.superblock;
    let newest = Superblock {
        generation: last.generation + 1,
        activation: last.activation + 1,
        tail: device.engine.journal.sequence,
        chain: device.engine.journal.chain,
        ..*last
    };
    (device, newest)
}

fn record(place: Place) -> Block {
    let mut block = [0; BLOCK];
    let mut writer = Writer::new(&mut block, &place);
    writer.push(Event::Touched(Run::one(3)));
    writer.finish();
    block
}

#[test]
fn what_was_only_taken_up_is_gone_on_from() {
    let (device, newest) = taken_up();
    let last = device.engine.superblock;
    assert_eq!(device.engine.find(&last), Found::AsLeft);
    assert_eq!(device.engine.find(&newest), Found::TakenUp);
    let again = Superblock {
        generation: newest.generation + 1,
        activation: newest.activation + 1,
        ..newest
    };
    assert_eq!(device.engine.find(&again), Found::TakenUp);
}

#[test]
fn what_was_used_meanwhile_is_not() {
    let (device, newest) = taken_up();
    let changes: [fn(&mut Superblock); 9] = [
        |found| found.uuid[0] ^= 1,
        |found| found.generation += 1,
        |found| found.activation += 1,
        |found| found.activation -= 1,
        |found| (found.activation, found.generation) = (0, 0),
        |found| found.tail += 1,
        |found| found.chain ^= 1,
        |found| found.mode = crate::engine::maps::Mode::Tracking,
        |found| found.roles_swapped ^= true,
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut found = newest;
        change(&mut found);
        assert_eq!(device.engine.find(&found), Found::Changed, "change {i}");
    }
}

#[test]
fn what_has_recorded_something_is_not() {
    let (mut device, newest) = taken_up();
    let place = Place {
        uuid: newest.uuid,
        activation: newest.activation,
        sequence: newest.tail,
        chain: newest.chain,
    };
    assert!(!device.engine.follow(&newest, &record(place)));
    assert_ne!(device.engine.superblock.generation, newest.generation);
    let old = Place {
        activation: newest.activation - 1,
        ..place
    };
    let newest = Superblock {
        table_area: 1 - newest.table_area,
        table_crc: newest.table_crc ^ 1,
        ..newest
    };
    assert!(device.engine.follow(&newest, &record(old)));
    let followed = &device.engine.superblock;
    assert_eq!(followed.generation, newest.generation);
    assert_eq!(
        (followed.table_area, followed.table_crc),
        (newest.table_area, newest.table_crc)
    );
}

/// Takes up what a device has, as the kernel that loads an image does, with failures at these steps;
/// returns what it has written last.
fn taken_up_with_failures(cache: Cache, failing: &[Step]) -> Superblock {
    let (mut device, _) = taken_up();
    device.engine.cache = cache;
    device.engine.clone_is(Samples::plain());
    let (mut checkpoint, mut block) = (Checkpoint::activation(None), [0; BLOCK]);
    let mut failing = failing.to_vec();
    loop {
        let Device { engine, shared, .. } = &mut device;
        let step = checkpoint.next(engine, shared, &mut block);
        if step == Step::Done {
            return Superblock::decode(&block).unwrap().unwrap();
        }
        let same = |other: &Step| std::mem::discriminant(other) == std::mem::discriminant(&step);
        let ok = match failing.iter().position(same) {
            Some(i) => {
                failing.remove(i);
                false
            }
            None => true,
        };
        if step == Step::Flush || matches!(step, Step::WriteFua(_)) {
            let sent = engine.metadata_flush_sent(shared);
            engine.metadata_flush_ended(shared, sent, ok);
        }
        checkpoint.done(engine, shared, ok, 0);
    }
}

#[test]
fn who_takes_up_says_in_the_superblock_what_may_be_lost() {
    let lost = |cache, failing: &[Step]| taken_up_with_failures(cache, failing).lost;
    for cache in [Cache::Apart, Cache::Unknown, Cache::Shared] {
        let counts = cache != Cache::Apart;
        assert!(!lost(cache, &[]));
        assert_eq!(lost(cache, &[Step::Flush]), counts);
        assert_eq!(lost(cache, &[Step::WriteFua(0)]), counts, "written again");
    }
}

/// The kernel that has loaded the image has had a flush that failed.
#[test]
fn what_no_flush_has_covered_is_undone_if_it_may_be_lost() {
    for (cache, lost, written) in [
        (Cache::Apart, true, true),
        (Cache::Unknown, false, true),
        (Cache::Unknown, true, false),
        (Cache::Unknown, true, true),
        (Cache::Shared, false, true),
        (Cache::Shared, true, false),
    ] {
        let (mut device, newest) = taken_up();
        device.engine.cache = cache;
        device.copied(0);
        device.flush();
        device.copied(1);
        if written {
            device.shared.maps.set(Role::Prm, Run::one(1));
        }
        let before = device.shared.sync.losses();
        let newest = Superblock { lost, ..newest };
        assert!(device.engine.follow(&newest, &[0; BLOCK]));
        let mut block = [0; BLOCK];
        Checkpoint::activation(None).next(&mut device.engine, &device.shared, &mut block);
        let undone = lost && cache != Cache::Apart;
        let left = device.shared.maps.count(Role::Cdm);
        assert_eq!(left, if undone { 7 } else { 6 }, "{cache:?}");
        let told = undone && (written || cache == Cache::Shared);
        assert_eq!(device.shared.sync.lost_since(before), told, "{cache:?}");
    }
}

/// It was written before the snapshot, and its end is taken in behind it.
#[test]
fn an_overwrite_in_flight_over_the_snapshot_may_be_lost() {
    for lost in [false, true] {
        let (mut device, newest) = taken_up();
        device.engine.cache = Cache::Unknown;
        let mut sent = device.overwrite(0);
        let Device { engine, shared, .. } = &mut device;
        assert_eq!(sent.ended(shared, true), Ended::Queue);
        assert!(engine.follow(&Superblock { lost, ..newest }, &[0; BLOCK]));
        let taken = engine.take_ended(shared, &mut sent);
        assert_eq!(taken, Taken::Answer(!lost));
        let left = shared.maps.count(Role::Cdm);
        assert_eq!(left, if lost { 8 } else { 7 });
    }
}

#[test]
fn the_background_rests_while_the_machine_goes_to_sleep() {
    let mut device = Device::restoring(0..8);
    device.engine.quiesce(false);
    device.engine.rest(true);
    let next = device.engine.next_copy(&device.shared, 1);
    assert_eq!(next, Background::Nothing);
    assert_eq!(device.engine.activity(&device.shared), Activity::Paused);
    device.engine.rest(false);
    let next = device.engine.next_copy(&device.shared, 2);
    assert!(matches!(next, Background::Copy(_)), "{next:?}");
    assert!(device.engine.is_copying_behind());
}
