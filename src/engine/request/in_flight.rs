// SPDX-License-Identifier: GPL-2.0

//! A request from when it is mapped until it is answered: what is noted before its I/O, and what
//! follows from the end of that.
//!
//! The end is seen first without a lock, perhaps in a hard interrupt: [`InFlight::ended`]. Most requests
//! are answered there. The others (overwrites, flushes and FUA writes with something to wait for) are
//! taken in by the worker, [`Engine::take_ended`], and those that wait for records are asked again
//! with [`Engine::settle`].

use crate::engine::base::storage::Storage;
use crate::engine::machine::Engine;
use crate::engine::request::admit::Ticket;
use crate::engine::request::plan::{Op, Request};
use crate::engine::shared::Shared;
use crate::engine::sync::flush_epochs::{Epoch, Others};
use crate::engine::sync::flushes::Settled;
use crate::engine::sync::sync_state::SyncPoint;

/// What a request is, as far as its end is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// It reads or changes the source, or has not been sent yet.
    #[default]
    Source,
    /// A FUA write to the source. On a disk without FUA it is a write and a flush.
    Fua(Epoch),
    /// One that has failed: as a flush, too.
    FailedFua,
    /// It reads the clone.
    Clone,
    /// A source flush of the host.
    Flush(Epoch),
    /// A source flush of the target's own.
    OwnFlush(Epoch),
}

/// A request under way.
#[derive(Debug, Default)]
pub struct InFlight {
    kind: Kind,
    /// It was deferred.
    ticket: Option<Ticket>,
    /// A flush or FUA write: what it waits for behind its I/O.
    sync: Option<SyncPoint>,
    /// It is a read.
    reads: bool,
    /// Losses when it was mapped, see [`lost_since`](crate::engine::sync::sync_state::SyncState::lost_since); of a read, [`read_losses`](crate::engine::sync::sync_state::SyncState::read_losses).
    losses: u64,
    /// Its I/O has failed, or was in vain.
    failed: bool,
}

/// What follows from the end of a request's I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is answered: whether it has succeeded.
    Answer(bool),
    /// It is the worker's: [`Engine::take_ended`].
    Queue,
}

/// What follows when the worker has taken in the end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is answered: whether it has succeeded.
    Answer(bool),
    /// It waits for records: [`Engine::settle`].
    Settle,
}

impl InFlight {
    /// Of a request with sectors. To be called **before** the maps are looked at for it: what is lost
    /// from here on concerns it.
    pub fn begin<S: Storage>(&mut self, shared: &Shared<S>, op: Op, fua: bool) {
        self.reads = op == Op::Read;
        self.losses = if self.reads {
            shared.sync.read_losses()
        } else if fua {
            let point = shared.sync.fua_point();
            self.sync = Some(point);
            point.losses()
        } else {
            shared.sync.losses()
        };
    }

    /// A source flush of the host, that is sent now.
    pub fn flush<S: Storage>(shared: &Shared<S>) -> Self {
        Self::any_flush(shared, Kind::Flush)
    }

    /// A source flush of the target's own, that is sent now.
    pub fn own_flush<S: Storage>(shared: &Shared<S>) -> Self {
        Self::any_flush(shared, Kind::OwnFlush)
    }

    fn any_flush<S: Storage>(shared: &Shared<S>, kind: impl Fn(Epoch) -> Kind) -> Self {
        Self {
            kind: kind(shared.epochs.start()),
            sync: Some(shared.sync.sync_point()),
            ..Self::default()
        }
    }

    /// It goes to the source now. To be called once for each request with sectors that does, just
    /// before it is sent: what is counted here is taken off at its end.
    pub fn to_source<S: Storage>(&mut self, shared: &Shared<S>) {
        if self.sync.is_some() {
            self.kind = Kind::Fua(shared.epochs.start());
        }
    }

    /// It reads the clone.
    pub fn to_clone(&mut self) {
        self.kind = Kind::Clone;
    }

    /// It was deferred, as this request.
    pub fn defer(&mut self, request: Request) {
        self.ticket = Some(Ticket::new(request, self.losses));
    }

    /// It fails without having been sent to the source. If it is a FUA write, the host is told with
    /// this of the flushes that had failed before. For the worker.
    pub fn refused<S: Storage>(&self, shared: &Shared<S>) {
        if let Some(point) = self.sync {
            shared.sync.take_untold(point);
        }
    }

    /// Its ticket, if it was deferred.
    pub fn ticket_mut(&mut self) -> Option<&mut Ticket> {
        self.ticket.as_mut()
    }

    /// Whether it is a source flush, and has no sectors.
    pub fn is_flush(&self) -> bool {
        matches!(self.kind, Kind::Flush(_) | Kind::OwnFlush(_))
    }

    /// Whether it reads the clone.
    pub fn is_from_clone(&self) -> bool {
        self.kind == Kind::Clone
    }

