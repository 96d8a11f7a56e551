// SPDX-License-Identifier: GPL-2.0

//! What may be gone on from behind a hibernation, and that the background rests before it.

use super::*;
use crate::copying::{Activity, Background};
use crate::format::event::Event;
use crate::format::journal::{Place, Writer};
use crate::format::BLOCK;
use crate::restoring::Device;
use crate::run::Run;

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
        |found| found.mode = crate::maps::Mode::Tracking,
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
    assert!(device.engine.follow(&newest, &record(old)));
    assert_eq!(device.engine.superblock.generation, newest.generation);
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
