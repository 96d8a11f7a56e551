// SPDX-License-Identifier: GPL-2.0

//! Marking ahead of a host that writes extent after extent.
//!
//! Each first touch waits for its record. A host with many requests in flight shares one record
//! between them; one that waits for each request before it sends the next would wait for a record
//! with each extent. So when first touches follow one another, the extents that come next are
//! recorded along: as many as the sequence has had so far, at most 8 MiB.
//!
//! What is marked and then not written costs a copy in the next restore, and nothing else. Requests
//! that follow one another by chance mark nothing: a sequence counts from its third follower on.

use crate::engine::base::atomics::AtomicU64;
use crate::engine::base::geometry::Geometry;
use crate::engine::base::run::Run;
use crate::engine::maps::bitmap::Bitmap;
use crate::engine::maps::{Mode, View};
use core::ops::Deref;

/// Most that is marked ahead of a request: 8 MiB.
const MOST_SECTORS: u64 = 16384;
/// So many first touches must have followed a first one.
const FOLLOWERS: u32 = 3;
/// Sequences that are remembered.
const SEQUENCES: usize = 4;

/// Sequences of first touches.
#[derive(Debug, Default)]
pub struct Premark {
    sequences: [Sequence; SEQUENCES],
    /// The one that is forgotten next.
    oldest: usize,
    /// What was last marked ahead.
    last: Run,
}

/// First touches, each behind the one before it.
#[derive(Clone, Copy, Debug, Default)]
struct Sequence {
    start: u64,
    /// What its last request has touched, and what was marked ahead of that.
    marked: Run,
    followers: u32,
}

impl Sequence {
    /// Whether a touch that begins at this extent goes on with it.
    fn goes_on_at(&self, extent: u64) -> bool {
        !self.marked.is_empty() && self.marked.end() == extent
    }
}

impl Premark {
    /// What to mark ahead of a request that touches `touched`: nothing that is marked already, and
    /// nothing unrestored, which its copy or overwrite will make the host's or not.
    pub fn of<W>(&self, view: &View<'_, W>, geometry: &Geometry, touched: Run) -> Run
    where
        W: Deref<Target = [AtomicU64]>,
    {
        let extents = self.extents(touched, geometry);
        let ahead = Run::new(touched.end(), extents).intersection(geometry.all());
        let ahead = up_to_marked(view.cdm, ahead);
        match view.state.mode {
            Mode::Restoring => up_to_marked(view.prm, ahead),
            Mode::Tracking | Mode::Unloaded => ahead,
        }
    }

    fn extents(&self, touched: Run, geometry: &Geometry) -> u64 {
        let goes_on = |sequence: &&Sequence| sequence.goes_on_at(touched.start());
        match self.sequences.iter().find(goes_on) {
            Some(sequence) if sequence.followers.saturating_add(1) >= FOLLOWERS => {
                let so_far = touched.end().saturating_sub(sequence.start);
                so_far.min(geometry.extent_of(MOST_SECTORS))
            }
            _ => 0,
        }
    }

    /// `touched` is being recorded, and `ahead` along with it, which may be empty.
    pub fn note(&mut self, touched: Run, ahead: Run) {
        if !ahead.is_empty() {
            self.last = ahead;
        }
        let marked = touched.hull(ahead);
        let mut sequences = self.sequences.iter_mut();
        if let Some(sequence) = sequences.find(|other| other.goes_on_at(touched.start())) {
            sequence.marked = marked;
            sequence.followers = sequence.followers.saturating_add(1);
            return;
        }
        // It was sent before what is marked ahead could be seen.
        if self
            .sequences
            .iter()
            .any(|other| other.marked.overlaps(touched))
        {
            return;
        }
        if let Some(oldest) = self.sequences.get_mut(self.oldest) {
            *oldest = Sequence {
                start: touched.start(),
                marked,
                followers: 0,
            };
        }
        self.oldest = self.oldest.saturating_add(1) % SEQUENCES;
    }

    /// What was last marked ahead of a request. For tests: these extents may be marked though no
    /// request has met them.
    pub fn last(&self) -> Run {
        self.last
    }
}

/// `run` up to the first extent that is marked.
fn up_to_marked<W>(map: &Bitmap<W>, run: Run) -> Run
where
    W: Deref<Target = [AtomicU64]>,
{
    Run::between(run.start(), map.next_set(run).unwrap_or(run.end()))
}

#[cfg(test)]
#[path = "../tests/premark.rs"]
mod tests;
