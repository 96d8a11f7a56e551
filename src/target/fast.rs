// SPDX-License-Identifier: GPL-2.0

//! The fast path: a request comes, a request is done.
//!
//! Takes no lock for reads and for writes to marked extents; what cannot go at once is left in the
//! inbox for the worker. Nothing here sleeps, and [`end_io`] may run in a hard interrupt.

use super::core::Core;
use super::Restore;
use crate::dm::shared::Owner;
use crate::dm::{EndBio, EndVerdict, MapBio, Op, Status, Verdict};
use crate::engine::machine::SyncPoint;
use crate::engine::plan::{self, plan, Plan, Request, Route};
use crate::engine::requests::Ticket;
use crate::engine::run::Run;

/// What the target keeps for each request.
#[derive(Default)]
pub(crate) struct Io {
    /// It was deferred.
    pub(super) ticket: Option<Ticket>,
    /// A flush or FUA write: what it waits for behind its I/O.
    pub(super) sync: Option<SyncPoint>,
    /// A flush: it also stands for data that other requests have written.
    pub(super) is_flush: bool,
    /// Losses when it was sent, see [`Shared::lost_since`](crate::engine::machine::Shared).
    losses: u64,
    /// It reads from the clone.
    pub(super) from_clone: bool,
    /// Its I/O has failed, and how.
    pub(super) error: Option<Status>,
}

/// Decides where a request goes.
pub(super) fn map<'b>(core: &Owner<Core>, mut bio: MapBio<'b, Restore>) -> Verdict<'b> {
    core.note_host();
    let op = match bio.op() {
        Op::Read => plan::Op::Read,
        Op::Write | Op::WriteZeroes => plan::Op::Write,
        Op::Discard => plan::Op::Discard,
        Op::Flush => return map_flush(core, bio),
        Op::SecureErase | Op::Other => return bio.complete(Status::NOTSUPP),
    };
    // Before the maps are looked at: what is lost from here on concerns this request.
    let fua = op != plan::Op::Read && bio.is_fua();
    let point = fua.then(|| core.shared.fua_point());
    let losses = point.map_or_else(|| core.shared.losses(), SyncPoint::losses);
    let request = Request {
        op,
        sectors: Run::new(bio.sector(), u64::from(bio.sectors())),
        whole: bio.is_atomic(),
    };
    let plan = plan(
        &core.shared.maps.view(),
        core.shared.maps.geometry(),
        request,
        core.passes_discards(),
    );
    // At most what the request has, and that is 32 bits.
    if bio.accept(plan.sectors as u32).is_err() {
        return bio.kill();
    }
    let io = bio.io_mut();
    io.losses = losses;
    io.sync = point;
    route(core, bio, request, plan)
}

fn route<'b>(
    core: &Owner<Core>,
    mut bio: MapBio<'b, Restore>,
    request: Request,
    plan: Plan,
) -> Verdict<'b> {
    let sector = request.sectors.start();
    match plan.route {
        Route::Source => bio.remap(&core.devices.source, sector),
        Route::Clone => {
            bio.io_mut().from_clone = true;
            bio.remap_read(&core.devices.clone, sector)
        }
        Route::Complete => bio.complete(Status::OK),
        Route::Fail => bio.complete(Status::IOERR),
        Route::Defer => {
            let sectors = Run::new(sector, plan.sectors);
            bio.io_mut().ticket = Some(Ticket::new(Request { sectors, ..request }));
            let (bio, verdict) = bio.defer();
            core.inbox.lock().deferred.push(bio);
            core.job.enqueue(&core.share());
            verdict
        }
    }
}

/// A flush goes to the source first. What it covers is settled now, before it is submitted.
fn map_flush<'b>(core: &Owner<Core>, mut bio: MapBio<'b, Restore>) -> Verdict<'b> {
    let io = bio.io_mut();
    io.sync = Some(core.shared.sync_point());
    io.is_flush = true;
    bio.remap(&core.devices.source, 0)
}

/// The I/O of a request is done: mostly so is the request.
pub(super) fn end_io<'b>(
    core: &Owner<Core>,
    mut bio: EndBio<'b, Restore>,
    status: Status,
) -> EndVerdict<'b> {
    let io = bio.io_mut();
    // What the device itself has failed counts, but for a request that would have had to block.
    if !status.is_ok() && status != Status::AGAIN && !io.is_flush {
        core.shared.count_error(io.from_clone);
    }
    io.error = match status {
        Status::OK if is_lost(core, io) => Some(Status::IOERR),
        Status::OK => None,
        failed => Some(failed),
    };
    if io.is_flush && io.error.is_some() {
        core.shared.note_failed_flush();
    }
    let status = io.error.unwrap_or(Status::OK);
    let overwrites = io.ticket.as_ref().is_some_and(Ticket::is_overwrite);
    let settled = match io.sync {
        None => true,
        // A write that has failed waits for nothing; a flush that has failed has consequences.
        Some(_) if io.error.is_some() => !io.is_flush,
        Some(point) => {
            // A flush covers what was done when it was submitted. A FUA write waits for all that was
            // recorded for its extents until now.
            let point = if io.is_flush {
                point
            } else {
                core.shared.later(point)
            };
            io.sync = Some(point);
            core.shared.is_settled(point)
        }
    };
    if settled && !overwrites {
        return bio.finish(status);
    }
    let (bio, verdict) = bio.hold();
    core.inbox.lock().ended.push(bio);
    core.job.enqueue(&core.share());
    verdict
}

/// Whether a source flush that failed may have taken along what a request has written to the source,
/// or have changed what it has read there. Overwrites are judged by the engine, flushes when they
/// are settled.
fn is_lost(core: &Core, io: &Io) -> bool {
    match &io.ticket {
        Some(ticket) => !ticket.is_overwrite() && ticket.is_lost(&core.shared),
        None => !io.is_flush && !io.from_clone && core.shared.lost_since(io.losses),
    }
}
