// SPDX-License-Identifier: GPL-2.0

//! Tries settings of the peers and says how they do. What is best is then written into
//! `xtask::bench::settings` by hand, so that it is the same in each run.

use super::brd::Disks;
use super::ioctls::Trace;
use super::peers::{Peer, Snapshot};
use super::rows::{restores, touches};
use super::{fill, fio, MIB};
use anyhow::Result;
use xtask::bench::figures::Spread;
use xtask::bench::line::Line;
use xtask::bench::settings::{CHUNK_SWEEP, CLONE_SWEEP, EXTENT};

/// How often each setting is tried.
const ROUNDS: u32 = 3;
/// The volume that is copied, or merged.
const SECTORS: u64 = 256 * MIB;

/// Tries all.
pub fn run() -> Result<()> {
    let disks = Disks::new(5, touches::SECTORS + 128 * MIB)?;
    disks.fill(2)?;
    fill::range(&disks.path(4), 0, touches::SECTORS + 64 * MIB)?;
    clone(&disks)?;
    first_touch(&disks)?;
    merge(&disks)
}

/// Measures each setting in turns.
fn each<T: Copy>(
    what: &str,
    settings: &[T],
    shown: impl Fn(T) -> String,
    mut measure: impl FnMut(T) -> Result<f64>,
) -> Result<()> {
    let mut figures = vec![Vec::new(); settings.len()];
    for _ in 0..ROUNDS {
        for (setting, figures) in settings.iter().zip(&mut figures) {
            figures.push(measure(*setting)?);
        }
    }
    for (setting, figures) in settings.iter().zip(&figures) {
        let Some(spread) = Spread::of(figures) else {
            continue;
        };
        let (median, min, max) = (spread.median, spread.min, spread.max);
        let setting = shown(*setting);
        Line::Note(format!(
            "{what}: {median:.3} ({min:.3} to {max:.3}) with {setting}"
        ))
        .say()?;
    }
    Ok(())
}

/// `clone`: the time for a whole volume.
fn clone(disks: &Disks) -> Result<()> {
    let trace = Trace::start()?;
    let shown = |settings| format!("{settings:?}");
    each("clone, 256 MiB, s", CLONE_SWEEP, shown, |settings| {
        restores::copied(&trace, disks, SECTORS, settings)
    })
}

/// `snapshot`: the first touches of the row `first-touch`, metadata in memory.
fn first_touch(disks: &Disks) -> Result<()> {
    let requests = touches::requests();
    let (source, store) = (disks.path(0), disks.path(4));
    let shown = |chunk: u64| format!("a chunk of {chunk} sectors");
    each(
        "snapshot, first touches, IOPS",
        CHUNK_SWEEP,
        shown,
        |chunk| {
            let taken = Snapshot::take(&source, &store, touches::SECTORS, chunk)?;
            Ok(fio::listed(&taken.path(), true, 32, &requests)?.iops)
        },
    )
}

/// `snapshot-merge`: a tenth of a volume, scattered, extents written whole.
fn merge(disks: &Disks) -> Result<()> {
    let trace = Trace::start()?;
    let store = Peer::linear("store", &disks.path(4), SECTORS)?;
    let changed = restores::scattered(SECTORS / EXTENT, 10)?;
    let source = disks.path(0);
    let shown = |chunk: u64| format!("a chunk of {chunk} sectors");
    each("snapshot-merge, 25 MiB, s", CHUNK_SWEEP, shown, |chunk| {
        let mut taken = Snapshot::take(&source, &store.path(), SECTORS, chunk)?;
        restores::merged(&trace, &mut taken, &store, &changed)
    })
}
