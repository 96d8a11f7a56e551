// SPDX-License-Identifier: GPL-2.0

//! What the other scenarios rely on: that disks hold what they must, that slices count what they
//! move and can be held up and broken.

use super::trial;
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::io::Device;
use dm_restore_tests::model::{host_data, Content};
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::wait;
use libtest_mimic::Trial;

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("harness::disks_hold_stamps", disks_hold_stamps),
        trial("harness::slices_count", slices_count),
        trial("harness::slices_can_be_held", slices_can_be_held),
        trial("harness::slices_can_be_broken", slices_can_be_broken),
    ]
}

fn disks_hold_stamps() -> Result<()> {
    for blocks in Blocks::ALL {
        for extent in [8, 1 << 21] {
            let mut rig = Rig::slices(Spec::new(blocks, extent))?;
            let (source, clone) = (
                Device::open(&rig.source.path())?,
                Device::open_read_only(&rig.clone.path())?,
            );
            rig.tracker.model.check(0..128, &source.read(0..128)?)?;
            rig.tracker.model.set(0..128, Content::Clone);
            rig.tracker.model.check(0..128, &clone.read(0..128)?)?;
            ensure!(
                rig.tracker
                    .model
                    .check(0..128, &source.read(0..128)?)
                    .is_err(),
                "anything is taken for a stamp"
            );
            drop((source, clone));
            rig.close()?;
        }
    }
    Ok(())
}

fn slices_count() -> Result<()> {
    let rig = Rig::slices(Spec::new(Blocks::B512, 128))?;
    let source = Device::open(&rig.source.path())?;
    let before = rig.source.moved()?;
    source.read(0..24)?;
    source.write(8, &host_data(8..24, 1))?;
    source.zero(100..132)?;
    source.discard(200..264)?;
    let moved = rig.source.moved()? - before;
    ensure!((moved.reads, moved.read) == (1, 24), "{moved:?}");
    ensure!((moved.writes, moved.written) == (2, 16 + 32), "{moved:?}");
    ensure!((moved.discards, moved.discarded) == (1, 64), "{moved:?}");
    source.flush()?;
    let flushed = rig.source.moved()? - before;
    ensure!(
        (flushed.writes, flushed.written) == (3, 16 + 32),
        "a flush is not counted: {flushed:?}"
    );
    drop(source);
    rig.close()
}

fn slices_can_be_held() -> Result<()> {
    let rig = Rig::slices(Spec::new(Blocks::B512, 128))?;
    rig.source.hold()?;
    let path = rig.source.path();
    let write = wait::background("write", move || -> Result<()> {
        Ok(Device::open(&path)?.write(0, &host_data(0..8, 1))?)
    });
    // Long enough for a write that is not held, most of the time; never too long for one that is.
    std::thread::sleep(std::time::Duration::from_millis(200));
    ensure!(!write.is_done(), "a held write was completed");
    rig.source.release()?;
    write.join()??;
    rig.close()
}

fn slices_can_be_broken() -> Result<()> {
    let rig = Rig::slices(Spec::new(Blocks::B512, 128))?;
    let source = Device::open(&rig.source.path())?;
    rig.source.break_sectors(16..24)?;
    expect_eio("a read of bad sectors", source.read(16..24))?;
    source.read(24..32)?;
    source.read(8..16)?;
    rig.source.break_down()?;
    expect_eio(
        "a write to a broken device",
        source.write(0, &host_data(0..8, 1)),
    )?;
    rig.source.heal()?;
    rig.tracker.model.check(0..64, &source.read(0..64)?)?;
    drop(source);
    rig.close()
}
