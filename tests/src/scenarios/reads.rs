// SPDX-License-Identifier: GPL-2.0

//! Reads: from the clone where an extent is unrestored, from the source otherwise.

use super::cells::{cell, Amount, Cell, Request, Size, State};

/// What a read does in each state.
pub fn cells() -> Vec<Cell> {
    let whole = |name, state| cell(name, state, Request::Read, Size::Whole);
    let part = |name, state| cell(name, state, Request::Read, Size::Part);
    vec![
        whole("tracking: read", State::Tracking).source_read(Amount::Request),
        part("tracking: read, part", State::TrackingMarked).source_read(Amount::Request),
        whole("unrestored: read", State::Unrestored).clone_read(Amount::Request),
        part("unrestored: read, part", State::Unrestored).clone_read(Amount::Request),
        whole("restored: read", State::Restored).source_read(Amount::Request),
        part("restored: read after a write", State::RestoredMarked).source_read(Amount::Request),
    ]
}
