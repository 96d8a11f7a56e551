// SPDX-License-Identifier: GPL-2.0

//! Where the journal is, and its block that is being written. What is written, and what follows from it:
//! [`commit`](crate::engine::record::commit).

use crate::engine::record::attempts::Attempts;
use crate::engine::sync::cache::{Doubt, MetadataFlush};

/// The block that is being written.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct BlockInFlight {
    pub(in crate::engine) crc: u32,
    pub(in crate::engine) clears_to: u64,
    pub(in crate::engine) finish: bool,
    pub(in crate::engine) attempts: Attempts,
    /// It is on its way.
    pub(in crate::engine) sent: Option<MetadataFlush>,
    /// It is written, but that cannot be confirmed yet.
    pub(in crate::engine) doubt: Option<Doubt>,
}

/// Where the journal is.
#[derive(Debug, Default)]
pub struct Journal {
    /// The next block's sequence number.
    pub(in crate::engine) sequence: u64,
    /// The checksum of the block before it.
    pub(in crate::engine) chain: u32,
    pub(in crate::engine) in_flight: Option<BlockInFlight>,
}
