// SPDX-License-Identifier: GPL-2.0

//! A host at work while a restore copies, and reads from a clone that is far away.

use super::shuffled;
use crate::bench::contest::{Contest, OURS};
use crate::bench::fio::{self, Job, Measured};
use crate::bench::null_blk::Disk;
use crate::bench::ours::{Ours, Place};
use crate::bench::{fill, GIB, MIB};
use crate::status::Status;
use anyhow::{ensure, Result};
use std::thread;
use std::time::{Duration, Instant};
use xtask::bench::settings::{EXTENT, FAR_CLONE_NS, SOURCE_NS};
use xtask::bench::table::{IDLE, NO_RESTORE};

/// The host works on the first part of the volume.
const WORKED_ON: u64 = 128 * MIB;
const SECTORS: u64 = 1024 * MIB;
/// The host's work, in seconds.
const SECONDS: u32 = 3;

struct Volume {
    // Kept for their memory.
    _source: Disk,
    _clone: Disk,
    _metadata: Disk,
    place: Place,
}

impl Volume {
    fn new(sectors: u64, clone_ns: u64) -> Result<Self> {
        let source = Disk::new("source", sectors, SOURCE_NS)?;
        let clone = Disk::new("clone", sectors, clone_ns)?;
        let metadata = Disk::new("ours-meta", 64 * MIB, 0)?;
        let place = Place::over(
            [source.path(), clone.path(), metadata.path()],
            EXTENT,
            sectors,
        );
        fill::whole(&place.source)?;
        fill::whole(&place.clone)?;
        Ok(Self {
            _source: source,
            _clone: clone,
            _metadata: metadata,
            place,
        })
    }
}

/// What the host got, and what the copy.
struct Both {
    host: Measured,
    copied: f64,
}

/// A host load during a restore, against the same load without one, and the copy against one on an
/// idle host.
pub fn under_load(contest: Contest) -> Result<()> {
    let volume = Volume::new(SECTORS, SOURCE_NS)?;
    let job = Job::new("randrw", 4, 16)
        .word("--rwmixread=70")
        .within(0, WORKED_ON)
        .seconds(SECONDS);
    for (case, restored) in [("restored space", true), ("unrestored space", false)] {
        let (p99, copy) = (format!("{case}, p99"), format!("{case}, copy"));
        for _ in 0..contest.rounds {
            let alone = without_restore(&volume.place, &job)?;
            contest.tell(case, NO_RESTORE, alone.iops)?;
            contest.tell(&p99, NO_RESTORE, alone.p99)?;
            let both = with_restore(&volume.place, &job, restored)?;
            contest.tell(case, OURS, both.host.iops)?;
            contest.tell(&p99, OURS, both.host.p99)?;
            contest.tell(&copy, OURS, both.copied)?;
            contest.tell(&copy, IDLE, idle_copy(&volume.place, restored)?)?;
        }
    }
    Ok(())
}

/// The load on marked extents, while nothing is restored.
fn without_restore(place: &Place, job: &Job) -> Result<Measured> {
    let ours = place.format("ours", "no_copy")?;
    let measured = job.run(&ours.path())?;
    ensure!(ours.status()?.mode == "tracking", "a restore runs");
    Ok(measured)
}

/// A restore that has begun and does not copy. With `restored`, the host's part of the volume is
/// restored and marked: it was overwritten.
fn begun(place: &Place, restored: bool) -> Result<Ours> {
    let ours = place.format("ours", "no_copy")?;
    ours.message_suspended("start_restore")?;
    if restored {
        fill::range(&ours.path(), 0, WORKED_ON)?;
    }
    let status = ours.status()?;
    let expected = if restored { WORKED_ON / EXTENT } else { 0 };
    ensure!(
        status.extents - status.cdm == expected && status.prm == expected,
        "not as it should be before the load: {status:?}"
    );
    Ok(ours)
}

fn with_restore(place: &Place, job: &Job, restored: bool) -> Result<Both> {
    let ours = begun(place, restored)?;
    ours.message("resume_copy")?;
    let window = thread::scope(|scope| -> Result<_> {
        let load = scope.spawn(|| job.run(&ours.path()));
        // fio needs a while to start, longest where the processor is emulated. What is copied is
        // counted in the midst of its work.
        while !at_work(&ours)? {
            ensure!(!load.is_finished(), "the load was over before it was seen");
        }
        let (begin, clock) = (ours.status()?, Instant::now());
        thread::sleep(Duration::from_secs(u64::from(SECONDS)) * 2 / 3);
        let (end, seconds) = (ours.status()?, clock.elapsed().as_secs_f64());
        ensure!(!load.is_finished(), "the load was over too soon");
        let measured = load.join().map_err(|_| anyhow::anyhow!("fio's thread"))??;
        Ok((begin, end, seconds, measured))
    });
    let (begin, end, seconds, host) = window?;
    let last = ours.status()?;
    ensure!(
        last.mode == "restoring",
        "the restore was over before the load: {last:?}"
    );
    Ok(Both {
        host,
        copied: rate(&begin, &end, seconds),
    })
}

/// Whether the host has sent many requests within a moment.
fn at_work(ours: &Ours) -> Result<bool> {
    let sysfs = crate::stats::sysfs(&ours.path())?;
    let before = crate::stats::moved(&sysfs)?;
    thread::sleep(Duration::from_millis(50));
    let moved = crate::stats::moved(&sysfs)? - before;
    Ok(moved.reads + moved.writes >= 20)
}

/// MiB a second between two looks at the status.
fn rate(begin: &Status, end: &Status, seconds: f64) -> f64 {
    let extents = end.restored - begin.restored;
    (extents * EXTENT) as f64 / MIB as f64 / seconds
}

/// The copy's rate while the host does nothing.
fn idle_copy(place: &Place, restored: bool) -> Result<f64> {
    let ours = begun(place, restored)?;
    ours.message("resume_copy")?;
    let (begin, clock) = (ours.status()?, Instant::now());
    thread::sleep(Duration::from_millis(1000));
    let (end, seconds) = (ours.status()?, clock.elapsed().as_secs_f64());
    ensure!(
        end.mode == "restoring",
        "the copy was over too soon: {end:?}"
    );
    Ok(rate(&begin, &end, seconds))
}

/// A working set on a clone that is far away, read twice: the second time counts. The copy runs, and
/// begins at the other end of the volume.
pub fn slow_clone(contest: Contest) -> Result<()> {
    const SET: u64 = 32 * MIB;
    // So large that the copy of the whole takes longer than both passes, start of fio included.
    const LENGTH: u64 = GIB;
    let volume = Volume::new(LENGTH, FAR_CLONE_NS)?;
    let place = &volume.place;
    let first = (LENGTH - SET) / EXTENT;
    let requests: Vec<_> = shuffled(SET / EXTENT, 1)
        .iter()
        .map(|extent| ((first + extent) * EXTENT, EXTENT))
        .collect();
    let read = |path: &str| Ok(fio::listed(path, false, 8, &requests)?.rate);
    let read = &read;
    contest.alternate(
        "second pass",
        vec![
            ("bare", Box::new(|| read(&place.source))),
            (
                OURS,
                Box::new(|| {
                    let ours = place.format("ours", "")?;
                    ours.message_suspended("start_restore")?;
                    let pass: f64 = read(&ours.path())?;
                    contest.note(&format!("first pass {pass:.1} MiB/s"))?;
                    let second = read(&ours.path())?;
                    let status = ours.status()?;
                    ensure!(
                        status.mode == "restoring",
                        "the copy of the whole was over too soon: {status:?}"
                    );
                    Ok(second)
                }),
            ),
        ],
    )
}
