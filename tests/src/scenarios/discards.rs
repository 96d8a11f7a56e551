// SPDX-License-Identifier: GPL-2.0

//! Discards, passed down and not.

use super::cells::{cell, Amount, Bits, Cell, Metadata, Request, Size, State};

/// What a discard does in each state.
pub fn cells() -> Vec<Cell> {
    let mut cells = passed_down();
    cells.extend(not_passed_down());
    cells
}

fn passed_down() -> Vec<Cell> {
    let whole = |name, state| {
        cell(name, state, Request::Discard, Size::Whole).source_discarded(Amount::Request)
    };
    let part = |name, state| {
        cell(name, state, Request::Discard, Size::Part).source_discarded(Amount::Request)
    };
    let first = |cell: Cell, bits| cell.bits(bits).metadata(Metadata::Durable);
    vec![
        first(
            whole("tracking: discard, first touch", State::Tracking),
            Bits::SetCdm,
        ),
        first(
            part("tracking: discard, part, first touch", State::Tracking),
            Bits::SetCdm,
        ),
        whole("tracking: discard, later touch", State::TrackingMarked),
        whole("unrestored: discard", State::Unrestored)
            .bits(Bits::Restored)
            .metadata(Metadata::Any),
        part("unrestored: discard, part", State::Unrestored).source_discarded(Amount::None),
        first(
            whole("restored: discard, first touch", State::Restored),
            Bits::SetPrm,
        ),
        first(
            part("restored: discard, part, first touch", State::Restored),
            Bits::SetPrm,
        ),
        whole("restored: discard, later touch", State::RestoredMarked),
    ]
}

/// With `no_discard_passdown` a discard completes and nothing changes, whatever it meets.
fn not_passed_down() -> Vec<Cell> {
    let states = [
        ("tracking: discard, no passdown", State::Tracking),
        ("unrestored: discard, no passdown", State::Unrestored),
        ("restored: discard, no passdown", State::Restored),
    ];
    states
        .into_iter()
        .map(|(name, state)| {
            cell(name, state, Request::Discard, Size::Whole).feature("no_discard_passdown")
        })
        .collect()
}
