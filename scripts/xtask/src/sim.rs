// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask sim`: simulated power cuts and failing devices, as many as one wants.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::cargo;

/// Build the simulation, optimised, and run it with these arguments.
///
/// # Errors
///
/// It does not compile, or cannot be run.
pub fn run(args: &[String]) -> Result<ExitCode> {
    let programs = cargo::programs("simulation", "src/engine", &["--features", "sim"])?;
    let program = programs.get("sim").context("there is no program 'sim'")?;
    let status = Command::new(program)
        .args(args)
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
