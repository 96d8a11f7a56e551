// SPDX-License-Identifier: GPL-2.0

//! Restores under load while allocations or requests fail: nothing that was acknowledged is lost,
//! nothing wrong is read, and when the failures end the restore does too.

use super::attribute::Kind;
use super::host::{Host, EXTENT, LENGTH};
use super::volume::{Volume, RATE};
use crate::scenarios::explained;
use anyhow::{ensure, Context, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::kmsg::Log;
use dm_restore_tests::random::Random;
use dm_restore_tests::rig::{Rig, Spec};
use std::sync::atomic::Ordering;

/// How often failures begin and end.
const ROUNDS: u64 = 4;
/// Steps of a round.
const STEPS: u64 = 15;
/// Requests between two steps.
const REQUESTS: u64 = 60;

/// Restores while failures of this kind happen.
pub fn under(kind: Kind) -> Result<()> {
    let mut log = Log::from_now()?;
    let spec = Spec::new(Blocks::B512, EXTENT)
        .length(LENGTH)
        .features("format no_copy")
        .core("copy_rate", RATE);
    let mut volume = Volume::new(kind, Rig::new(spec)?)?;
    match rounds(&mut volume) {
        Ok(()) => volume.rig.close(),
        Err(error) => Err(explained(error, &volume.rig, &mut log)),
    }
}

fn rounds(volume: &mut Volume) -> Result<()> {
    // Only requests that fail themselves may fail the host's.
    let host = Host::new(volume.rig.clone.part.start, volume.kind == Kind::Requests);
    for round in 0..ROUNDS {
        // The first one before anything fails, so that there is a content to begin with.
        if volume.rig.status()?.mode == "tracking" {
            volume.begin(&host)?;
        }
        let device = volume.rig.device()?.again()?;
        volume.fail(true)?;
        let mut random = Random::new(round);
        let done = host.under_load(&device, round, || {
            (0..STEPS).try_for_each(|_| {
                host.wait_for_requests(REQUESTS)?;
                volume.step(&host, &mut random)
            })
        });
        drop(device);
        done.with_context(|| format!("round {round}"))?;
        volume
            .finish(&host)
            .with_context(|| format!("behind round {round}"))?;
    }
    report(volume, &host)
}

fn report(volume: &Volume, host: &Host) -> Result<()> {
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let injected = volume.injection.failed()?;
    super::report(format!(
        "{:?}: {injected} failures, {} restores, {} reloads, {} requests of the host, {} failed",
        volume.kind,
        volume.restores,
        volume.reloads,
        count(&host.counts.requests),
        count(&host.counts.failed),
    ));
    ensure!(injected > 0, "nothing failed");
    Ok(())
}
