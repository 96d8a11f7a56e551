// SPDX-License-Identifier: GPL-2.0

//! Source flushes: the host's and the target's own.
//!
//! A clear may go to the journal when a flush that was submitted after its data had completed has
//! succeeded. The host's flushes serve; when the host sends none, the target flushes by itself, so
//! that clears which are not durable stay few and young.

use super::clears::MAX_CLEARS;
use super::engine::{Engine, MetadataMode, Shared, SyncPoint};
use super::maps::{Mode, Role};
use super::storage::Storage;

/// A clear waits at most so long for a flush, in nanoseconds.
const OLDEST: u64 = 1_000_000_000;

/// Whether the target has to flush the source by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushNeed {
    /// No.
    None,
    /// At this time, if nothing else has until then.
    At(u64),
    /// Now.
    Now,
}

/// How a flush or a FUA write stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Everything it waited for is durable.
    Durable,
    /// Not yet.
    Waiting,
    /// It fails: a source flush was lost, or nothing can be recorded any more.
    Failed,
}

impl<S: Storage> Engine<S> {
    /// A source flush that noted `point` when it was submitted has succeeded.
    pub fn flushed(&mut self, point: SyncPoint) {
        self.clears.flushed(point.mark);
    }

    /// A source flush has failed: what it should have covered is copied again, and the host's
    /// next flush fails.
    pub fn flush_failed(&mut self, shared: &Shared<S>) {
        self.errors.source = self.errors.source.saturating_add(1);
        let mut lost = false;
        self.clears.flush_failed(|clear| {
            shared.maps.set(Role::Cdm, clear.run);
            lost |= !clear.run.is_empty();
        });
        if lost {
            shared.count_loss();
        }
    }

    /// How a flush or FUA write that waits for `point` stands. `is_flush`: it tells the host of
    /// everything that was lost, not only of what was lost since `point`.
    pub fn settle(&mut self, shared: &Shared<S>, point: SyncPoint, is_flush: bool) -> Settled {
        let unreported = is_flush && shared.take_unreported();
        if unreported || point.losses != shared.losses() {
            return Settled::Failed;
        }
        if self.clears.durable() >= point.mark {
            Settled::Durable
        } else if self.metadata_mode == MetadataMode::ReadWrite {
            Settled::Waiting
        } else {
            Settled::Failed
        }
    }

    /// Whether a source flush of the target's own is due. `waited_for`: a FUA write waits for it.
    pub fn flush_need(&self, shared: &Shared<S>, now: u64, waited_for: bool) -> FlushNeed {
        let uncovered = self
            .clears
            .completed()
            .saturating_sub(self.clears.covered());
        if uncovered == 0 || self.metadata_mode != MetadataMode::ReadWrite {
            return FlushNeed::None;
        }
        let last = shared.maps.state().mode == Mode::Restoring && shared.maps.count(Role::Cdm) == 0;
        let due = self.oldest_clear.saturating_add(OLDEST);
        if waited_for || last || uncovered >= MAX_CLEARS / 4 || now >= due {
            FlushNeed::Now
        } else {
            FlushNeed::At(due)
        }
    }
}
