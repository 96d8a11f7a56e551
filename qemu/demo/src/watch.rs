// SPDX-License-Identifier: GPL-2.0

//! Watching a restore through `dmsetup status`.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use dm_restore_demo::{Event, Progress};

use crate::load::Meter;
use crate::{report, volume};

const INTERVAL: Duration = Duration::from_millis(250);
/// A restore of two gigabytes that takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(600);

/// Report progress until the target is back in tracking; returns the time since `began`.
///
/// # Errors
///
/// The status cannot be read, requests failed, or the restore does not end.
pub fn until_finished(began: Instant, delta: u64, load: &Meter) -> Result<Duration> {
    loop {
        let status = volume::status()?;
        let time = began.elapsed();
        let finished = status.mode == "tracking";
        report::event(&Event::Progress(Progress {
            delta,
            unrestored: if finished { 0 } else { status.delta },
            commits: load.commits(),
        }));
        if finished {
            return Ok(time);
        }
        ensure!(status.errors == 0, "requests failed: {status:?}");
        ensure!(time < LIMIT, "the restore does not end: {status:?}");
        thread::sleep(INTERVAL);
    }
}
