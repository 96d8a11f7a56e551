// SPDX-License-Identifier: GPL-2.0

//! How long the calls take after which the host goes on: activation, and the start of a restore.

use super::ioctls::{Trace, MESSAGE, SUSPEND};
use super::ours::{Ours, Place};
use crate::dm;
use crate::io::Device;
use anyhow::{ensure, Result};
use std::time::Instant;

/// Makes the device over metadata that exist. Seconds of the call that resumes, and of the first
/// read.
pub fn activate(trace: &Trace, place: &Place, features: &str) -> Result<(Ours, f64)> {
    dm::ok(&["create", "ours", "--notable"])?;
    let ours = Ours::at("ours")?;
    dm::ok(&["load", ours.name(), "--table", &place.table(features)])?;
    trace.forget()?;
    ours.resume()?;
    let device = Device::open(&ours.path())?;
    let clock = Instant::now();
    device.read(0..8)?;
    let read = clock.elapsed().as_secs_f64();
    let resume = trace.last(SUSPEND)?;
    ensure!(ours.status()?.mode == "tracking", "not loaded");
    Ok((ours, resume.took() + read))
}

/// Seconds of the call of `start_restore`, on a device that does not copy and of which so many extents
/// differ.
pub fn start(trace: &Trace, ours: &Ours, differ: u64) -> Result<f64> {
    ours.suspend()?;
    trace.forget()?;
    ours.message("start_restore")?;
    let call = trace.last(MESSAGE)?;
    ours.resume()?;
    let status = ours.status()?;
    ensure!(
        status.mode == "restoring" && status.cdm == differ,
        "no restore of {differ} extents: {status:?}"
    );
    Ok(call.took())
}
