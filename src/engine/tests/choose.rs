// SPDX-License-Identifier: GPL-2.0

//! What the host has read from the clone is copied next.

use super::*;
use crate::engine::restoring::{Device, EXTENT, EXTENTS};

const NOW: u64 = 1_000_000_000;

fn read(device: &Device, extent: u64) -> bool {
    device.shared.read_from_clone(Run::new(extent * EXTENT, 1))
}

/// The extents of the next copy beside a busy host, if there is one now.
fn next(device: &mut Device) -> Option<(u64, u64)> {
    device.shared.host_latency.request(|| NOW);
    match device.engine.next_copy(&device.shared, NOW) {
        Background::Copy(copy) => {
            Some((copy.sectors.start() / EXTENT, copy.sectors.len() / EXTENT))
        }
        Background::NotBefore(_) | Background::Nothing => None,
    }
}

/// All extents are unrestored, the host is busy, and the background has had its turn.
fn beside_a_busy_host() -> Device {
    let mut device = Device::restoring(0..EXTENTS);
    device.engine.quiesce(false);
    device.engine.settings.copy_min_rate = 0;
    assert!(!read(&device, 9), "nobody has looked yet");
    // 128 KiB: 32 extents of 4 KiB.
    assert_eq!(next(&mut device), Some((0, 32)));
    assert_eq!(next(&mut device), None);
    device
}

#[test]
fn what_was_read_is_copied_out_of_turn_and_once() {
    let mut device = beside_a_busy_host();
    assert!(read(&device, 500) && !read(&device, 500));
    assert!(!read(&device, 500), "known");
    assert!(read(&device, 3), "under way");
    assert_eq!(next(&mut device), Some((500, 1)));
    assert_eq!(next(&mut device), None);
}

#[test]
fn no_more_jobs_than_permitted() {
    let mut device = beside_a_busy_host();
    device.engine.settings.copy_jobs = 3;
    device.engine.settings.copy_size = 8;
    (500..520).for_each(|extent| assert!(read(&device, extent)));
    let copies = std::iter::from_fn(|| next(&mut device)).count();
    // The background's own is under way.
    assert_eq!(copies, 3 * 4 - 1);
}

#[test]
fn what_was_read_may_take_all_places() {
    let mut device = beside_a_busy_host();
    (500..564).for_each(|extent| assert!(read(&device, extent)));
    let copies = std::iter::from_fn(|| next(&mut device)).count();
    assert_eq!(copies, BACKGROUND_JOBS - 1);
}

/// The copies that an idle host sees started.
fn all_next(device: &mut Device) -> Vec<Copy> {
    let copies = std::iter::from_fn(|| match device.engine.next_copy(&device.shared, NOW) {
        Background::Copy(copy) => Some(copy),
        Background::NotBefore(_) | Background::Nothing => None,
    });
    copies.collect()
}

#[test]
fn small_copies_are_as_many_as_large_ones_have_sectors() {
    let mut device = Device::restoring((0..EXTENTS).step_by(2));
    device.engine.quiesce(false);
    device.engine.settings.copy_jobs = 3;
    device.engine.settings.copy_size = 32;
    // Three of four extents of 4 KiB have as many sectors as twelve of one.
    let copies = all_next(&mut device);
    assert_eq!(copies.len(), 12);
    let done = copies[0].job;
    device
        .engine
        .copy_done(&device.shared, done, CopyResult::default(), NOW);
    assert_eq!(all_next(&mut device).len(), 1);
}

#[test]
fn places_are_left_to_what_the_host_reads() {
    let mut device = Device::restoring((0..EXTENTS).step_by(2));
    device.engine.quiesce(false);
    assert_eq!(all_next(&mut device).len(), BACKGROUND_JOBS / 2);
    device.engine.settings.copy_jobs = 64;
    assert_eq!(all_next(&mut device).len(), BACKGROUND_JOBS / 2);
}

#[test]
fn the_ceiling_and_a_pause_hold_for_it_too() {
    let mut device = beside_a_busy_host();
    device.engine.set(b"copy_rate", b"1").unwrap();
    assert!(read(&device, 500) && read(&device, 600));
    assert_eq!(next(&mut device).map(|copy| copy.1), Some(1));
    assert_eq!(next(&mut device), None, "the rate is used up");
    device.engine.set(b"copy_rate", b"0").unwrap();
    device.engine.set_paused(true);
    assert_eq!(next(&mut device), None);
    assert!(!read(&device, 650), "nobody would copy it");
}
