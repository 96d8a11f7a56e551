// SPDX-License-Identifier: GPL-2.0

//! The host's requests: what the target does in `map` and when a device has done its part.

use super::check::Mapped;
use super::devices::{Op, OpKind};
use super::disk::Stamp;
use super::oracle;
use super::promise::{Broken, Promise, Stop};
use super::world::World;
use crate::engine::base::run::Run;
use crate::engine::record::metadata_mode::MetadataMode;
use crate::engine::request::in_flight::{Ended, InFlight, Taken};
use crate::engine::request::plan::{plan, Op as HostOp, Request as Planned, Route};
use crate::engine::sync::flushes::Settled;

/// A request of the host. A flush has no sectors.
pub struct Request {
    pub(super) id: Stamp,
    op: Option<HostOp>,
    sectors: Run,
    fua: bool,
    whole: bool,
    /// What was not mapped yet.
    unmapped: Run,
    /// Parts under way.
    parts: usize,
    failed: bool,
    /// Writes that were in flight when it was submitted.
    beside: Vec<Stamp>,
    /// The target knows of a failed source flush that may have dropped a part of it, and has another
    /// one under way.
    dropped: bool,
}

/// A deferred part.
pub struct Waiting {
    pub(super) sent: InFlight,
    pub(super) request: Stamp,
    pub(super) sectors: Run,
}

/// A flush, or a part of a FUA write, that waits for records.
pub struct Settling {
    pub(super) request: Stamp,
    pub(super) sent: InFlight,
}

impl Request {
    fn stamp(&self) -> Stamp {
        oracle::stamp(self.id, self.op == Some(HostOp::Discard))
    }
}

impl World {
    /// The host sends a request.
    pub(super) fn send(&mut self) -> Result<(), Stop> {
        if self.requests.len() >= self.params.in_flight {
            return Ok(());
        }
        let sample = self.shared.host_latency.request(|| self.now);
        let took = self.rng.below(1_000_000);
        self.shared.host_latency.done(sample, || self.now + took);
        let kind = self.rng.below(100);
        let op = match kind {
            0..=29 => Some(HostOp::Read),
            30..=84 => Some(HostOp::Write),
            85..=89 => Some(HostOp::Discard),
            _ => None,
        };
        // To the engine these are writes like any other.
        let zeroes = (30..=34).contains(&kind);
        let data = op == Some(HostOp::Write) && !zeroes;
        let writes = matches!(op, Some(HostOp::Write | HostOp::Discard));
        let sectors = match op {
            Some(_) if writes && self.rng.below(1000) < self.params.sequential => {
                self.next_sectors()
            }
            Some(_) => self.any_sectors(),
            None => Run::EMPTY,
        };
        if writes && !self.params.overlapping && self.writes_beside(sectors).next().is_some() {
            return Ok(());
        }
        self.last_id += 1;
        let request = Request {
            id: self.last_id,
            op,
            sectors,
            fua: data && self.rng.below(6) == 0,
            whole: data && self.rng.below(12) == 0,
            unmapped: sectors,
            parts: 0,
            failed: false,
            beside: self.writes_beside(sectors).collect(),
            dropped: false,
        };
        self.trace(|| {
            format!(
                "request {} {op:?} {sectors:?} fua {} whole {}",
                request.id, request.fua, request.whole
            )
        });
        match op {
            Some(HostOp::Read) => self.oracle.read_submitted(request.id, sectors),
            Some(_) => {
                self.oracle.write_submitted(request.stamp(), sectors);
                self.delta.touched(&self.geometry, sectors);
            }
            None => self.oracle.flush_submitted(request.id, self.tick),
        }
        self.count(&request, zeroes);
        self.requests.push(request);
        self.map(self.requests.len() - 1)
    }

    fn count(&mut self, request: &Request, zeroes: bool) {
        let stats = &mut self.stats;
        *match request.op {
            Some(HostOp::Read) => &mut stats.reads,
            Some(HostOp::Write) if zeroes => &mut stats.write_zeroes,
            Some(HostOp::Write) => &mut stats.writes,
            Some(HostOp::Discard) => &mut stats.discards,
            None => &mut stats.flushes,
        } += 1;
        stats.fua_writes += u64::from(request.fua);
        stats.atomic_writes += u64::from(request.whole);
    }

