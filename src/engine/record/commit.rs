// SPDX-License-Identifier: GPL-2.0

//! Group commit: one journal block makes a batch of first touches and clears durable.
//!
//! One block is written at a time. Rules kept here:
//!
//! - *Set before write*: the bits of first touches become visible when their block is durable.
//! - *Clear after durable*: only clears that a source flush has covered go into a block.
//! - *Finish last*: `restore finished` goes behind every clear, in the same block or a later one.
//! - A block is retried with the same bytes, then never touched again.

use crate::engine::base::storage::Storage;
use crate::engine::format::event::Event;
use crate::engine::format::journal::{Place, Writer};
use crate::engine::format::layout::JOURNAL_BLOCKS;
use crate::engine::format::Block;
use crate::engine::machine::Engine;
use crate::engine::maps::{Mode, Role};
use crate::engine::record::attempts::Attempts;
use crate::engine::record::clears::{Cause, Clear};
use crate::engine::record::journal::BlockInFlight;
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::shared::Shared;
use crate::engine::sync::cache::Confirmation;

/// Blocks that are always left free in the ring.
const RESERVE: u64 = 2;
/// From so many blocks in use on, an idle moment is used for a checkpoint.
const CHECKPOINT_AT: u64 = JOURNAL_BLOCKS / 2;

/// What the journal wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Nothing now.
    Nothing,
    /// Write the block that was filled to this place, in blocks, with FUA.
    Write(u64),
    /// Make a checkpoint first: the ring is full.
    Checkpoint,
}

/// What follows when a block was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Requests that waited for it may look again.
    Done,
    /// Write the same bytes to the same place again, at this time.
    Again(u64),
    /// Wait: it is being written, or [`Engine::commit_confirmed`] is to be asked again when a flush or
    /// FUA write of the source has ended.
    Waiting,
}

impl<S: Storage> Engine<S> {
    /// Fills `block` with the next batch, if there is one and none is being written.
    pub fn next_commit(&mut self, shared: &Shared<S>, block: &mut Block) -> Commit {
        let ready = self.clears.durable() < self.clears.covered();
        let finish = self.may_finish(shared);
        let idle =
            self.journal.in_flight.is_none() && self.metadata_mode == MetadataMode::ReadWrite;
        if !idle || !(ready || finish || self.first_touches.any()) {
            return Commit::Nothing;
        }
        if self.journal_used() >= JOURNAL_BLOCKS.saturating_sub(RESERVE) {
            return Commit::Checkpoint;
        }
        self.fill(block, finish)
    }

    /// Whether a checkpoint is due, though none is needed yet.
    pub fn wants_checkpoint(&self) -> bool {
        self.journal.in_flight.is_none()
            && self.metadata_mode == MetadataMode::ReadWrite
            && self.journal_used() >= CHECKPOINT_AT
    }

    /// Whether a block is being written.
    pub fn is_committing(&self) -> bool {
        self.journal.in_flight.is_some()
    }

    /// Requests whose first touches wait for the next block, and for the one that is being written.
    pub fn touches_waiting(&self) -> [usize; 2] {
        self.first_touches.waiting()
    }

    /// Whether anything waits for a journal block that could be written now or after a flush.
    pub fn has_uncommitted(&self, shared: &Shared<S>) -> bool {
        self.metadata_mode == MetadataMode::ReadWrite
            && (self.is_committing()
                || self.first_touches.any()
                || self.clears.waiting() > 0
                || self.may_finish(shared))
    }

    /// Whether the blocks in use go around the end of the ring.
    #[cfg(not(MODULE))]
    pub fn journal_wraps(&self) -> bool {
        self.superblock.tail % JOURNAL_BLOCKS > self.journal.sequence % JOURNAL_BLOCKS
    }

    fn journal_used(&self) -> u64 {
        self.journal.sequence.saturating_sub(self.superblock.tail)
    }

    /// Whether nothing but clears that are already covered stands before the end of the restore.
    fn may_finish(&self, shared: &Shared<S>) -> bool {
        let maps = &shared.maps;
        maps.state().mode == Mode::Restoring
            && maps.count(Role::Cdm) == 0
            && self.clears.covered() == self.clears.completed()
            && self.extent_locks.is_empty()
    }

    fn fill(&mut self, block: &mut Block, may_finish: bool) -> Commit {
        let place = Place {
            uuid: self.superblock.uuid,
            activation: self.superblock.activation,
            sequence: self.journal.sequence,
            chain: self.journal.chain,
        };
        self.first_touches.start_writing();
        let mut writer = Writer::new(block, &place);
        for run in self.first_touches.writing() {
            writer.push(Event::Touched(*run));
        }
        let mut clears_to = self.clears.durable();
        for clear in self
            .clears
            .range(self.clears.durable(), self.clears.covered())
        {
            // The last place is for the end of the restore.
            if writer.room() <= 1 {
                break;
            }
            if let Some(event) = clear_event(clear) {
                writer.push(event);
            }
            clears_to = clears_to.saturating_add(1);
        }
        let finish = may_finish && clears_to == self.clears.completed();
        if finish {
            writer.push(Event::RestoreFinished);
        }
        let crc = writer.finish();
        self.journal.in_flight = Some(BlockInFlight {
            crc,
            clears_to,
            finish,
            attempts: Attempts::default(),
            sent: None,
            doubt: None,
        });
        Commit::Write(self.layout.journal(self.journal.sequence))
    }

