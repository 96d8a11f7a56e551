// SPDX-License-Identifier: GPL-2.0

//! What the target's worker does, one small step at a time.

use super::devices::{Op, OpKind};
use super::meta::{Running, Stepped};
use super::promise::Stop;
use super::world::World;
use crate::engine::copy::choose::{Background, CopyOutcome};
use crate::engine::copy::job::Copy;
use crate::engine::copy::job::CopyResult;
use crate::engine::format::BLOCK;
use crate::engine::record::checkpoint::{Checkpoint, Purpose};
use crate::engine::record::commit::Commit;
use crate::engine::record::commit::Written;
use crate::engine::request::admit::Admission;
use crate::engine::request::in_flight::InFlight;
use crate::engine::sync::cache::Cache;
use crate::engine::sync::flushes::FlushNeed;
use std::rc::Rc;

impl World {
    /// Asks for every deferred part what it may do now, in order.
    pub(super) fn admit(&mut self) -> Result<(), Stop> {
        for mut waiting in core::mem::take(&mut self.waiting) {
            let ticket = waiting.sent.ticket_mut().expect("it was deferred");
            let before = self.engine.last_ahead();
            let admission = self.engine.admit(&self.shared, ticket, self.now);
            let ahead = self.engine.last_ahead();
            if ahead != before {
                self.stats.marked_ahead += ahead.len();
                self.delta.may_be_marked(ahead);
            }
            if admission != Admission::Wait {
                self.trace(|| format!("request {} {admission:?}", waiting.request));
            }
            match admission {
                Admission::Go => self.go(waiting)?,
                Admission::Complete => self.part_done(waiting.request, true),
                Admission::Fail => {
                    waiting.sent.refused(&self.shared);
                    self.part_done(waiting.request, false);
                }
                Admission::Wait => self.waiting.push(waiting),
                Admission::Copy(copy) => {
                    self.waiting.push(waiting);
                    self.copy(copy);
                }
            }
        }
        Ok(())
    }

    /// Group commit, and checkpoints when they are due, or at any time.
    pub(super) fn commit(&mut self) {
        if self.checkpoint.is_some() {
            return;
        }
        self.commit_confirmed();
        let due = |(at, _): &(u64, OpKind)| *at <= self.now;
        if self.failed_block.as_ref().is_some_and(due) {
            if let Some((_, block)) = self.failed_block.take() {
                self.send_commit(block);
            }
        }
        let mut block = [0; BLOCK];
        match self.engine.next_commit(&self.shared, &mut block) {
            Commit::Nothing => {
                let eager = !self.params.lazy_checkpoints;
                let wants = eager && (self.engine.wants_checkpoint() || self.rng.below(20) == 0);
                if wants && !self.engine.is_committing() && self.recordable() {
                    self.begin_checkpoint();
                }
            }
            Commit::Write(place) => {
                self.stats.commits += 1;
                self.send_commit(OpKind::Commit {
                    place,
                    block: Rc::new(block),
                });
            }
            Commit::Checkpoint => self.begin_checkpoint(),
        }
    }

    fn begin_checkpoint(&mut self) {
        self.checkpoint = Some(Running::new(Checkpoint::new(Purpose::Running)));
    }

    /// The next step of a running checkpoint.
    pub(super) fn advance_checkpoint(&mut self) -> Result<(), Stop> {
        if self.checkpoint_step()? == Stepped::Done {
            self.stats.checkpoints += 1;
        }
        Ok(())
    }

    /// A source flush of the target's own, if one is due.
    pub(super) fn own_flush(&mut self) {
        let under_way = |op: &Op| matches!(op.kind, OpKind::OwnFlush { .. });
        if self.ops.iter().chain(&self.ended).any(under_way) {
            return;
        }
        let mut settling = self.settling.iter();
        let waited_for = settling.any(|settling| !settling.sent.is_flush());
        if self.engine.flush_need(&self.shared, self.now, waited_for) == FlushNeed::Now {
            let sent = InFlight::own_flush(&self.shared);
            self.submit(OpKind::OwnFlush { sent });
        }
    }

    /// The background's next copy.
    pub(super) fn background(&mut self) {
        if let Background::Copy(copy) = self.engine.next_copy(&self.shared, self.now) {
            self.copy(copy);
        }
    }

    fn copy(&mut self, copy: Copy) {
        self.trace(|| format!("copy {copy:?}"));
        self.stats.copies += 1;
        if let Err(broken) = self.delta.copy_started(&self.geometry, copy.sectors) {
            self.found.get_or_insert(broken);
        }
        self.submit(OpKind::Copy {
            copy,
            result: CopyResult::default(),
        });
    }

    /// Takes the result of a copy.
    pub(super) fn copy_done(&mut self, op: Op) {
        let OpKind::Copy { copy, result } = op.kind else {
            return;
        };
        if !result.is_ok() {
            self.delta.inexact();
        }
        let outcome = self
            .engine
            .copy_done(&self.shared, copy.job, result, self.now);
        if let CopyOutcome::Failed(extents) = outcome {
            let tickets = self.waiting.iter_mut().filter_map(|w| w.sent.ticket_mut());
            tickets.for_each(|ticket| ticket.copy_failed(extents));
        }
    }

    /// Takes the result of a journal write.
    pub(super) fn commit_done(&mut self, op: Op) {
        let ok = op.done == Some(true);
        let written = self.engine.commit_written(&self.shared, ok, self.now);
        self.trace(|| format!("commit ok {ok} {written:?}"));
        if !ok && self.params.cache != Cache::Apart {
            self.metadata_has_failed();
        }
        self.after_commit(written, op.kind);
    }

    /// The journal block may have been in doubt.
    fn commit_confirmed(&mut self) {
        if let Some(kind) = self.doubtful.take() {
            let written = self.engine.commit_confirmed(&self.shared);
            self.after_commit(written, kind);
        }
    }

    fn after_commit(&mut self, written: Written, kind: OpKind) {
        match written {
            Written::Done => {}
            Written::Again(at) => {
                self.stats.metadata_retries += 1;
                self.failed_block = Some((at, kind));
            }
            Written::Waiting => {
                self.stats.doubted += 1;
                self.doubtful = Some(kind);
            }
        }
    }

    fn send_commit(&mut self, kind: OpKind) {
        self.engine.commit_sent(&self.shared);
        self.submit(kind);
    }
}
