// SPDX-License-Identifier: GPL-2.0

//! The worker: takes what has happened to the engine and does what the engine says.
//!
//! One job on a queue of its own; it never runs twice at once. Each run goes through the steps of
//! [`round`] in order, until nothing is left to do now. It waits for metadata I/O of a checkpoint only,
//! which needs nothing from it, but not between the attempts of a request that fails. What happens
//! meanwhile is left in the hand-over and makes it run again.
//!
//! While the machine goes to sleep a run goes on with further rounds instead, until what it has begun
//! has ended: the freezer waits for it, see [`pm`](super::pm).

use super::ended::take_ended;
use super::metadata::{self, Advance};
use super::per_bio::Io;
use super::pm as sleep;
use super::report;
use super::state::{Core, WorkerState, COMMIT, FLUSH};
use crate::dm::{
    buffer::Span, io::Durability, noio::NoIo, pm, shared::Ref, time::now_ns, Bio, BioList, Status,
};
use crate::engine::{
    base::run::Run,
    copy::choose::{Background, CopyOutcome},
    copy::job::CopyResult,
    format::BLOCK_SECTORS,
    record::checkpoint::{Checkpoint, Purpose},
    record::commit::Commit,
    record::commit::Written,
    request::admit::Admission,
    request::in_flight::InFlight,
    sync::flushes::{FlushNeed, Settled},
};

/// While the machine goes to sleep: how long a run waits for what comes next, in nanoseconds. A kernel
/// thread that is in the middle of a row of writes is not frozen before these are done, and they would
/// not be, once the queue is.
const LINGER: u64 = 50_000_000;
/// The shortest and the longest wait at a time for something under way, in nanoseconds. It rings when
/// that has ended.
const WAIT: [u64; 2] = [1_000_000, 1_000_000_000];

/// The job's function.
pub(super) fn run(core: Ref<Core>) {
    let _noio = NoIo::enter();
    loop {
        let round = round(&core);
        if pm::in_transition() && !is_over(&core, &round) {
            continue;
        }
        if round.wake_at != u64::MAX {
            core.job.run_at(&core, round.wake_at);
        }
        return;
    }
}

/// What one round leaves.
struct Round {
    /// When to look again.
    wake_at: u64,
    /// Something that was begun is under way.
    busy: bool,
}

fn round(core: &Ref<Core>) -> Round {
    let mut worker = core.worker.lock();
    // If it cannot be read, the checkpoint that then begins fails.
    let _ = sleep::look(core, &mut worker);
    take_ended(core, &mut worker);
    take_copies(core, &mut worker);
    take_commit(core, &mut worker);
    admit(core, &mut worker);
    gather(core, &mut worker);
    let wake_at = commit(core, &mut worker);
    settle(core, &mut worker);
    let wake_at = wake_at
        .min(flush(core, &mut worker))
        .min(copy(core, &worker));
    let engine = core.engine.lock();
    let in_flight = worker.flushing || engine.is_copying() || engine.is_committing();
    let busy = in_flight || worker.checkpoint.is_some();
    drop(engine);
    drop(worker);
    report::raise_events(core);
    Round { wake_at, busy }
}

/// While the machine goes to sleep: waits until something has happened, or returns that nothing is
/// under way and nothing comes.
fn is_over(core: &Core, round: &Round) -> bool {
    let longest = if round.busy {
        let [shortest, longest] = WAIT;
        round
            .wake_at
            .saturating_sub(now_ns())
            .clamp(shortest, longest)
    } else {
        LINGER
    };
    let rung = core.wakeup.wait(longest);
    !rung && !round.busy
}

fn take_copies(core: &Core, worker: &mut WorkerState) {
    loop {
        // Bound to a name, so that the lock is not held while the result is taken in.
        let next = core.handover.lock().take_copy();
        match next {
            Some((job, result)) => copy_done(core, worker, job, result),
            None => return,
        }
    }
}

fn copy_done(core: &Core, worker: &mut WorkerState, job: usize, result: CopyResult) {
    let mut engine = core.engine.lock();
    let under_way = engine.copy_under_way(job);
    let outcome = engine.copy_done(&core.shared, job, result, now_ns());
    drop(engine);
    if !result.is_ok() {
        report::copy_failed(core, result, under_way);
    }
    if let CopyOutcome::Failed(extents) = outcome {
        fail_waiting(worker, extents);
    }
}

