// SPDX-License-Identifier: GPL-2.0

//! Waiting for a condition. Nothing is asserted about how long it takes; the limit only ends a
//! run that hangs.

use anyhow::{bail, Result};
use std::fs;
use std::sync::{mpsc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use xtask::debug::slowness;

/// When a wait is given up, in the stock kernel.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// A limit, multiplied if this kernel is a slow one.
pub fn scaled(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = FACTOR.get_or_init(|| {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        slowness(release.trim())
    });
    limit * *factor
}

/// Asks again and again until there is an answer. `what` names what is waited for.
pub fn until<T>(what: &str, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_within(LIMIT, what, ask)
}

/// The same with another limit, for what takes long on a busy machine.
pub fn until_within<T>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let (start, limit) = (Instant::now(), scaled(limit));
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain: {what}");
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until a condition holds.
pub fn for_condition(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, || Ok(holds()?.then_some(())))
}

/// Waits until a figure has come to `target`. Gives up only when it no longer grows.
pub fn while_it_grows(
    what: &str,
    target: u64,
    mut figure: impl FnMut() -> Result<u64>,
) -> Result<()> {
    let mut last = figure()?;
    while last < target {
        last = until(what, || {
            let now = figure()?;
            Ok((now > last).then_some(now))
        })?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Something that runs in a thread of its own: an I/O that may be held up.
pub struct Background<T> {
    what: String,
    thread: thread::JoinHandle<T>,
    id: mpsc::Receiver<rustix::thread::Pid>,
}

/// Starts something in a thread.
pub fn background<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Background<T> {
    let (tell, id) = mpsc::channel();
    let thread = thread::spawn(move || {
        // Nobody may want to know.
        let _ = tell.send(rustix::thread::gettid());
        work()
    });
    Background {
        what: what.to_string(),
        thread,
        id,
    }
}

impl<T> Background<T> {
    /// Whether it has ended.
    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the thread waits for its I/O: the request is with the device.
    pub fn wait_submitted(&self) -> Result<()> {
        let id = self.id.recv()?.as_raw_nonzero();
        for_condition(&format!("{} waits for its I/O", self.what), || {
            let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            Ok(state == Some('D') || self.is_done())
        })
    }

    /// Waits for its end.
    pub fn join(self) -> Result<T> {
        for_condition(&format!("{} ends", self.what), || {
            Ok(self.thread.is_finished())
        })?;
        self.join_whenever()
    }

    /// Waits for its end, however long that takes.
    pub fn join_whenever(self) -> Result<T> {
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("{} panicked", self.what))
    }
}
