// SPDX-License-Identifier: GPL-2.0

//! What `dmsetup` waits for, and what not, while a device does not answer.

use super::{trial, with};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::wait;
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![trial(
        "ioctls::status_while_metadata_is_loaded",
        status_while_loading,
    )]
}

fn spec() -> Spec {
    Spec::new(Blocks::B512, 128).features("format no_copy")
}

/// The status does not wait for a metadata device that does not answer in the middle of a load.
fn status_while_loading() -> Result<()> {
    let mut rig = Rig::new(spec())?;
    rig.start_restore()?;
    rig.shut_down()?;
    dm::ok(&["create", &rig.name, "--notable"])?;
    let before = rig.clone.moved()?.read;
    dm::ok(&["load", &rig.name, "--table", &rig.table("1 no_copy")])?;
    let sampled = rig.clone.moved()?.read - before;
    // The resume looks at the clone as the load has, then reads the maps.
    rig.clone.hold()?;
    let mut resume = dm::start(&["resume", &rig.name])?;
    resume.wait_asleep('D', "dm_io")?;
    rig.metadata.hold()?;
    rig.clone.release()?;
    wait::for_condition("the clone is looked at", || {
        Ok(rig.clone.moved()?.read >= before + 2 * sampled)
    })?;
    resume.wait_asleep('D', "dm_io")?;
    let line = dm::start(&["status", &rig.name])?.wait();
    rig.metadata.release()?;
    let ran = resume.wait()?;
    ensure!(ran.ok, "{ran:?}");
    let line = dm::target_words(&line?.out, "restore")?;
    ensure!(
        line.starts_with("unloaded idle 128 0/0 0 0 0 0 0 0 "),
        "{line}"
    );
    dm::ok(&["remove", "--retry", &rig.name])?;
    rig.create_with("1 no_copy")?;
    with(rig, |rig| rig.check(rig.all()))
}
