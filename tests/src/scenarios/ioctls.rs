// SPDX-License-Identifier: GPL-2.0

//! What `dmsetup` waits for, and what not, while a device does not answer.

use super::{on, trial, with};
use anyhow::{ensure, Result};
use dm_restore_tests::disks::Blocks;
use dm_restore_tests::dm;
use dm_restore_tests::rig::{Rig, Spec};
use dm_restore_tests::wait;
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "ioctls::status_while_metadata_is_loaded",
            status_while_loading,
        ),
        trial("ioctls::a_message_can_be_killed", killed_message),
    ]
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

/// A message that waits for another one, which waits for a device, can be killed; nothing is left
/// behind that a later suspend would wait for. The status waits for neither.
fn killed_message() -> Result<()> {
    on(spec(), |rig| {
        rig.suspend()?;
        rig.metadata.hold()?;
        let mut first = dm::start(&["message", &rig.name, "0", "start_restore"])?;
        first.wait_asleep('D', "dm_io")?;
        let mut second = dm::start(&["message", &rig.name, "0", "assume_identical"])?;
        second.wait_asleep('S', "target_message")?;
        let status = dm::start(&["status", &rig.name])?.wait()?;
        second.terminate()?;
        let second = second.wait();
        rig.metadata.release()?;
        let first = first.wait()?;
        let second = second?;
        ensure!(first.ok && second.code.is_none(), "{first:?}, {second:?}");
        ensure!(status.out.contains("tracking idle"), "{status:?}");
        rig.resume()?;
        rig.tracker.begin_restore();
        rig.expect("restoring paused rw")?;
        rig.suspend()?;
        rig.resume()?;
        rig.check(rig.all())
    })
}