/// The copy of `extents` has failed: whoever waited for it fails too, when it is asked next.
fn fail_waiting(worker: &mut WorkerState, extents: Run) {
    let mut waiting = ::core::mem::take(&mut worker.waiting);
    while let Some(mut bio) = waiting.pop() {
        if let Some(ticket) = bio.io_mut().in_flight.ticket_mut() {
            ticket.copy_failed(extents);
        }
        worker.waiting.push(bio);
    }
}

/// The journal block is written, or has to be written again.
fn take_commit(core: &Ref<Core>, worker: &mut WorkerState) {
    let commit = core.handover.lock().commit.take();
    let mut engine = core.engine.lock();
    let written = if let Some((ok, buf)) = commit {
        worker.block = buf;
        worker
            .commit_delay
            .written(now_ns(), engine.touches_waiting());
        engine.commit_written(&core.shared, ok, now_ns())
    } else {
        engine.commit_confirmed(&core.shared)
    };
    if let Written::Again(at) = written {
        worker.try_again_at = at.max(1);
    }
}

/// Asks for each request that waits what it may do now.
fn admit(core: &Ref<Core>, worker: &mut WorkerState) {
    let waiting = ::core::mem::take(&mut worker.waiting);
    admit_all(core, worker, waiting);
    admit_new(core, worker);
}

/// Asks for those that have come since the last call.
fn admit_new(core: &Ref<Core>, worker: &mut WorkerState) {
    let new = core.handover.lock().take_deferred();
    admit_all(core, worker, new);
}

fn admit_all(core: &Ref<Core>, worker: &mut WorkerState, mut bios: BioList<Bio<Io>>) {
    while let Some(bio) = bios.pop() {
        admit_one(core, worker, bio);
    }
}

fn admit_one(core: &Ref<Core>, worker: &mut WorkerState, mut bio: Bio<Io>) {
    loop {
        let Some(ticket) = bio.io_mut().in_flight.ticket_mut() else {
            return bio.complete(Status::IOERR);
        };
        let sector = ticket.request().sectors.start();
        let admission = core.engine.lock().admit(&core.shared, ticket, now_ns());
        match admission {
            Admission::Go => {
                bio.io_mut().in_flight.to_source(&core.shared);
                return bio.submit_to(&core.devices.source, sector);
            }
            Admission::Complete => return bio.complete(Status::OK),
            Admission::Fail => {
                bio.io().in_flight.refused(&core.shared);
                return bio.complete(Status::IOERR);
            }
            Admission::Wait => return worker.waiting.push(bio),
            // Asked again at once: both ends of a request may need a copy.
            Admission::Copy(copy) => core.copies.start(core, copy),
        }
    }
}

/// Waits for those who are about to send first touches, see [`gather`](crate::engine::record::commit_delay).
fn gather(core: &Ref<Core>, worker: &mut WorkerState) {
    worker.commit_delay.released(now_ns());
    loop {
        let [gathered, _] = core.engine.lock().touches_waiting();
        let Some(wait) = worker.commit_delay.next_wait(now_ns(), gathered) else {
            return;
        };
        let alone = core.handover.lock().await_deferred(wait.requests);
        if alone {
            core.wakeup.wait(wait.ns);
        }
        // Nothing has happened that the others wait for.
        admit_new(core, worker);
    }
}

/// Writes the next journal block, and makes checkpoints. Returns when to look again.
fn commit(core: &Ref<Core>, worker: &mut WorkerState) -> u64 {
    if !worker.active {
        return u64::MAX;
    }
    if worker.try_again_at > now_ns() {
        return worker.try_again_at;
    }
    let failed = ::core::mem::take(&mut worker.try_again_at) > 0;
    if failed && worker.checkpoint.is_none() {
        write_block(core, worker);
        return u64::MAX;
    }
    if worker.checkpoint.is_none() && !core.engine.lock().is_committing() {
        worker.checkpoint = sleep::begin_anew(core, worker);
    }
    loop {
        if let Some(wake_at) = advance_checkpoint(core, worker) {
            return wake_at;
        }
        let Some(block) = worker.block.as_mut().and_then(|buf| buf.block_mut(0)) else {
            return u64::MAX;
        };
        let mut engine = core.engine.lock();
        let next = engine.next_commit(&core.shared, block);
        let due = next == Commit::Nothing && engine.wants_checkpoint();
        drop(engine);
        match next {
            Commit::Write(place) => {
                worker.block_place = place;
                write_block(core, worker);
                return u64::MAX;
            }
            Commit::Nothing if !due => return u64::MAX,
            Commit::Nothing | Commit::Checkpoint => {
                worker.checkpoint = Some(Checkpoint::new(Purpose::Running));
            }
        }
    }
}

