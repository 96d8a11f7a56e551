// SPDX-License-Identifier: GPL-2.0

//! Events: what the journal says has happened. Runs are in extents.

use super::bytes;
use crate::engine::base::run::Run;

/// An event on the device, in bytes.
pub const EVENT: usize = 16;

/// Something that is durable once its journal block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The host is about to change these extents.
    Touched(Run),
    /// These extents have the clone's content on the source.
    Restored(Run),
    /// The host has overwritten these unrestored extents whole.
    Overwritten(Run),
    /// No extent is unrestored any more; the maps change roles.
    RestoreFinished,
}

const TOUCHED: u32 = 1;
const RESTORED: u32 = 2;
const OVERWRITTEN: u32 = 3;
const FINISHED: u32 = 4;

impl Event {
    /// Writes the event to the first [`EVENT`] bytes of `out`.
    pub fn encode(self, out: &mut [u8]) {
        let (kind, run) = match self {
            Event::Touched(run) => (TOUCHED, run),
            Event::Restored(run) => (RESTORED, run),
            Event::Overwritten(run) => (OVERWRITTEN, run),
            Event::RestoreFinished => (FINISHED, Run::EMPTY),
        };
        // A run is never empty and has at most 2^32 extents: its length less one fits.
        bytes::put_u64(out, 0, run.start());
        bytes::put_u32(out, 8, run.len().saturating_sub(1) as u32);
        bytes::put_u32(out, 12, kind);
    }

    /// Reads an event; `None` if it is not one. Whether its run lies on the device is for the
    /// caller to check.
    pub fn decode(from: &[u8]) -> Option<Self> {
        let len = u64::from(bytes::get_u32(from, 8)).saturating_add(1);
        let run = Run::new(bytes::get_u64(from, 0), len);
        match bytes::get_u32(from, 12) {
            TOUCHED => Some(Event::Touched(run)),
            RESTORED => Some(Event::Restored(run)),
            OVERWRITTEN => Some(Event::Overwritten(run)),
            FINISHED if run == Run::one(0) => Some(Event::RestoreFinished),
            _ => None,
        }
    }
}
