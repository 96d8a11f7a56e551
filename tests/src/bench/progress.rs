// SPDX-License-Identifier: GPL-2.0

//! How long a copy takes: from the ioctl that begins it to the event, or the last request, that ends
//! it.

use super::ioctls::{Trace, MESSAGE, SUSPEND, WAIT};
use super::ours::Ours;
use super::peers::{Peer, Snapshot};
use crate::dm;
use crate::stats;
use crate::wait::{self, Background};
use anyhow::{ensure, Context, Result};
use std::thread;
use std::time::Duration;

/// A `dmsetup wait` for the next event of a device. It runs before the copy begins.
struct Event(Background<Result<String>>);

impl Event {
    fn of(name: &str) -> Result<Self> {
        let words = ["info", "-c", "--noheadings", "-o", "events", name];
        let seen = dm::ok(&words)?.trim().to_string();
        let name = name.to_string();
        let waiting = wait::background("dmsetup wait", move || dm::ok(&["wait", &name, &seen]));
        // The process has to be in its call before anything happens.
        thread::sleep(Duration::from_millis(500));
        ensure!(!waiting.is_done(), "an event came too early");
        Ok(Self(waiting))
    }

    /// Waits for it.
    fn wait(self) -> Result<()> {
        self.0.join_whenever()?.map(drop)
    }
}

/// Seconds of a restore: the call of `start_restore`, and from resume to the event. Between the two
/// the device is suspended and nothing happens.
pub fn restore(trace: &Trace, ours: &Ours) -> Result<f64> {
    ours.suspend()?;
    trace.forget()?;
    ours.message("start_restore")?;
    let event = Event::of(ours.name())?;
    ours.resume()?;
    event.wait()?;
    let (start, resume) = (trace.last(MESSAGE)?, trace.last(SUSPEND)?);
    let end = trace.last(WAIT)?;
    ensure!(
        end.left > resume.entered,
        "the event came before the resume"
    );
    let status = ours.status()?;
    ensure!(
        status.mode == "tracking" && status.cdm == 0,
        "the restore is not over: {status:?}"
    );
    Ok(start.took() + end.left - resume.entered)
}

/// Seconds that `clone` copies, from the message that lets it to the last write to `to`, a mapped
/// device, which counts. Its event comes with its next commit, up to a second later.
pub fn hydration(trace: &Trace, clone: &Peer, to: &Peer) -> Result<f64> {
    let sysfs = stats::sysfs(&to.path())?;
    trace.forget()?;
    clone.message("enable_hydration")?;
    let end = last_write(&sysfs, || clone.hydrated())?;
    Ok(end - trace.last(MESSAGE)?.entered)
}

/// Seconds of a merge: from resume to the last write to the store, of which there is one for each
/// chunk or some of them. There is no event. `store` is a mapped device, which counts.
pub fn merge(trace: &Trace, snapshot: &mut Snapshot, store: &Peer) -> Result<f64> {
    snapshot.prepare_merge()?;
    let sysfs = stats::sysfs(&store.path())?;
    trace.forget()?;
    dm::ok(&["resume", snapshot.origin().name()])?;
    let end = last_write(&sysfs, || snapshot.merged())?;
    Ok(end - trace.last(SUSPEND)?.entered)
}

/// When the last write to a device was seen: nothing came after it for a while, and `done` holds.
fn last_write(sysfs: &str, done: impl Fn() -> Result<bool>) -> Result<f64> {
    /// Seconds.
    const QUIET: f64 = 1.0;
    const PAUSE: Duration = Duration::from_millis(5);
    let mut written = stats::moved(sysfs)?.written;
    let mut last = monotonic()?;
    loop {
        let (seen, now) = (stats::moved(sysfs)?.written, monotonic()?);
        if seen != written {
            (written, last) = (seen, now);
        } else if now - last > QUIET && done()? {
            return Ok(last);
        }
        thread::sleep(PAUSE);
    }
}

/// The trace's clock, seconds.
fn monotonic() -> Result<f64> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanoseconds = u32::try_from(now.tv_nsec).context("nanoseconds")?;
    Ok(now.tv_sec as f64 + f64::from(nanoseconds) / 1e9)
}
