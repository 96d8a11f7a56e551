// SPDX-License-Identifier: GPL-2.0

//! What the kernel log says of devices that fail.

use super::super::trial;
use super::{on, part, spec, try_write, LogCount};
use anyhow::Result;
use dm_restore_tests::errno::expect_eio;
use dm_restore_tests::rig::Rig;
use libtest_mimic::Trial;

/// All of them. No row of the manual's tables is about the log.
pub fn trials() -> Vec<Trial> {
    vec![trial("log::one_hides_no_other", one_hides_no_other)]
}

/// Copies that fail, each with a line for the log.
fn fail_copies(rig: &mut Rig, count: u64) -> Result<()> {
    rig.clone.break_down()?;
    rig.start_restore()?;
    for _ in 0..count {
        expect_eio("a write to a part", try_write(rig, part(1)))?;
    }
    Ok(())
}

/// The first failure of a mapped device is told, whatever goes on with another one.
fn one_hides_no_other() -> Result<()> {
    on(spec().features("format no_copy"), |loud| {
        on(spec().features("format no_copy"), |quiet| {
            let log = LogCount::start()?;
            fail_copies(loud, 100)?;
            fail_copies(quiet, 1)?;
            log.check(quiet)
        })
    })
}
