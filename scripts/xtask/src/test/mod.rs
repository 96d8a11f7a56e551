use crate::cli::KernelArg; use anyhow::Result; use std::process::ExitCode;
pub struct What { pub filter: String, pub host: bool, pub vm: bool }
pub fn run(_: &KernelArg, _: &What) -> Result<ExitCode> { anyhow::bail!("not yet") }
