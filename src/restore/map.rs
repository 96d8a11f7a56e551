// SPDX-License-Identifier: GPL-2.0

//! The fast path: a request comes, a request is done.
//!
//! Takes no lock for reads and for writes to marked extents; what cannot go at once is left in the
//! hand-over for the worker. Nothing here sleeps, and [`end_io`] may run in a hard interrupt.

use super::per_bio::Io;
use super::state::Core;
use crate::dm::linger::{linger, Place};
use crate::dm::shared::Owner;
use crate::dm::{
    dm_warn_limited, pm, time::now_ns, EndBio, EndVerdict, MapBio, Op, Status, Verdict,
};
use crate::engine::base::run::Run;
use crate::engine::request::in_flight::{Ended, InFlight};
use crate::engine::request::plan::{self, plan, Plan, Request, Route};

/// Decides where a request goes.
pub(super) fn map<'b>(core: &Owner<Core>, mut bio: MapBio<'b, Io>) -> Verdict<'b> {
    let sample = core.shared.host_latency.request(now_ns);
    let op = match bio.op() {
        Op::Read => plan::Op::Read,
        Op::Write | Op::WriteZeroes => plan::Op::Write,
        Op::Discard => plan::Op::Discard,
        Op::Flush => return map_flush(core, bio),
        Op::SecureErase | Op::Other => return bio.complete(Status::NOTSUPP),
    };
    let fua = bio.is_fua();
    bio.io_mut().in_flight.begin(&core.shared, op, fua);
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
    // What is deferred waits for more than a device.
    if plan.route != Route::Defer {
        bio.io_mut().sample = sample;
    }
    route(core, bio, request, plan)
}

fn route<'b>(
    core: &Owner<Core>,
    mut bio: MapBio<'b, Io>,
    request: Request,
    plan: Plan,
) -> Verdict<'b> {
    let sector = request.sectors.start();
    if waits_for_ever(core, &bio.io_mut().in_flight, plan.route) {
        return fail_left_behind(core, bio);
    }
    match plan.route {
        Route::Source => {
            bio.io_mut().in_flight.to_source(&core.shared);
            if request.op == plan::Op::Discard {
                core.shared.note_unstable(Run::new(sector, plan.sectors));
            }
            bio.remap(&core.devices.source, sector)
        }
        Route::Clone => {
            bio.io_mut().in_flight.to_clone();
            bio.remap_read(&core.devices.clone, sector)
        }
        Route::Complete => bio.complete(Status::OK),
        Route::Fail => bio.complete(Status::IOERR),
        Route::Defer => {
            let sectors = Run::new(sector, plan.sectors);
            bio.io_mut().in_flight.defer(Request { sectors, ..request });
            let (bio, verdict) = bio.defer();
            let awaited = core.handover.lock().defer(bio);
            Core::wake(&core.share());
            if awaited {
                core.wakeup.ring();
            }
            verdict
        }
    }
}

/// Whether a request needs the worker in the line of history that is left behind, where it is frozen.
fn waits_for_ever(core: &Core, sent: &InFlight, route: Route) -> bool {
    match route {
        Route::Defer => pm::is_left_behind(),
        Route::Source if sent.is_sync() => pm::is_left_behind() && !sent.is_settled(&core.shared),
        _ => false,
    }
}

fn fail_left_behind<'b>(core: &Core, bio: MapBio<'b, Io>) -> Verdict<'b> {
    dm_warn_limited!(
        core.log_limit,
        core.name,
        "a request fails: it needs a record, and the machine is being hibernated"
    );
    bio.complete(Status::IOERR)
}

/// A flush goes to the source first. What it covers is settled now, before it is submitted.
fn map_flush<'b>(core: &Owner<Core>, mut bio: MapBio<'b, Io>) -> Verdict<'b> {
    if pm::is_left_behind() && !core.shared.sync.is_settled(core.shared.sync.sync_point()) {
        return fail_left_behind(core, bio);
    }
    bio.io_mut().in_flight = InFlight::flush(&core.shared);
    bio.remap(&core.devices.source, 0)
}

/// The I/O of a request is done: mostly so is the request.
pub(super) fn end_io<'b>(
    core: &Owner<Core>,
    mut bio: EndBio<'b, Io>,
    status: Status,
) -> EndVerdict<'b> {
    let io = bio.io_mut();
    core.shared.host_latency.done(io.sample, now_ns);
    // What the device itself has failed counts, but for a request that would have had to block.
    let begun = status != Status::AGAIN;
    let failed = !status.is_ok() && begun && !io.in_flight.is_flush();
    if failed {
        core.shared.count_error(io.in_flight.is_from_clone());
    }
    io.error = (!status.is_ok()).then_some(status);
    let op = bio.op();
    if op == Op::Discard || failed && op != Op::Read {
        // A write that was sent beside a discard may have come first; one that has failed may land
        // later.
        core.shared
            .note_unstable(Run::new(bio.sector(), u64::from(bio.sectors())));
    }
    let io = bio.io_mut();
    let ended = if begun {
        io.in_flight.ended(&core.shared, status.is_ok())
    } else {
        io.in_flight.not_begun(&core.shared)
    };
    if let Ended::Answer(ok) = ended {
        let (status, from_clone) = (io.status(ok), io.in_flight.is_from_clone());
        if ok && from_clone {
            copy_soon(core, &bio);
        }
        return bio.finish(status);
    }
    let this = core.share();
    let (bio, verdict) = bio.hold();
    this.handover.lock().ended.push(bio);
    linger(Place::GaveAway);
    Core::wake(&this);
    verdict
}

/// The host has read from the clone: the same is copied next.
fn copy_soon(core: &Owner<Core>, bio: &EndBio<'_, Io>) {
    let sectors = Run::new(bio.sector(), u64::from(bio.sectors()));
    if core.shared.read_from_clone(sectors) {
        core.job.enqueue(&core.share());
    }
}