/// Goes on with the checkpoint under way. Returns when to look again, if it is not over or has failed.
/// What it waits for makes the worker run.
fn advance_checkpoint(core: &Ref<Core>, worker: &mut WorkerState) -> Option<u64> {
    let mut checkpoint = worker.checkpoint.take()?;
    match metadata::advance(core, worker, &mut checkpoint) {
        Ok(Advance::Done) => None,
        Ok(Advance::Waits) => {
            worker.checkpoint = Some(checkpoint);
            Some(u64::MAX)
        }
        Ok(Advance::Again(at)) => {
            worker.checkpoint = Some(checkpoint);
            worker.try_again_at = at;
            Some(at)
        }
        Ok(Advance::Failed) | Err(_) => {
            // Those who wait for a record are to be told.
            wake(core);
            Some(u64::MAX)
        }
    }
}

fn write_block(core: &Ref<Core>, worker: &mut WorkerState) {
    let Some(buf) = worker.block.take() else {
        return;
    };
    let sector = worker.block_place.saturating_mul(BLOCK_SECTORS);
    let span = Span::whole(&buf);
    let device = &core.devices.metadata;
    worker.commit_delay.sent(now_ns());
    core.engine.lock().commit_sent(&core.shared);
    let submitted = core.async_io.write(
        core.clone(),
        COMMIT,
        device,
        sector,
        buf,
        span,
        Durability::Fua,
    );
    if let Err(refused) = submitted {
        // Never busy: there is one block at a time. Taken as a failed write all the same.
        core.handover.lock().commit = Some((false, Some(refused.buf)));
        wake(core);
    }
}

/// Makes the worker run once more.
fn wake(core: &Ref<Core>) {
    core.job.enqueue(core);
}

/// Flushes and FUA writes whose records are durable are done.
fn settle(core: &Core, worker: &mut WorkerState) {
    let mut syncing = ::core::mem::take(&mut worker.syncing);
    while let Some(bio) = syncing.pop() {
        let settled = core.engine.lock().settle(&core.shared, &bio.io().in_flight);
        match settled {
            Settled::Waiting => worker.syncing.push(bio),
            Settled::Durable => bio.complete(Status::OK),
            Settled::Failed => bio.complete(Status::IOERR),
        }
    }
}

/// Flushes the source if the host does not. Returns when to look again.
fn flush(core: &Ref<Core>, worker: &mut WorkerState) -> u64 {
    if !worker.active || worker.flushing {
        return u64::MAX;
    }
    let waited_for = !worker.syncing.is_empty();
    let need = core
        .engine
        .lock()
        .flush_need(&core.shared, now_ns(), waited_for);
    match need {
        FlushNeed::None => return u64::MAX,
        FlushNeed::At(time) => return time,
        FlushNeed::Now => {}
    }
    worker.flushing = true;
    core.handover.lock().flushing = Some(InFlight::own_flush(&core.shared));
    let submitted = core
        .async_io
        .flush(core.clone(), FLUSH, &core.devices.source);
    if submitted.is_err() {
        // Never busy: there is one flush at a time. Taken as a failed one all the same.
        core.flush_ended(false);
    }
    u64::MAX
}

/// Starts the background's next copies. Returns when to look again.
fn copy(core: &Ref<Core>, worker: &WorkerState) -> u64 {
    if !worker.active {
        return u64::MAX;
    }
    loop {
        let mut engine = core.engine.lock();
        engine.rest(pm::in_transition());
        let next = engine.next_copy(&core.shared, now_ns());
        drop(engine);
        match next {
            Background::Copy(copy) => core.copies.start(core, copy),
            Background::NotBefore(time) => return time,
            Background::Nothing => return u64::MAX,
        }
    }
}
