// SPDX-License-Identifier: GPL-2.0

//! Beginnings that fail, and maps that are filled anew.

use super::*;
use crate::engine::base::run::Run;
use crate::engine::restoring::Device;

/// Nobody knows which mode is on the device, so nothing goes on. Of other checkpoints both states are
/// true.
#[test]
fn a_beginning_that_may_have_landed_fails_the_volume() {
    for (purpose, fails) in [
        (Purpose::Begun, true),
        (Purpose::Identical, true),
        (Purpose::Suspended, false),
    ] {
        let mut device = Device::restoring(0..2);
        let Device { engine, shared, .. } = &mut device;
        Checkpoint::new(purpose).give_up(engine, shared);
        let mode = match fails {
            true => MetadataMode::Fail,
            false => MetadataMode::ReadOnly,
        };
        assert_eq!(engine.metadata_mode(), mode, "{purpose:?}");
        assert_eq!(shared.maps.state().failed, fails, "{purpose:?}");
    }
}

/// They are the same all over, and the table says so.
#[test]
fn blocks_of_a_map_that_is_filled_are_not_written() {
    let mut device = Device::restoring(0..0);
    let Device { engine, shared, .. } = &mut device;
    engine.mark_dirty(shared, Role::Cdm, Run::new(0, 100));
    assert!(engine.table.iter().any(|entry| entry.dirty));
    let _ = engine.assume_identical(shared, Samples::default());
    assert!(!engine.table.iter().any(|entry| entry.dirty));
}
