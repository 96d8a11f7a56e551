// SPDX-License-Identifier: GPL-2.0

//! One volume under load, round after round: a restore begins, is disturbed, comes to its end, and
//! the volume is tracked again. At quiet points, in the middle of a restore and behind it, all that
//! the host can see is read, and the maps are compared with the disks.

use super::control::{Control, Counts, MOST_JOBS, SMALLEST_COPY};
use super::history::{Effect, History};
use super::load::{self, Load, HALVES};
use super::memory;
use super::twins::Twins;
use crate::bench::brd::Disks;
use crate::disks::Blocks;
use crate::requests::parts;
use crate::rig::{AllMoved, Rig, Spec};
use crate::stats::Moved;
use crate::status::Status;
use crate::wait;
use crate::watch::Watch;
use anyhow::{ensure, Context, Result};
use std::fmt;
use std::sync::Arc;

/// Disturbances before and after the quiet point in the middle of a restore, and behind it.
const DISTURBANCES: u64 = 6;
/// Up to so many requests from one disturbance to the next.
const REQUESTS_BETWEEN: u64 = 24;

/// A restore begins with a copy that would take so long without the host.
const COPY_SECONDS: u64 = 10;

/// What volume, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Logical block size.
    pub blocks: Blocks,
    /// Extent size in sectors.
    pub extent: u64,
    /// Length in sectors.
    pub length: u64,
    /// Whether the source is a disk of memory.
    pub in_memory: bool,
    /// How many restores.
    pub rounds: u64,
    /// What everything random follows from, the order of events aside.
    pub seed: u64,
}

/// What one volume has seen.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    requests: u64,
    /// Sectors that were torn by reads and changes at the same time.
    torn: u64,
    counts: Counts,
    /// Extents compared because the maps called them the same.
    compared: u64,
    /// Sectors copied, and those of extents that were unrestored when a restore began.
    copied: u64,
    delta: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            restores,
            suspends,
            reloads,
            swaps,
            messages,
        } = self.counts;
        write!(
            f,
            "{} requests, {} sectors torn, {restores} restores, {suspends} suspends, {reloads} reloads, {swaps} swaps, \
             {messages} messages; {} of {} sectors copied, {} extents compared",
            self.requests, self.torn, self.copied, self.delta, self.compared
        )
    }
}

/// Runs all rounds.
pub fn run(plan: Plan, watch: Watch) -> Result<Summary> {
    let spec = Spec::new(plan.blocks, plan.extent)
        .length(plan.length)
        .features("format");
    let (rig, memory) = if plan.in_memory {
        let (rig, memory) = memory::rig(spec)?;
        (rig, Some(memory))
    } else {
        (Rig::new(spec)?, None)
    };
    let history = Arc::new(History::new(&rig.source.part, &rig.clone.part, plan.length));
    let twins = Twins::new(&rig)?;
    let load = Load::start(&rig, &history, plan.seed)?;
    let mut volume = Volume {
        rig,
        _memory: memory,
        history,
        load,
        watch,
        twins,
        control: Control::new(plan.seed),
        compared: 0,
        copied: 0,
        delta: 0,
    };
    for round in 0..plan.rounds {
        volume
            .round(round)
            .with_context(|| format!("round {round}"))?;
    }
    volume.close()
}

struct Volume {
    /// Before the rig: it ends first.
    load: Load,
    rig: Rig,
    /// Behind the rig, which lies over it.
    _memory: Option<Disks>,
    history: Arc<History>,
    watch: Watch,
    control: Control,
    twins: Twins,
    compared: u64,
    copied: u64,
    delta: u64,
}

/// A restore that has begun.
struct Begun {
    status: Status,
    moved: AllMoved,
    mapped: Moved,
    reloads: u64,
}

impl Volume {
    fn round(&mut self, round: u64) -> Result<()> {
        let begun = self.begin().context("begin")?;
        self.load.change(self.control.below(HALVES));
        self.disturb(Some(&begun))?;
        self.check_quiet().context("in the middle of the restore")?;
        self.disturb(Some(&begun))?;
        self.finish(&begun).context("finish")?;
        self.disturb(None)?;
        self.check_quiet().context("after the restore")?;
        self.check_copied(&begun)?;
        if round % 2 == 1 {
            self.swap().context("swap for a plain mapping")?;
        }
        Ok(())
    }

    /// Begins a restore. Requests that wait meanwhile come after it.
    fn begin(&mut self) -> Result<Begun> {
        self.control.suspend(&self.rig)?;
        let begun = Begun {
            status: self.status()?,
            moved: self.rig.moved()?,
            mapped: self.rig.mapped_moved()?,
            reloads: self.control.counts.reloads,
        };
        // Slow enough to meet the host's requests everywhere.
        let rate = self.rig.spec.length / 2 / COPY_SECONDS;
        self.rig.message(&format!("copy_rate {rate}"))?;
        let clone = self.history.begin(Effect::Clone, self.rig.all());
        self.rig.message("start_restore")?;
        self.history.end(clone);
        let status = self.status()?;
        ensure!(
            begun.status.mode == "tracking" && status.mode == "restoring",
            "before {:?}, after {status:?}",
            begun.status
        );
        self.rig.resume()?;
        Ok(begun)
    }

