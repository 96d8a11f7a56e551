// SPDX-License-Identifier: GPL-2.0

//! The scenarios that run in the virtual machine, as one test binary.
//!
//! `dm-restore-tests [filter] [libtest options]` in the guest; `dm-restore-tests host ...` outside;
//! `dm-restore-tests injection|lifetimes [filter] [libtest options]` in the guest with the debug
//! kernel.
//! The filter may be several, with commas between them: disks are as at first in one run only.

mod injection;
mod lifetimes;
mod scenarios;

use dm_restore_tests::{host, matrix, watch};
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "host") {
        words.remove(1);
        return host::main(words);
    }
    if words.get(1).is_some_and(|word| word == "injection") {
        words.remove(1);
        return injection(Arguments::from_iter(words));
    }
    if words.get(1).is_some_and(|word| word == "lifetimes") {
        words.remove(1);
        return lifetimes(Arguments::from_iter(words));
    }
    let mut args = Arguments::from_args();
    let filters = args.filter.take().unwrap_or_default();
    let shared = libtest_mimic::run(&args, chosen(scenarios::trials(), &filters));
    matrix::print();
    // These need the module to themselves, and the last one looks back at the whole run.
    let alone = Arguments {
        test_threads: Some(1),
        ..args
    };
    let last = libtest_mimic::run(&alone, chosen(scenarios::trials_alone(), &filters));
    watch::print_slowest(12);
    if shared.has_failed() || last.has_failed() {
        ExitCode::from(101)
    } else {
        ExitCode::SUCCESS
    }
}

fn injection(mut args: Arguments) -> ExitCode {
    let filters = args.filter.take().unwrap_or_default();
    let done = libtest_mimic::run(&args, chosen(injection::trials(), &filters));
    injection::print_reports();
    done.exit_code()
}

fn lifetimes(mut args: Arguments) -> ExitCode {
    let filters = args.filter.take().unwrap_or_default();
    libtest_mimic::run(&args, chosen(lifetimes::trials(), &filters)).exit_code()
}

fn chosen(trials: Vec<Trial>, filters: &str) -> Vec<Trial> {
    let wanted = |trial: &Trial| {
        filters
            .split(',')
            .any(|filter| trial.name().contains(filter))
    };
    trials.into_iter().filter(wanted).collect()
}
