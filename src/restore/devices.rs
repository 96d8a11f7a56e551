// SPDX-License-Identifier: GPL-2.0

//! The devices of a table line.

use crate::dm::{BlockDevice, Device, ReadOnlyDevice};

/// The devices of a table line.
pub(super) struct Devices {
    pub(super) metadata: Device,
    pub(super) source: Device,
    pub(super) clone: ReadOnlyDevice,
}

impl Devices {
    /// The largest logical block size of source and clone, in bytes.
    pub(super) fn block_size(&self) -> u32 {
        let source = self.source.logical_block_size();
        source.max(self.clone.logical_block_size())
    }
}