    /// The block is about to be sent.
    pub fn commit_sent(&mut self, shared: &Shared<S>) {
        let sent = self.metadata_flush_sent(shared);
        if let Some(in_flight) = &mut self.journal.in_flight {
            in_flight.sent = Some(sent);
        }
    }

    /// Takes the result of the block's write, at `now` in nanoseconds.
    pub fn commit_written(&mut self, shared: &Shared<S>, ok: bool, now: u64) -> Written {
        let Some(mut in_flight) = self.journal.in_flight.take() else {
            return Written::Done;
        };
        let sent = in_flight.sent.take();
        if let Some(sent) = sent {
            self.metadata_flush_ended(shared, sent, ok);
        }
        if !ok {
            if let Some(at) = self.metadata_failed(&mut in_flight.attempts, now) {
                self.journal.in_flight = Some(in_flight);
                return Written::Again(at);
            }
            // The block may yet have landed. First touches and clears are true either way; for
            // the end of the restore it decides about the mode.
            let mode = if in_flight.finish {
                MetadataMode::Fail
            } else {
                MetadataMode::ReadOnly
            };
            self.metadata_lost(shared, mode);
            return Written::Done;
        }
        self.metadata_works();
        self.journal.in_flight = Some(BlockInFlight {
            attempts: Attempts::default(),
            doubt: Some(self.doubt_sent(shared, sent)),
            ..in_flight
        });
        self.commit_confirmed(shared)
    }

    /// Whether a block that was written can be confirmed to be durable. Only then does anything follow
    /// from it.
    pub fn commit_confirmed(&mut self, shared: &Shared<S>) -> Written {
        let Some(in_flight) = self.journal.in_flight else {
            return Written::Done;
        };
        let Some(doubt) = in_flight.doubt else {
            return Written::Waiting;
        };
        match self.confirms(shared, doubt) {
            Confirmation::NotYet => Written::Waiting,
            Confirmation::No => {
                self.journal.in_flight = Some(BlockInFlight {
                    doubt: None,
                    ..in_flight
                });
                Written::Again(0)
            }
            Confirmation::Yes => {
                self.committed(shared);
                Written::Done
            }
        }
    }

    fn committed(&mut self, shared: &Shared<S>) {
        let Some(in_flight) = self.journal.in_flight.take() else {
            return;
        };
        self.journal.chain = in_flight.crc;
        self.journal.sequence = self.journal.sequence.saturating_add(1);
        self.publish_touches(shared);
        self.publish_durable_clears(shared, in_flight.clears_to);
        if in_flight.finish {
            self.finish_restore(shared);
        }
    }

    /// The bits of first touches become visible: they are durable.
    fn publish_touches(&mut self, shared: &Shared<S>) {
        let role = if shared.maps.state().mode == Mode::Restoring {
            Role::Prm
        } else {
            Role::Cdm
        };
        for i in 0..self.first_touches.writing().len() {
            if let Some(run) = self.first_touches.writing().get(i).copied() {
                shared.maps.set(role, run);
                self.mark_dirty(shared, role, run);
            }
        }
        self.first_touches.written();
    }

    fn publish_durable_clears(&mut self, shared: &Shared<S>, to: u64) {
        for at in self.clears.durable()..to {
            let Some(clear) = self.clears.range(at, at.saturating_add(1)).next() else {
                continue;
            };
            self.tally.count(clear.run, clear.cause);
            self.mark_dirty(shared, Role::Cdm, clear.run);
            if clear.cause != Cause::Copied {
                self.mark_dirty(shared, Role::Prm, clear.run);
            }
        }
        self.clears.committed(to);
        self.publish_clears(shared);
    }

    /// The restore is over and durably so: the protected restore map becomes the delta map.
    fn finish_restore(&mut self, shared: &Shared<S>) {
        let state = shared.maps.state().finished();
        shared.maps.set_state(state);
        self.superblock.mode = state.mode;
        self.superblock.roles_swapped = state.roles_swapped;
        self.jobs.reset();
        self.note_finished();
    }
}

/// The event for a clear; none if a failed flush has undone it.
fn clear_event(clear: Clear) -> Option<Event> {
    if clear.run.is_empty() {
        return None;
    }
    Some(match clear.cause {
        Cause::Copied => Event::Restored(clear.run),
        Cause::Overwritten => Event::Overwritten(clear.run),
        Cause::Touched => Event::Touched(clear.run),
    })
}

#[cfg(test)]
#[path = "../tests/commit.rs"]
mod tests;
