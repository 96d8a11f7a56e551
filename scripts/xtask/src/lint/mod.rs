// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask lint`: what can be checked without running the module.

mod cfi;
mod circles;
mod panics;
mod sources;
mod tools;

use std::process::ExitCode;

use anyhow::{bail, Result};

use crate::cache::Lock;
use crate::kernel::KernelArg;
use crate::progress::Step;
use crate::{module, paths, setup};
use sources::Sources;

/// Run every check and say which failed.
///
/// # Errors
///
/// The kernel tree could not be made; no check that needs it ran then.
pub fn run(kernel: &KernelArg) -> Result<ExitCode> {
    let _lock = Lock::take(&paths::build().join("lint.lock"))?;
    let mut report = Report::default();
    let sources = Sources::find()?;
    report.check("SPDX headers", || sources.spdx());
    report.check("unsafe only in src/dm", || sources.unsafe_code());
    report.check("no circles of files", circles::check);
    report.check("rustfmt", || tools::rustfmt(&sources));
    report.check("shellcheck", || tools::shellcheck(&sources));
    report.check("clippy, host", tools::clippy_host);
    report.check("documentation, host", tools::docs_host);
    if module::exists() {
        let tree = setup::tree(kernel)?;
        report.check("clippy, module", || tools::clippy_module(&tree));
        match module::build(&tree) {
            Ok(module) => {
                report.check("documentation, module", || tools::docs_module(&tree));
                report.check("panics in the module", || panics::check(&module.full));
                report.check("types of callbacks", || cfi::check(&tree, &sources));
            }
            Err(error) => report.check("module", || Err(error)),
        }
    }
    report.end()
}

/// Which checks ran and failed.
#[derive(Default)]
struct Report {
    failed: Vec<String>,
}

impl Report {
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        let step = Step::spinner(name);
        match check() {
            Ok(()) => step.done_as(&format!("{name}: ok")),
            Err(error) => {
                step.done_as(&format!("{name}: FAILED\n{error:#}"));
                self.failed.push(name.to_owned());
            }
        }
    }

    fn end(self) -> Result<ExitCode> {
        if !self.failed.is_empty() {
            bail!("lint: {}", self.failed.join(", "));
        }
        println!("lint: ok");
        Ok(ExitCode::SUCCESS)
    }
}