    fn disturb(&mut self, begun: Option<&Begun>) -> Result<()> {
        let mut restored = 0;
        for _ in 0..DISTURBANCES {
            let requests = self.control.below(REQUESTS_BETWEEN);
            self.load.wait_for(requests)?;
            self.control.disturb(&self.rig)?;
            self.twins.offer(&self.rig, self.control.below(3))?;
            self.watch.goes_on();
            let status = self.status()?;
            if let (Some(begun), "restoring") = (begun, status.mode.as_str()) {
                ensure!(
                    status.restored >= restored && status.restored + status.cdm == begun.status.cdm,
                    "{restored} extents were restored before, {} were to be: {status:?}",
                    begun.status.cdm
                );
                restored = status.restored;
            }
        }
        Ok(())
    }

    /// The status; nothing has failed so far.
    fn status(&self) -> Result<Status> {
        let status = self.rig.status()?;
        ensure!(
            status.errors() == [0; 3] && status.metadata_mode == "rw",
            "{status:?}"
        );
        Ok(status)
    }

    /// Lets the restore come to its end, under load.
    fn finish(&mut self, begun: &Begun) -> Result<()> {
        for message in ["copy_rate 0", "copy_min_rate 65536", "resume_copy"] {
            self.rig.message(message)?;
        }
        while self.status()?.mode == "restoring" {
            self.load.wait_for(1)?;
            self.watch.goes_on();
            if self.control.below(16) == 0 {
                self.control.suspend(&self.rig)?;
                self.rig.resume()?;
            }
        }
        self.control.counts.restores += 1;
        let restored = self.status()?.restored;
        ensure!(restored == begun.status.cdm, "{restored} extents restored");
        Ok(())
    }

    /// The target goes, and comes back: what was written meanwhile it does not know.
    fn swap(&mut self) -> Result<()> {
        self.control.to_linear(&self.rig)?;
        let requests = self.control.below(REQUESTS_BETWEEN);
        self.load.wait_for(requests)?;
        let table = self.control.table(&self.rig, "assume_different");
        self.control.replace(&self.rig, &table)?;
        let status = self.status()?;
        ensure!(status.cdm == status.extents, "{status:?}");
        Ok(())
    }

    /// With no request in flight: reads everything, and compares the disks where the maps call them
    /// the same.
    fn check_quiet(&mut self) -> Result<()> {
        let _quiet = self.load.quiet()?;
        let host = self.rig.host()?;
        for part in parts(self.rig.all()) {
            load::read(&host, &self.history, part)?;
        }
        self.control.suspend(&self.rig)?;
        let compared = self.rig.check_maps_against_disks();
        self.rig.resume()?;
        self.compared += compared?;
        Ok(())
    }

    /// What the source was written beyond the host's own writes is copies: no more than there was
    /// to copy. With requests in flight the two would not be of the same instant.
    fn check_copied(&mut self, begun: &Begun) -> Result<()> {
        let _quiet = self.load.quiet()?;
        let source = self.rig.source.moved()? - begun.moved.source;
        let mapped = self.rig.mapped_moved()? - begun.mapped;
        let copied = source.written - mapped.written;
        let extent = self.rig.spec.extent;
        let delta = begun.status.cdm * extent;
        // Of an extent in pieces, what was copied of it is forgotten when its table goes.
        let reloads = self.control.counts.reloads - begun.reloads;
        let again = if extent > SMALLEST_COPY {
            reloads * MOST_JOBS * extent
        } else {
            0
        };
        ensure!(
            copied <= delta + again,
            "{copied} sectors were copied of {delta}, with {again} perhaps twice"
        );
        self.copied += copied;
        self.delta += delta;
        Ok(())
    }

    fn close(mut self) -> Result<Summary> {
        let requests = self.load.stop()?;
        self.rig.shut_down()?;
        self.compared += self.rig.check_maps_against_disks()?;
        self.rig.create_with("0")?;
        let host = self.rig.host()?;
        for part in parts(self.rig.all()) {
            load::read(&host, &self.history, part)?;
        }
        drop(host);
        wait::for_condition("the device is idle", || {
            Ok(self.rig.status()?.activity == "idle")
        })?;
        self.rig.close()?;
        self.twins.close()?;
        Ok(Summary {
            requests,
            torn: self.history.torn(),
            counts: self.control.counts,
            compared: self.compared,
            copied: self.copied,
            delta: self.delta,
        })
    }
}
