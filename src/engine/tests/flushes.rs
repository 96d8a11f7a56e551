// SPDX-License-Identifier: GPL-2.0

//! Which success of a source flush is believed.

use crate::maps::Role;
use crate::restoring::Device;
use crate::sent::Sent;

/// The device may have dropped what it covers when the other one failed, and had nothing to flush then.
#[test]
fn a_success_is_not_believed_before_a_failure_is_taken_in() {
    let mut device = Device::restoring(0..2);
    device.copied(0);
    let Device { engine, shared, .. } = &mut device;
    let (mut failed, mut succeeded) = (Sent::own_flush(shared), Sent::own_flush(shared));
    failed.ended(shared, false);
    succeeded.ended(shared, true);
    engine.take_ended(shared, &mut succeeded);
    assert_eq!(engine.clears.covered(), 0);
    engine.take_ended(shared, &mut failed);
    assert_eq!(shared.maps.count(Role::Cdm), 2, "it is copied again");
}
