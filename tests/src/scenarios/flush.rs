// SPDX-License-Identifier: GPL-2.0

//! Flushes and FUA writes.

use super::cells::{cell, Amount, Bits, Cell, Metadata, Request, Size, State};
use libtest_mimic::Trial;

/// What flush and FUA do in each state.
pub fn cells() -> Vec<Cell> {
    let flush = |name, state| cell(name, state, Request::Flush, Size::Whole).metadata(Metadata::Any);
    let fua = |name, state, size| {
        cell(name, state, Request::Fua, size)
            .source_written(Amount::Request)
            .metadata(Metadata::Durable)
    };
    vec![
        flush("tracking: flush", State::TrackingMarked),
        flush("unrestored: flush", State::Unrestored),
        flush("restored: flush", State::RestoredMarked),
        fua("tracking: FUA, first touch", State::Tracking, Size::Whole).bits(Bits::SetCdm),
        fua("tracking: FUA, part, first touch", State::Tracking, Size::Part).bits(Bits::SetCdm),
        fua("unrestored: FUA", State::Unrestored, Size::Whole).bits(Bits::Restored),
        fua("unrestored: FUA, part", State::Unrestored, Size::Part)
            .bits(Bits::Restored)
            .clone_read(Amount::Extent)
            .source_written(Amount::ExtentAndRequest),
        fua("restored: FUA, first touch", State::Restored, Size::Whole).bits(Bits::SetPrm),
        fua("restored: FUA, part, first touch", State::Restored, Size::Part).bits(Bits::SetPrm),
        fua("restored: FUA, later touch", State::RestoredMarked, Size::Part).metadata(Metadata::Any),
    ]
}

/// Scenarios of their own.
pub fn trials() -> Vec<Trial> {
    Vec::new()
}
