// SPDX-License-Identifier: GPL-2.0

//! Everything that happens to a restore is noted once, with its figures.

use super::*;
use crate::engine::base::run::Run;
use crate::engine::copy::choose::Background;
use crate::engine::copy::job::CopyResult;
use crate::engine::record::clears::Cause;
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::restoring::Device;
use crate::engine::words::notices::{Failing, PLACES};

const SECOND: u64 = 1_000_000_000;

fn taken(device: &mut Device) -> Vec<Notice> {
    device.engine.take_notices().iter().collect()
}

/// The background's next copy ends with `result`.
fn copy(device: &mut Device, result: CopyResult, now: u64) {
    let Device { engine, shared, .. } = device;
    let Background::Copy(copy) = engine.next_copy(shared, now) else {
        panic!("nothing is copied at {now}");
    };
    engine.copy_done(shared, copy.job, result, now);
}

/// A restore of one extent.
fn restoring() -> Device {
    let mut device = Device::restoring(0..1);
    device.engine.quiesce(false);
    assert_eq!(taken(&mut device), []);
    device
}

const UNREADABLE: CopyResult = CopyResult {
    read_error: true,
    write_error: false,
};

/// The extent's copy fails, and then the pass over the map is over.
fn stall(device: &mut Device) {
    copy(device, UNREADABLE, SECOND);
    let Device { engine, shared, .. } = device;
    assert!(matches!(
        engine.next_copy(shared, SECOND),
        Background::NotBefore(_)
    ));
}

#[test]
fn a_finished_restore_says_what_was_copied_and_what_overwritten() {
    let mut device = Device::restoring(0..3);
    device.copied(0);
    device.copied(1);
    device.flush();
    device.commit();
    let (run, cause) = (Run::one(2), Cause::Overwritten);
    assert!(device.engine.clears.reserve(1));
    let clear = crate::engine::record::clears::Clear { run, cause };
    device.engine.cleared(&device.shared, clear);
    device.flush();
    device.commit();
    let restored = Restored {
        extents: 3,
        copied: 2,
        overwritten: 1,
    };
    assert_eq!(taken(&mut device), [Notice::Finished(restored)]);
    assert_eq!(taken(&mut device), [], "once");
}

#[test]
fn what_a_failed_flush_has_undone_counts_when_it_is_restored_again() {
    let mut device = restoring();
    let (run, cause) = (Run::one(0), Cause::Overwritten);
    assert!(device.engine.clears.reserve(1));
    let clear = crate::engine::record::clears::Clear { run, cause };
    device.engine.cleared(&device.shared, clear);
    device.engine.count_source_error();
    device.engine.flush_failed(&device.shared);
    device.copied(0);
    device.flush();
    device.commit();
    let restored = Restored {
        extents: 1,
        copied: 1,
        overwritten: 0,
    };
    let last = taken(&mut device).pop();
    assert_eq!(last, Some(Notice::Finished(restored)));
}

#[test]
fn a_restore_with_nothing_to_do_is_finished_when_it_has_begun() {
    let mut device = Device::restoring(0..0);
    assert_eq!(taken(&mut device), [Notice::Finished(Restored::default())]);
}

#[test]
fn the_figures_of_one_restore_are_not_those_of_the_next() {
    let mut device = restoring();
    copy(&mut device, CopyResult::default(), SECOND);
    device.flush();
    device.commit();
    device.begin();
    assert_eq!(
        taken(&mut device).last(),
        Some(&Notice::Finished(Restored::default()))
    );
}

#[test]
fn a_stall_names_what_fails_and_the_recovery_follows() {
    let mut device = restoring();
    stall(&mut device);
    let errors = Errors {
        clone: 1,
        ..Errors::default()
    };
    let stalled = Notice::Stalled {
        failing: Failing::Clone,
        left: 1,
        errors,
    };
    assert_eq!(taken(&mut device), [stalled]);
    copy(&mut device, CopyResult::default(), 10 * SECOND);
    assert_eq!(taken(&mut device), [Notice::Recovered { left: 0 }]);
}

#[test]
fn a_failed_flush_stalls_what_waits_for_it() {
    let mut device = restoring();
    copy(&mut device, CopyResult::default(), SECOND);
    device.engine.count_source_error();
    device.engine.flush_failed(&device.shared);
    let errors = Errors {
        source: 1,
        ..Errors::default()
    };
    let stalled = Notice::Stalled {
        failing: Failing::Flush,
        left: 1,
        errors,
    };
    assert_eq!(taken(&mut device), [stalled]);
    device.flush();
    assert_eq!(taken(&mut device), [Notice::Recovered { left: 1 }]);
}

#[test]
fn a_metadata_mode_is_told_when_it_changes() {
    let mut device = restoring();
    for _ in 0..2 {
        let mode = MetadataMode::ReadOnly;
        device.engine.metadata_lost(&device.shared, mode);
    }
    let changed = Notice::MetadataMode(MetadataMode::ReadOnly);
    assert_eq!(taken(&mut device), [changed]);
}

#[test]
fn what_nobody_takes_is_bounded() {
    let mut notices = Notices::default();
    assert!(notices.is_empty());
    for left in 0..20 {
        notices.push(Notice::Recovered { left });
    }
    let left: Vec<_> = notices.iter().collect();
    assert_eq!(left.len(), PLACES);
    assert_eq!(left[0], Notice::Recovered { left: 12 });
    assert_eq!(left[PLACES - 1], Notice::Recovered { left: 19 });
}
