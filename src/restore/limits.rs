// SPDX-License-Identifier: GPL-2.0

//! Limits of the mapped device: the source's, and of the clone's those that reads must keep. What
//! the clone prefers is not the host's business: it would stay in file systems and partition tables
//! long after the restore.

use super::state::Core;
use crate::dm::{BlockDevice, DeviceVisitor, Limits};

/// Shows device-mapper the source. The clone is not shown, because it could veto discards and write
/// zeroes, which it never gets; its limits are added in [`io_hints`].
pub(super) fn iterate_devices(core: &Core, visitor: &mut DeviceVisitor<'_>) {
    visitor.visit(
        &core.devices.source,
        0,
        core.shared.maps.geometry().length(),
    );
}

/// Adds what the clone needs for reads, the block size that the metadata was made for, and what extents
/// and discards ask for.
pub(super) fn io_hints(core: &Core, limits: &mut Limits) {
    limits.stack_reads(&core.devices.clone);
    // Bound to a name, so that the lock is not held while the kernel's are taken.
    let recorded = core.engine.lock().block_size();
    if recorded > 0 {
        limits.raise_logical_block_size(recorded);
    }
    // An atomic write that is aligned to its size then lies within one extent.
    let extent = core.shared.maps.geometry().extent_sectors();
    limits.cap_atomic_writes(u32::try_from(extent.saturating_mul(512)).unwrap_or(1 << 30));
    if !core.passes_discards() {
        // They complete here: any size and place will do.
        limits.set_discard_granularity(limits.logical_block_size());
        limits.set_max_hw_discard_sectors(u32::MAX);
        limits.set_max_discard_sectors(u32::MAX);
    } else if core.devices.source.max_discard_sectors() == 0 {
        limits.set_max_hw_discard_sectors(0);
        limits.set_max_discard_sectors(0);
        limits.set_discard_granularity(0);
    }
}
