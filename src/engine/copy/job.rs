// SPDX-License-Identifier: GPL-2.0

//! One copy of neighbouring extents: what the target is asked for, how it ends, and what follows.

use crate::engine::base::atomics::AtomicU64;
use crate::engine::base::run::Run;
use crate::engine::base::storage::Storage;
use crate::engine::maps::bitmap::Bitmap;
use crate::engine::request::extent_locks::{ExtentLocks, HoldId};
use core::ops::Deref;

/// Most copies for the background.
pub const BACKGROUND_JOBS: usize = 64;
/// Most copies that host writes wait for.
pub const URGENT_JOBS: usize = 64;

/// One copy for the target to make: the same sectors from the clone to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Names the job; comes back with its result.
    pub job: usize,
    /// What to copy, in sectors.
    pub sectors: Run,
    /// It begins here and now: a host write waits for it, or it is the only one of the background's.
    /// Else it may begin on another processor, to run beside the others.
    pub at_once: bool,
}

/// How a copy ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyResult {
    /// The clone could not be read.
    pub read_error: bool,
    /// The source could not be written.
    pub write_error: bool,
}

impl CopyResult {
    /// Whether all went well.
    pub fn is_ok(self) -> bool {
        !self.read_error && !self.write_error
    }
}

/// A copy under way: one run of extents, in pieces of at most `copy_size`.
#[derive(Debug)]
pub(in crate::engine) struct Job {
    pub(in crate::engine) hold: HoldId,
    pub(in crate::engine) extents: Run,
    /// All that is to be copied, and what still is, the piece under way included.
    pub(in crate::engine) sectors: Run,
    pub(in crate::engine) left: Run,
    pub(in crate::engine) piece: u64,
    pub(in crate::engine) started_at: u64,
    /// A piece is in flight; else the next one waits for its turn.
    pub(in crate::engine) running: bool,
    /// A host write waits for it.
    pub(in crate::engine) hurried: bool,
    /// A source flush has failed meanwhile: what was copied may be lost.
    pub(in crate::engine) again: bool,
}

impl Job {
    /// The sectors of its largest piece: what it has in flight at most.
    pub(in crate::engine) fn largest(&self) -> u64 {
        self.sectors.len().min(self.piece)
    }

    /// The piece under way, or the next one, in sectors.
    pub(in crate::engine) fn next_piece(&self) -> Run {
        Run::new(self.left.start(), self.left.len().min(self.piece))
    }
}

/// A job that is done, one way or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its extents.
    pub extents: Run,
    /// A host write waits for it.
    pub urgent: bool,
    /// When its last piece started.
    pub started_at: u64,
}

/// What follows from a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The job has more pieces: [`next_piece`](super::jobs::Jobs::next_piece) gives the next one when it is time. The one
    /// that is done started at this time.
    Parked(u64),
    /// The job is done: its extents have the clone's content.
    Done(Ended),
    /// The job has failed; nobody holds its extents any more.
    Failed(Ended),
    /// There is no such job.
    Unknown,
}

/// The first part of `run`, which begins with an unrestored extent, up to one that is restored or
/// held; `None` if the first one is held.
pub(in crate::engine) fn free_part<W, S: Storage>(
    cdm: &Bitmap<W>,
    holds: &ExtentLocks<S>,
    mut run: Run,
) -> Option<Run>
where
    W: Deref<Target = [AtomicU64]>,
{
    if let Some(clear) = cdm.next_clear(run) {
        run = Run::between(run.start(), clear);
    }
    if let Some(held) = holds.first_overlap(run) {
        run = Run::between(run.start(), held.start());
    }
    (!run.is_empty()).then_some(run)
}
