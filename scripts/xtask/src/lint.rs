use crate::cli::KernelArg; use anyhow::Result; use std::process::ExitCode;
pub fn run(_: &KernelArg) -> Result<ExitCode> { anyhow::bail!("not yet") }