    /// A run of sectors: often whole extents, often near the last ones.
    fn any_sectors(&mut self) -> Run {
        let window = self.params.window;
        let mut start = window.start() + self.rng.below(window.len());
        let mut len = 1 + self.rng.below(self.params.longest);
        let extent = self.params.extent_sectors;
        if self.rng.below(2) == 0 {
            start -= start % extent;
            if self.rng.below(2) == 0 {
                len = len.div_ceil(extent) * extent;
            }
        }
        Run::new(start, len).intersection(window)
    }

    /// A run of sectors behind the last such one, until the window ends.
    fn next_sectors(&mut self) -> Run {
        let window = self.params.window;
        let len = 1 + self.rng.below(2 * self.params.extent_sectors);
        let run = Run::new(self.next_sequential, len).intersection(window);
        if run.is_empty() {
            self.next_sequential = self.any_sectors().start();
            return Run::one(self.next_sequential);
        }
        self.next_sequential = run.end();
        run
    }

    fn writes_beside(&self, sectors: Run) -> impl Iterator<Item = Stamp> + '_ {
        self.requests
            .iter()
            .filter(move |other| {
                matches!(other.op, Some(HostOp::Write | HostOp::Discard))
                    && other.sectors.overlaps(sectors)
            })
            .map(Request::stamp)
    }

    /// Maps the next part of a request, or the rest of it.
    pub(super) fn map(&mut self, index: usize) -> Result<(), Stop> {
        let Some(op) = self.requests[index].op else {
            self.requests[index].parts = 1;
            let sent = InFlight::flush(&self.shared);
            let request = self.requests[index].id;
            self.submit(OpKind::HostFlush { request, sent });
            return Ok(());
        };
        let id = self.requests[index].id;
        loop {
            let Some(index) = self.requests.iter().position(|r| r.id == id) else {
                return Ok(());
            };
            if self.requests[index].unmapped.is_empty() {
                return Ok(());
            }
            self.map_part(index, op)?;
            // The core maps the rest a little later.
            if self.rng.below(8) == 0 {
                return Ok(());
            }
        }
    }

    fn map_part(&mut self, index: usize, op: HostOp) -> Result<(), Stop> {
        let request = &mut self.requests[index];
        // Noted before the maps are looked at.
        let mut sent = InFlight::default();
        sent.begin(&self.shared, op, request.fua);
        let planned = Planned {
            op,
            sectors: request.unmapped,
            whole: request.whole,
        };
        let view = self.shared.maps.view();
        let plan = plan(&view, &self.geometry, planned, self.params.passdown);
        let part = Run::new(request.unmapped.start(), plan.sectors);
        request.unmapped = Run::between(part.end(), request.unmapped.end());
        request.parts += 1;
        let id = request.id;
        self.trace(|| format!("request {id} part {part:?} {:?}", plan.route));
        match (plan.route, op) {
            (Route::Source | Route::Clone, HostOp::Read) => {
                if plan.route == Route::Clone {
                    sent.to_clone();
                }
                self.submit(OpKind::HostRead {
                    request: id,
                    sectors: part,
                    sent,
                    wrong: None,
                });
            }
            (Route::Source, _) => {
                if op == HostOp::Discard {
                    self.shared.note_unstable(part);
                }
                self.go(Waiting {
                    sent,
                    request: id,
                    sectors: part,
                })?;
            }
            (Route::Clone, _) => Err(Promise::Clone.broken("a write goes to the clone"))?,
            (Route::Complete, _) => self.part_done(id, true),
            (Route::Fail, _) => {
                if self.recordable() {
                    Err(failed(id))?;
                }
                self.part_done(id, false);
            }
            (Route::Defer, _) => {
                sent.defer(Planned {
                    sectors: part,
                    ..planned
                });
                self.waiting.push(Waiting {
                    sent,
                    request: id,
                    sectors: part,
                });
            }
        }
        Ok(())
    }

    /// A part of a write goes to the source.
    pub(super) fn go(&mut self, mut part: Waiting) -> Result<(), Stop> {
        part.sent.to_source(&self.shared);
        if self.engine.metadata_mode() == MetadataMode::Fail || self.during.beginning {
            let how = "a write goes on, though nobody knows what is on the metadata device";
            Err(Promise::Flushed.broken(how))?;
        }
        let request = self
            .requests
            .iter()
            .find(|r| r.id == part.request)
            .expect("request is known");
        let kind = OpKind::HostWrite {
            request: request.id,
            sectors: part.sectors,
            stamp: request.stamp(),
            fua: request.fua,
            sent: part.sent,
        };
        let discards = request.op == Some(HostOp::Discard);
        let sectors = part.sectors;
        self.submit(kind);
        if discards {
            self.note_unstable(sectors);
        }
        Ok(())
    }

    /// The end of a request's I/O is seen.
    pub(super) fn io_ended(&mut self, mut op: Op) -> Result<(), Stop> {
        let ok = op.done == Some(true);
        if let OpKind::HostWrite { sectors, stamp, .. } = &op.kind {
            if !ok || oracle::is_discard(*stamp) {
                self.shared.note_unstable(*sectors);
            }
        }
        let Some(sent) = op.kind.sent_mut() else {
            return Ok(());
        };
        let ended = sent.ended(&self.shared, ok);
        let is_overwrite = sent.is_overwrite();
        self.trace(|| format!("{op}: {ended:?}"));
        if let (OpKind::HostWrite { sectors, .. }, false) = (&op.kind, is_overwrite) {
            self.source.complete(op.id, *sectors, self.tick);
        }
        match ended {
            Ended::Answer(ok) => self.answer(op, ok),
            Ended::Queue => {
                self.ended.push(op);
                Ok(())
            }
        }
    }

    /// The worker takes in the ends that were left to it.
    pub(super) fn take_ended(&mut self) -> Result<(), Stop> {
        for op in core::mem::take(&mut self.ended) {
            self.take_one(op)?;
        }
        Ok(())
    }

    fn take_one(&mut self, mut op: Op) -> Result<(), Stop> {
        let is_failed_flush = op.is_failed_flush();
        if is_failed_flush {
            self.stats.failed_flushes += 1;
            self.oracle.lost(None);
        }
        let Some(sent) = op.kind.sent_mut() else {
            return Ok(());
        };
        let taken = self.engine.take_ended(&self.shared, sent);
        if is_failed_flush {
            self.delta.inexact();
            self.note_dropped();
        }
        self.trace(|| format!("{op}: {taken:?}"));
        match (taken, op.kind) {
            (Taken::Answer(ok), kind) => self.answer(Op { kind, ..op }, ok)?,
            (Taken::Settle, OpKind::HostFlush { request, sent }) => {
                self.settling.push(Settling { request, sent });
            }
            (
                Taken::Settle,
                OpKind::HostWrite {
                    request,
                    sectors,
                    sent,
                    ..
                },
            ) => {
                self.oracle.part_done(sectors);
                self.settling.push(Settling { request, sent });
            }
            (Taken::Settle, _) => Err(Promise::Faults.broken("it waits for nothing"))?,
        }
        if is_failed_flush {
            self.check_lost()?;
        }
        Ok(())
    }

    /// A source flush that has failed was taken in. Of a write of which nothing is left to be mapped,
    /// the parts under way have to share the fate of those that were done. A discard may do nothing.
    fn note_dropped(&mut self) {
        let Self {
            requests, oracle, ..
        } = self;
        let mapped = requests.iter_mut().filter(|r| r.unmapped.is_empty());
        for request in mapped.filter(|r| r.op == Some(HostOp::Write)) {
            request.dropped |= oracle.is_part_lost(request.sectors);
        }
    }

    /// A request, or a part of it, is answered.
    fn answer(&mut self, op: Op, ok: bool) -> Result<(), Stop> {
        match op.kind {
            OpKind::HostRead {
                request,
                sectors,
                sent,
                wrong,
            } => {
                if ok && sent.is_from_clone() {
                    self.shared.read_from_clone(sectors);
                }
                if let (true, Some(broken)) = (ok, wrong) {
                    return Err(broken.into());
                }
                self.part_done(request, ok);
            }
            OpKind::HostWrite {
                request, sectors, ..
            } => {
                if ok {
                    self.oracle.part_done(sectors);
                }
                self.part_done(request, ok);
            }
            OpKind::HostFlush { request, .. } => self.flush_done(request, ok)?,
            OpKind::OwnFlush { .. } | OpKind::Copy { .. } | OpKind::Commit { .. } => {}
        }
        Ok(())
    }

    /// Looks at what waits for records.
    pub(super) fn settle(&mut self) -> Result<(), Stop> {
        for settling in core::mem::take(&mut self.settling) {
            let settled = self.engine.settle(&self.shared, &settling.sent);
            match (settled, settling.sent.is_flush()) {
                (Settled::Waiting, _) => self.settling.push(settling),
                (settled, true) => {
                    self.flush_done(settling.request, settled == Settled::Durable)?
                }
                (settled, false) => self.part_done(settling.request, settled == Settled::Durable),
            }
        }
        Ok(())
    }

    fn flush_done(&mut self, id: Stamp, ok: bool) -> Result<(), Stop> {
        self.trace(|| format!("flush {id} ok {ok}"));
        self.requests.retain(|r| r.id != id);
        if !ok {
            if self.params.faults.none() {
                Err(failed(id))?;
            }
            self.oracle.flush_failed(id);
            return Ok(());
        }
        self.oracle.flush_succeeded(id);
        self.check_lost()
    }

    /// Once the target knows what was lost.
    fn check_lost(&mut self) -> Result<(), Stop> {
        if self.is_unaware() {
            return Ok(());
        }
        let mapped = Mapped {
            shared: &self.shared,
            geometry: &self.geometry,
            source: &self.source,
            clone: &self.clone,
        };
        Ok(self.oracle.check_lost(|sector| mapped.read(sector))?)
    }

    /// A part of a request is done.
    pub(super) fn part_done(&mut self, id: Stamp, ok: bool) {
        let place = self.requests.iter().position(|r| r.id == id);
        let place = place.expect("request is known");
        let request = &mut self.requests[place];
        request.parts -= 1;
        request.failed |= !ok;
        if request.parts > 0 || !request.unmapped.is_empty() {
            return;
        }
        let request = self.requests.swap_remove(place);
        let ok = !request.failed;
        self.trace(|| format!("request {id} done ok {ok}"));
        if ok && request.dropped {
            let how =
                format!("request {id} succeeds, a part of which a failed flush may have dropped");
            self.found.get_or_insert(Promise::Flushed.broken(how));
        }
        self.stats.failed_requests += u64::from(!ok);
        if !ok && self.params.faults.none() {
            self.found.get_or_insert(failed(id));
        }
        if request.op == Some(HostOp::Read) {
            return self.oracle.read_done(id);
        }
        let fua = request.fua.then_some(&request.beside[..]);
        self.oracle
            .write_done(request.stamp(), request.sectors, ok, fua, self.tick);
        let discarded_nothing = request.op == Some(HostOp::Discard);
        if ok && !discarded_nothing {
            self.delta.overwritten(&self.geometry, request.sectors);
        }
    }

    /// Maps what is left of requests.
    pub(super) fn map_rest(&mut self) -> Result<(), Stop> {
        let ids: Vec<_> = self
            .requests
            .iter()
            .filter(|r| !r.unmapped.is_empty())
            .map(|r| r.id)
            .collect();
        for id in ids {
            if let Some(index) = self.requests.iter().position(|r| r.id == id) {
                self.map(index)?;
            }
        }
        Ok(())
    }
}

fn failed(id: Stamp) -> Broken {
    Promise::Faults.broken(format!("request {id} fails without a fault"))
}
