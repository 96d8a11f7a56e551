// SPDX-License-Identifier: GPL-2.0

//! Whole restores on devices of every shape: only the delta is copied, each extent once, and
//! what was not copied is the same on both.

use super::{on, trial};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::{Blocks, GIB};
use dm_restore_tests::matrix::EXTENTS;
use dm_restore_tests::rig::{Rig, Spec};
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for blocks in Blocks::ALL {
        for extent in EXTENTS {
            let sizes = format!("{}::{extent}", blocks.bytes());
            trials.push(trial(format!("geometry::delta_only::{sizes}"), move || {
                delta(blocks, extent)
            }));
            // Each of these copies everything: 1 GiB is copied once with each block size.
            if extent < GIB || blocks == Blocks::B512 {
                let name = format!("geometry::whole_restore::{sizes}");
                trials.push(trial(name, move || whole(blocks, extent)));
            }
            if extent < GIB || blocks == Blocks::B4096 {
                let name = format!("geometry::every_shape_at_once::{sizes}");
                trials.push(trial(name, move || shapes(blocks, extent)));
            }
        }
    }
    trials.push(trial("geometry::extents_larger_than_a_copy", pieces));
    trials.push(trial("geometry::a_single_short_extent", single));
    trials.push(trial("geometry::copies_are_coalesced", coalesced));
    trials
}

fn spec(blocks: Blocks, extent: u64) -> Spec {
    let spec = Spec::new(blocks, extent);
    // Copying 1 GiB takes a while: one such extent and a short one.
    if extent < GIB {
        spec
    } else {
        spec.length(GIB + 264)
    }
}

/// Copies everything and compares.
fn whole(blocks: Blocks, extent: u64) -> Result<()> {
    on(spec(blocks, extent).features("format"), |rig| {
        let before = rig.start_restore()?;
        rig.wait_restored()?;
        let (clone, source) = (
            rig.clone.moved()? - before.clone,
            rig.source.moved()? - before.source,
        );
        let length = rig.spec.length;
        ensure!(
            (clone.read, source.written) == (length, length),
            "of {length}: clone {clone:?}, source {source:?}"
        );
        let status = rig.status()?;
        ensure!(
            (status.cdm, status.prm, status.restored) == (0, 0, rig.spec.extents()),
            "{status:?}"
        );
        check_ends(rig)?;
        rig.shut_down()?;
        let compared = rig.check_maps_against_disks()?;
        ensure!(
            compared == rig.spec.extents(),
            "only {compared} extents are called the same"
        );
        Ok(())
    })
}

/// What was not touched is not copied; a second restore copies what was touched since the first
/// began.
fn delta(blocks: Blocks, extent: u64) -> Result<()> {
    on(spec(blocks, extent).features("format identical"), |rig| {
        let last = rig.spec.extents() - 1;
        let block = blocks.sectors();
        let first_of_last = rig.extent(last).start;
        let restored = restore_after_write(rig, first_of_last)?;
        ensure!(
            restored == rig.extent(last).count() as u64,
            "first restore copied {restored} sectors"
        );
        check_ends(rig)?;
        let restored = restore_after_write(rig, rig.spec.length - block)?;
        ensure!(
            restored == rig.extent(last).count() as u64,
            "second restore copied {restored} sectors"
        );
        check_ends(rig)?;
        rig.shut_down()?;
        ensure!(
            rig.check_maps_against_disks()? > 0,
            "nothing is called the same"
        );
        Ok(())
    })
}

fn restore_after_write(rig: &mut Rig, sector: u64) -> Result<u64> {
    rig.write(sector..sector + rig.spec.blocks.sectors())?;
    let before = rig.start_restore()?;
    rig.wait_restored()?;
    rig.check_counts()?;
    Ok((rig.clone.moved()? - before.clone).read)
}

/// The target in the middle of a table, a clone that is larger, a short last extent, a metadata
/// device larger than needed; requests from the first to the last sector.
fn shapes(blocks: Blocks, extent: u64) -> Result<()> {
    let odd = 8 * 13;
    let spec = Spec {
        table_start: odd,
        clone_extra: 8 * 1001,
        metadata_extra: 8 * 3,
        ..spec(blocks, extent).features("format no_copy")
    };
    on(spec, |rig| {
        let (block, length) = (blocks.sectors(), rig.spec.length);
        rig.start_restore()?;
        check_ends(rig)?;
        if extent < GIB {
            rig.write(0..block)?;
        }
        let last = rig.extent(rig.spec.extents() - 1);
        // A short last extent is covered whole by its own length.
        let clone = rig.clone.moved()?;
        if last.end - last.start <= 2048 {
            rig.write(last.clone())?;
            ensure!(
                (rig.clone.moved()? - clone).read == 0,
                "the last extent was copied"
            );
        }
        rig.zero(length - block..length)?;
        rig.check_counts()?;
        ensure!(
            rig.host()?.read(length..length + block).is_err(),
            "there are sectors behind the end"
        );
        rig.flush()?;
        check_ends(rig)?;
        rig.resume_and_finish()?;
        rig.check_counts()?;
        check_ends(rig)?;
        rig.shut_down()?;
        rig.check_maps_against_disks().map(drop)
    })
}

/// `copy_size` smaller than an extent: it is copied in pieces and cleared once.
fn pieces() -> Result<()> {
    let spec = spec(Blocks::B4096, 2048)
        .length(2048 + 264)
        .features("format")
        .core("copy_size", 8);
    on(spec, |rig| {
        let before = rig.start_restore()?;
        rig.wait_restored()?;
        let read = (rig.clone.moved()? - before.clone).read;
        ensure!(
            read == rig.spec.length,
            "{read} sectors were read for {}",
            rig.spec.length
        );
        ensure!(rig.status()?.restored == 2, "{:?}", rig.status()?);
        check_ends(rig)
    })
}

fn single() -> Result<()> {
    on(
        Spec::new(Blocks::B512, 128)
            .length(3)
            .features("format no_copy"),
        |rig| {
            rig.start_restore()?;
            rig.check(0..3)?;
            rig.write(1..2)?;
            rig.wait_restored()?;
            rig.check(0..3)?;
            rig.start_restore()?;
            rig.write(0..3)?;
            rig.wait_restored()?;
            rig.check(0..3)?;
            rig.check_counts()
        },
    )
}

/// Neighbouring extents are copied together, up to `copy_size`.
fn coalesced() -> Result<()> {
    let spec = Spec::new(Blocks::B512, 8)
        .length(8 * 512)
        .features("format")
        .core("copy_size", 1024);
    on(spec, |rig| {
        let before = rig.start_restore()?;
        rig.wait_restored()?;
        let moved = rig.clone.moved()? - before.clone;
        ensure!(moved.read == 4096, "{moved:?}");
        // 512 extents in copies of 128: a few more where runs were cut, far from one each.
        ensure!(moved.reads <= 16, "{} reads for 4 copies", moved.reads);
        rig.check(rig.all())
    })
}

/// First and last parts; of small devices everything.
fn check_ends(rig: &Rig) -> Result<()> {
    let length = rig.spec.length;
    if length <= 1 << 16 {
        return rig.check(rig.all());
    }
    rig.check(0..512)?;
    rig.check(length - 512..length)
}
