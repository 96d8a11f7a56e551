// SPDX-License-Identifier: GPL-2.0

//! Requests over several extents: cut where the answer changes, and nowhere else.

use super::{on, trial};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::random::Random;
use dm_restore_tests::rig::{Rig, Spec};
use libtest_mimic::Trial;
use std::ops::Range;

/// All of them.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial(
            "crossing::a_large_read_of_restored_extents_stays_one",
            large_read_restored,
        ),
        trial(
            "crossing::a_large_read_of_unrestored_extents_stays_one",
            large_read_unrestored,
        ),
        trial(
            "crossing::a_large_first_touch_stays_one_write_and_one_record",
            large_first_touch,
        ),
        trial(
            "crossing::a_large_overwrite_copies_its_ends_only",
            large_overwrite,
        ),
        trial("crossing::a_large_discard_leaves_its_ends", large_discard),
        trial(
            "crossing::a_read_over_alternating_answers",
            alternating_read,
        ),
        trial(
            "crossing::a_write_over_alternating_answers",
            alternating_write,
        ),
    ];
    for blocks in Blocks::ALL {
        for extent in [8, 128, 2048] {
            let name = format!("crossing::random_requests::{}::{extent}", blocks.bytes());
            trials.push(trial(name, move || random_requests(blocks, extent)));
        }
    }
    trials
}

/// 256 extents of 4 KiB: 1 MiB, what fits into one request.
fn small_extents() -> Spec {
    Spec::new(Blocks::B512, 8).length(258 * 8)
}
const MIB: Range<u64> = 8..8 + 2048;

/// The extents with an odd number are unrestored, the others are as the source was.
fn make_odd_unrestored(rig: &mut Rig) -> Result<()> {
    for extent in (1..rig.tracker.extents()).step_by(2) {
        let first = rig.extent(extent).start;
        rig.write(first..first + rig.spec.blocks.sectors())?;
    }
    rig.start_restore().map(drop)
}

fn large_read_restored() -> Result<()> {
    on(
        small_extents().features("format identical no_copy"),
        |rig| {
            rig.write(0..8)?;
            rig.start_restore()?;
            let before = rig.source.moved()?;
            rig.check(MIB)?;
            let moved = rig.source.moved()? - before;
            ensure!((moved.reads, moved.read) == (1, 2048), "source: {moved:?}");
            Ok(())
        },
    )
}

fn large_read_unrestored() -> Result<()> {
    on(small_extents().features("format no_copy"), |rig| {
        rig.start_restore()?;
        let before = rig.clone.moved()?;
        rig.check(MIB)?;
        let moved = rig.clone.moved()? - before;
        ensure!((moved.reads, moved.read) == (1, 2048), "clone: {moved:?}");
        Ok(())
    })
}

fn large_first_touch() -> Result<()> {
    on(small_extents().features("format identical"), |rig| {
        let before = rig.moved()?;
        rig.write(MIB)?;
        let (source, metadata) = (
            rig.source.moved()? - before.source,
            rig.metadata.moved()? - before.metadata,
        );
        ensure!(
            (source.writes, source.written) == (1, 2048),
            "source: {source:?}"
        );
        ensure!(
            metadata.written == 8,
            "256 first touches of one write are one record: {metadata:?}"
        );
        rig.check_counts()?;
        rig.check(rig.all())
    })
}

fn large_overwrite() -> Result<()> {
    on(
        Spec::new(Blocks::B512, 128).features("format no_copy"),
        |rig| {
            rig.start_restore()?;
            let before = rig.moved()?;
            // The end of one extent, two whole ones, the start of another.
            rig.write(100..3 * 128 + 5)?;
            let (clone, source) = (
                rig.clone.moved()? - before.clone,
                rig.source.moved()? - before.source,
            );
            ensure!(
                clone.read == 2 * 128,
                "only two extents needed a copy: {clone:?}"
            );
            ensure!(
                source.written == 2 * 128 + (3 * 128 + 5 - 100),
                "source: {source:?}"
            );
            rig.check_counts()?;
            rig.check(rig.all())
        },
    )
}

