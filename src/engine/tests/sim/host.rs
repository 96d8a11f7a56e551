// SPDX-License-Identifier: GPL-2.0

//! The host's requests: what the target does in `map` and when a device has done its part.

use super::check::Mapped;
use super::devices::{Op, OpKind};
use super::disk::Stamp;
use super::oracle;
use super::promise::{Broken, Promise, Stop};
use super::world::World;
use crate::flushes::Settled;
use crate::machine::SyncPoint;
use crate::plan::{plan, Op as HostOp, Request as Planned, Route};
use crate::requests::Ticket;
use crate::run::Run;

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
}

/// A deferred part.
pub struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) request: Stamp,
    pub(super) sectors: Run,
    pub(super) point: SyncPoint,
}

/// A flush, or a part of a FUA write, that waits for records.
pub struct Settling {
    pub(super) request: Stamp,
    pub(super) point: SyncPoint,
    pub(super) is_flush: bool,
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
        self.host_seen = true;
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
        let sectors = match op {
            Some(_) => self.any_sectors(),
            None => Run::EMPTY,
        };
        let writes = matches!(op, Some(HostOp::Write | HostOp::Discard));
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
            let point = self.shared.sync_point();
            let request = self.requests[index].id;
            self.submit(OpKind::HostFlush { request, point });
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
        // Noted before the maps are looked at.
        let point = self.shared.sync_point();
        let request = &mut self.requests[index];
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
        let (id, fua) = (request.id, request.fua);
        let stamp = request.stamp();
        self.trace(|| format!("request {id} part {part:?} {:?}", plan.route));
        match (plan.route, op) {
            (Route::Source | Route::Clone, HostOp::Read) => self.submit(OpKind::HostRead {
                request: id,
                sectors: part,
                from_clone: plan.route == Route::Clone,
                losses: point.losses,
                wrong: None,
            }),
            (Route::Source, _) => self.submit(OpKind::HostWrite {
                request: id,
                sectors: part,
                stamp,
                fua,
                ticket: None,
                point,
            }),
            (Route::Clone, _) => Err(Promise::Clone.broken("a write goes to the clone"))?,
            (Route::Complete, _) => self.part_done(id, true),
            (Route::Fail, _) => {
                if self.recordable() {
                    Err(failed(id))?;
                }
                self.part_done(id, false);
            }
            (Route::Defer, _) => self.waiting.push(Waiting {
                ticket: Ticket::new(Planned {
                    sectors: part,
                    ..planned
                }),
                request: id,
                sectors: part,
                point,
            }),
        }
        Ok(())
    }

    /// An admitted part goes to the source.
    pub(super) fn go(&mut self, waiting: Waiting) {
        let request = self
            .requests
            .iter()
            .find(|r| r.id == waiting.request)
            .expect("request is known");
        let kind = OpKind::HostWrite {
            request: request.id,
            sectors: waiting.sectors,
            stamp: request.stamp(),
            fua: request.fua,
            ticket: Some(waiting.ticket),
            point: waiting.point,
        };
        self.submit(kind);
    }

    /// The source has done its part of a write.
    pub(super) fn host_write_done(&mut self, op: Op, mut ok: bool) {
        let OpKind::HostWrite {
            request,
            sectors,
            fua,
            ticket,
            point,
            ..
        } = op.kind
        else {
            return;
        };
        match ticket {
            Some(mut ticket) => {
                if !ticket.is_overwrite() {
                    self.source.complete(op.id, sectors, self.tick);
                }
                ok = self.engine.completed(&self.shared, &mut ticket, ok);
            }
            None => {
                self.source.complete(op.id, sectors, self.tick);
                ok = ok && !self.shared.lost_since(point.losses);
            }
        }
        if ok {
            self.oracle.part_done(sectors);
        }
        if !ok || !fua {
            return self.part_done(request, ok);
        }
        let point = self.shared.later(point);
        if self.shared.is_settled(point) {
            return self.part_done(request, true);
        }
        self.settling.push(Settling {
            request,
            point,
            is_flush: false,
        });
    }

    /// The source has done a flush of the host's.
    pub(super) fn host_flush_done(
        &mut self,
        request: Stamp,
        point: SyncPoint,
        ok: bool,
    ) -> Result<(), Stop> {
        if !ok {
            self.source_flush_failed(false);
            self.flush_done(request, false)?;
            return Ok(());
        }
        // The fast path of a target need not ask the engine.
        if self.rng.below(2) == 0 && self.shared.is_settled(point) {
            return self.flush_done(request, true);
        }
        self.engine.flushed(point);
        self.settling.push(Settling {
            request,
            point,
            is_flush: true,
        });
        Ok(())
    }

    /// A source flush has failed, whoever sent it.
    pub(super) fn source_flush_failed(&mut self, own: bool) {
        self.oracle.lost(None);
        if own {
            self.engine.own_flush_failed(&self.shared);
        } else {
            self.engine.flush_failed(&self.shared);
        }
        self.delta.inexact();
    }

    /// Looks at what waits for records.
    pub(super) fn settle(&mut self) -> Result<(), Stop> {
        for settling in core::mem::take(&mut self.settling) {
            let settled = self
                .engine
                .settle(&self.shared, settling.point, settling.is_flush);
            match (settled, settling.is_flush) {
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
        let mapped = Mapped {
            shared: &self.shared,
            geometry: &self.geometry,
            source: &self.source,
            clone: &self.clone,
        };
        let told = self
            .oracle
            .flush_succeeded(id, |sector| mapped.read(sector));
        Ok(told?)
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