    /// Whether it is a write that overwrites unrestored extents.
    pub fn is_overwrite(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::is_overwrite)
    }

    /// Whether it may wait for records behind its I/O.
    pub fn is_sync(&self) -> bool {
        self.sync.is_some()
    }

    /// Whether nothing that it waits for behind its I/O is outstanding now.
    pub fn is_settled<S: Storage>(&self, shared: &Shared<S>) -> bool {
        self.sync.is_none_or(|point| shared.sync.is_settled(point))
    }

    /// Takes the end of its I/O. Any context, without a lock.
    pub fn ended<S: Storage>(&mut self, shared: &Shared<S>, ok: bool) -> Ended {
        match self.kind {
            Kind::Flush(epoch) => self.flush_ended(shared, epoch, ok, true),
            Kind::OwnFlush(epoch) => self.flush_ended(shared, epoch, ok, false),
            Kind::Fua(epoch) => self.fua_ended(shared, epoch, ok),
            Kind::Source | Kind::Clone | Kind::FailedFua => self.data_ended(shared, ok),
        }
    }

    /// Takes the end of I/O that the device has not begun, because it would have had to block. Any
    /// context, without a lock.
    pub fn not_begun<S: Storage>(&mut self, shared: &Shared<S>) -> Ended {
        let alone = match core::mem::take(&mut self.kind) {
            Kind::Fua(epoch) | Kind::Flush(epoch) | Kind::OwnFlush(epoch) => {
                shared.epochs.end(epoch) == Others::None
            }
            Kind::Source | Kind::Clone | Kind::FailedFua => true,
        };
        self.failed = true;
        if self.is_overwrite() || !alone {
            Ended::Queue
        } else {
            Ended::Answer(false)
        }
    }

    fn flush_ended<S: Storage>(
        &mut self,
        shared: &Shared<S>,
        epoch: Epoch,
        ok: bool,
        of_host: bool,
    ) -> Ended {
        self.failed = !ok;
        if !ok {
            shared.sync.note_failed_flush();
        }
        // Behind the failure: whoever finds nobody under way finds that noted.
        let alone = shared.epochs.end(epoch) == Others::None;
        match self.sync {
            Some(point) if ok && of_host && alone && shared.sync.is_settled(point) => {
                Ended::Answer(true)
            }
            _ => Ended::Queue,
        }
    }

    fn data_ended<S: Storage>(&mut self, shared: &Shared<S>, ok: bool) -> Ended {
        self.failed = !ok || self.is_lost(shared);
        if self.is_overwrite() {
            Ended::Queue
        } else {
            Ended::Answer(!self.failed)
        }
    }

    /// A FUA write waits for all that was recorded for its extents until now. Nor is its success
    /// confirmed before that of the flushes beside it: one that fails may have dropped its data before
    /// the disk came to flush it.
    fn fua_ended<S: Storage>(&mut self, shared: &Shared<S>, epoch: Epoch, ok: bool) -> Ended {
        if !ok {
            self.kind = Kind::FailedFua;
            shared.sync.note_failed_flush();
        }
        // Behind the failure, as with a flush.
        let alone = shared.epochs.end(epoch) == Others::None;
        self.failed = !ok || self.is_lost(shared);
        self.wait_longer(shared);
        match self.sync {
            Some(point) if ok && alone && !self.is_overwrite() && shared.sync.is_settled(point) => {
                Ended::Answer(!self.failed)
            }
            _ => Ended::Queue,
        }
    }

    fn wait_longer<S: Storage>(&mut self, shared: &Shared<S>) {
        self.sync = self.sync.map(|point| shared.sync.later(point));
    }

    /// Whether a source flush that failed may have taken along what it has written to the source, or
    /// have changed what it has read there.
    fn is_lost<S: Storage>(&self, shared: &Shared<S>) -> bool {
        match self.kind {
            Kind::Clone => false,
            _ if self.reads => shared.sync.read_losses() != self.losses,
            _ => shared.sync.lost_since(self.losses),
        }
    }
}

impl<S: Storage> Engine<S> {
    /// Takes in the end of a request's I/O that was not answered there. In any order.
    pub fn take_ended(&mut self, shared: &Shared<S>, sent: &mut InFlight) -> Taken {
        self.take_loss_asleep(shared);
        match (sent.kind, sent.sync) {
            (Kind::Flush(_) | Kind::OwnFlush(_), _) if sent.failed => {
                self.count_source_error();
                self.flush_failed(shared);
                Taken::Answer(false)
            }
            (Kind::Flush(_), Some(point)) => {
                sent.sync = Some(self.flush_succeeded(shared, point));
                Taken::Settle
            }
            (Kind::OwnFlush(_), Some(point)) => {
                self.flush_succeeded(shared, point);
                Taken::Answer(true)
            }
            _ => self.take_data(shared, sent),
        }
    }

    fn take_data(&mut self, shared: &Shared<S>, sent: &mut InFlight) -> Taken {
        match (sent.kind, sent.sync) {
            (Kind::FailedFua, _) => self.flush_failed(shared),
            (Kind::Fua(_), Some(point)) => sent.sync = Some(self.fua_succeeded(shared, point)),
            // Of a FUA write that was not begun: a success may have waited for its end.
            _ => self.confirm(shared),
        }
        let mut ok = !sent.failed && !sent.is_lost(shared);
        if let Some(ticket) = sent.ticket.as_mut() {
            ok = self.completed(shared, ticket, ok);
            // A FUA overwrite also waits for its own record, which has just been queued.
            sent.wait_longer(shared);
        }
        match sent.sync {
            Some(_) if ok => Taken::Settle,
            Some(point) => {
                // With this the host is told of the flushes that had failed before.
                shared.sync.take_untold(point);
                Taken::Answer(false)
            }
            None => Taken::Answer(ok),
        }
    }

    /// How a request that waits for records stands.
    pub fn settle(&mut self, shared: &Shared<S>, sent: &InFlight) -> Settled {
        let point = sent.sync.unwrap_or_default();
        self.settle_at(shared, point, sent.is_flush())
    }
}