fn large_discard() -> Result<()> {
    on(
        Spec::new(Blocks::B512, 128).features("format no_copy"),
        |rig| {
            rig.start_restore()?;
            let before = rig.moved()?;
            rig.discard(100..3 * 128 + 5)?;
            let (clone, source) = (
                rig.clone.moved()? - before.clone,
                rig.source.moved()? - before.source,
            );
            ensure!(
                clone.read == 0 && source.written == 0,
                "clone: {clone:?}, source: {source:?}"
            );
            ensure!(
                source.discarded == 2 * 128,
                "the ends stay as they are: {source:?}"
            );
            rig.check_counts()?;
            rig.check(rig.all())
        },
    )
}

fn alternating_read() -> Result<()> {
    on(
        Spec::new(Blocks::B512, 128).features("format identical no_copy"),
        |rig| {
            make_odd_unrestored(rig)?;
            let before = rig.moved()?;
            rig.check(64..6 * 128 + 64)?;
            let (clone, source) = (
                rig.clone.moved()? - before.clone,
                rig.source.moved()? - before.source,
            );
            ensure!(
                (clone.reads, clone.read) == (3, 3 * 128),
                "clone: {clone:?}"
            );
            ensure!(
                (source.reads, source.read) == (4, 3 * 128),
                "source: {source:?}"
            );
            Ok(())
        },
    )
}

fn alternating_write() -> Result<()> {
    on(
        Spec::new(Blocks::B512, 128).features("format identical no_copy"),
        |rig| {
            make_odd_unrestored(rig)?;
            let before = rig.moved()?;
            rig.write(64..6 * 128)?;
            let clone = rig.clone.moved()? - before.clone;
            ensure!(
                clone.read == 0,
                "extents 1, 3 and 5 were covered whole: {clone:?}"
            );
            rig.check_counts()?;
            rig.check(rig.all())?;
            let before = rig.clone.moved()?;
            rig.write(7 * 128 - 8..7 * 128 + 8)?;
            let clone = rig.clone.moved()? - before;
            ensure!(clone.read == 128, "extent 7 was covered in part: {clone:?}");
            // That was the last one.
            rig.wait_restored()?;
            rig.check_counts()?;
            rig.check(rig.all())
        },
    )
}

/// Any request anywhere, one after the other, through tracking and restoring: bits and content
/// must be what the behaviour table says, also after a crash.
fn random_requests(blocks: Blocks, extent: u64) -> Result<()> {
    let mut random = Random::new(extent + blocks.bytes() * 1_000_000);
    let spec = Spec::new(blocks, extent);
    let length = spec.length * 2;
    on(
        spec.length(length).features("format identical no_copy"),
        |rig| {
            for _ in 0..12 {
                random_request(rig, &mut random)?;
            }
            // The last extent stays unrestored, so that the restore does not end by itself.
            rig.write(rig.spec.length - blocks.sectors()..rig.spec.length)?;
            rig.check_counts()?;
            rig.start_restore()?;
            for _ in 0..60 {
                random_request(rig, &mut random)?;
            }
            rig.check_counts()?;
            rig.flush()?;
            rig.check(rig.all())?;
            rig.resume_and_finish()?;
            rig.check_counts()?;
            rig.check(rig.all())?;
            rig.shut_down()?;
            rig.check_maps_against_disks().map(drop)
        },
    )
}

fn random_request(rig: &mut Rig, random: &mut Random) -> Result<()> {
    let block = rig.spec.blocks.sectors();
    let total = rig.extent(rig.spec.extents() - 1).start / block;
    let longest = (3 * rig.spec.extent / block).clamp(2, 2048 / block);
    let start = random.below(total);
    // Often on the extents' borders: that is where answers change.
    let per_extent = (rig.spec.extent / block).max(1);
    let start = if random.below(2) == 0 {
        start / per_extent * per_extent
    } else {
        start
    };
    let sectors = start * block..(start + 1 + random.below(longest)).min(total) * block;
    match random.below(10) {
        0..=2 => rig.check(sectors),
        3..=5 => rig.write(sectors),
        6 => rig.write_fua(sectors),
        7 => rig.zero(sectors),
        8 => rig.discard(sectors),
        _ => rig.flush(),
    }
}
