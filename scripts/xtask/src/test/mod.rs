// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask test`: the tests on the host, then the suites in the virtual machine.
//!
//! The last line is `N passed, N failed`. A suite that runs nothing, dies or does not say how
//! its tests ended counts as failed, and so does a complaint of the guest's kernel.

mod guest;
mod host;
mod libtest;
pub mod programs;
mod suites;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cache::Lock;
use crate::kernel::KernelArg;
use crate::{module, paths, setup};
use libtest::Tally;
use suites::Place;

/// Which tests to run.
pub struct What {
    /// Only those whose name, or whose suite's name, contains this.
    pub filter: String,
    /// The tests on the host.
    pub host: bool,
    /// The tests in the virtual machine.
    pub vm: bool,
    /// In the debug kernel instead of the stock one.
    pub debug: bool,
    /// More arguments for the suites' programs.
    pub words: Vec<String>,
}

/// Seconds: who gives a suite arguments decides how long it takes.
const DAY: u64 = 24 * 3600;

/// Run the tests and print how many passed and failed.
///
/// # Errors
///
/// Something could not be built; no test ran then.
pub fn run(kernel: &KernelArg, what: &What) -> Result<ExitCode> {
    let _lock = Lock::take(&paths::build().join("test.lock"))?;
    let mut total = Tally::default();
    if what.host {
        total.add(host::workspace(&what.filter)?);
        total.add(host::races(&what.filter)?);
    }
    if what.vm {
        total.add(machine_suites(kernel, what)?);
    }
    println!();
    for name in &total.failures {
        println!("failed: {name}");
    }
    let good = total.failures.is_empty() && total.passed > 0;
    if total.passed == 0 && total.failures.is_empty() {
        println!("no test ran");
    }
    println!("{} passed, {} failed", total.passed, total.failures.len());
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn machine_suites(kernel: &KernelArg, what: &What) -> Result<Tally> {
    let setup = if what.debug {
        setup::debug_machine(kernel)?
    } else {
        setup::machine(kernel)?
    };
    let module = if module::exists() {
        Some(module::build(&setup.tree)?.stripped)
    } else {
        println!("there is no src/dm_restore_main.rs yet: the suites run without a module");
        None
    };
    let programs = programs::build()?;
    let logs = paths::build().join("test");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let mut total = Tally::default();
    for mut suite in suites::all()? {
        if suite.debug && !what.debug {
            continue;
        }
        let Some(filter) = suite.selected(&what.filter, &programs)? else {
            continue;
        };
        // Behind that: other suites' programs, which only list their tests, do not know the words.
        if !what.words.is_empty() {
            suite.args.extend_from_slice(&what.words);
            suite.timeout = DAY;
        }
        let run = match suite.place {
            Place::Guest => guest::run,
            Place::Host => host::suite,
        };
        let tally = run(&suite, &setup.guest, module.as_deref(), &programs, &filter);
        // One suite that cannot even start must not hide the results of the others.
        total.add(tally.unwrap_or_else(|error| {
            println!("{}: {error:#}", suite.name);
            Tally::failed(&suite.name, "does not run")
        }));
    }
    Ok(total)
}
