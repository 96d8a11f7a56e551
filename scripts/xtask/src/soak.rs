// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask soak`: power cuts on the real module, for as long as one wants.
//!
//! The program is that of the suite `cuts`. What was done so far is in `build/soak/total`.

use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;

use crate::cache::Lock;
use crate::kernel::KernelArg;
use crate::setup::HandedDown;
use crate::test::programs;
use crate::{module, paths, setup};

/// Build what is needed and soak.
///
/// # Errors
///
/// Something could not be built or started.
pub fn run(kernel: &KernelArg, words: &[String]) -> Result<ExitCode> {
    let setup = setup::machine(kernel)?;
    let module = module::build(&setup.tree)?.stripped;
    let programs = programs::build()?;
    let dir = paths::build().join("soak");
    std::fs::create_dir_all(&dir)?;
    let _lock = Lock::take(&dir.join("lock"))?;
    let mut program = Command::new(programs.path("cuts")?);
    program.arg("soak").args(words).stdin(Stdio::null());
    let handed_down = HandedDown {
        guest: setup.guest,
        module,
        dir,
    };
    handed_down.give(&mut program);
    let status = program.status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
