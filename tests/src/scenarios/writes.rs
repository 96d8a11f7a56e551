// SPDX-License-Identifier: GPL-2.0

//! Writes and write zeroes.

use super::cells::{cell, Amount, Bits, Cell, Metadata, Request, Size, State};

/// What a write does in each state.
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    cells.extend(of(Request::Write, &WRITE));
    cells.extend(of(Request::Zero, &ZERO));
    cells
}

/// A name for each case below.
const WRITE: [&str; 10] = [
    "tracking: write, first touch",
    "tracking: write, part, first touch",
    "tracking: write, later touch",
    "tracking: write, part, later touch",
    "unrestored: write",
    "unrestored: write, part",
    "restored: write, first touch",
    "restored: write, part, first touch",
    "restored: write, later touch",
    "restored: write, part, later touch",
];
const ZERO: [&str; 10] = [
    "tracking: write zeroes, first touch",
    "tracking: write zeroes, part, first touch",
    "tracking: write zeroes, later touch",
    "tracking: write zeroes, part, later touch",
    "unrestored: write zeroes",
    "unrestored: write zeroes, part",
    "restored: write zeroes, first touch",
    "restored: write zeroes, part, first touch",
    "restored: write zeroes, later touch",
    "restored: write zeroes, part, later touch",
];

fn of(request: Request, names: &[&'static str; 10]) -> Vec<Cell> {
    let case = |i: usize, state, size| {
        cell(names[i], state, request, size).source_written(Amount::Request)
    };
    vec![
        case(0, State::Tracking, Size::Whole)
            .bits(Bits::SetCdm)
            .metadata(Metadata::Durable),
        case(1, State::Tracking, Size::Part)
            .bits(Bits::SetCdm)
            .metadata(Metadata::Durable),
        case(2, State::TrackingMarked, Size::Whole),
        case(3, State::TrackingMarked, Size::Part),
        // No copy, and the record is queued: it need not be durable yet.
        case(4, State::Unrestored, Size::Whole)
            .bits(Bits::Restored)
            .metadata(Metadata::Any),
        // The extent is copied first; then its bit is set before the write goes.
        case(5, State::Unrestored, Size::Part)
            .bits(Bits::Restored)
            .clone_read(Amount::Extent)
            .source_written(Amount::ExtentAndRequest)
            .metadata(Metadata::Any),
        case(6, State::Restored, Size::Whole)
            .bits(Bits::SetPrm)
            .metadata(Metadata::Durable),
        case(7, State::Restored, Size::Part)
            .bits(Bits::SetPrm)
            .metadata(Metadata::Durable),
        case(8, State::RestoredMarked, Size::Whole),
        case(9, State::RestoredMarked, Size::Part),
    ]
}
