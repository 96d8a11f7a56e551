// SPDX-License-Identifier: GPL-2.0

//! Restores with memory exhausted and swap on the mapped device.
//!
//! `memory [libtest options]` in the guest, which starts `memory hog ...`; `memory host ...` outside.

use dm_restore_tests::memory::{pressure, run};
use dm_restore_tests::{host, watch};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("host") => {
            words.remove(1);
            return host::main(words);
        }
        Some("hog") => {
            return match pressure::own_process(&words[2..]) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error:#}");
                    ExitCode::FAILURE
                }
            }
        }
        _ => {}
    }
    let name = "memory::exhausted_with_swap_on_the_mapped_device";
    let trial = Trial::test(name, move || {
        let watch = watch::over(name);
        let summary = run::run(&watch).map_err(|error| Failed::from(format!("{error:#}")))?;
        println!("{name}: {summary}");
        Ok(())
    });
    // With one thread the line of a test begins before the test does, and what is printed
    // meanwhile would become part of it.
    let args = Arguments {
        test_threads: Some(2),
        ..Arguments::from_args()
    };
    libtest_mimic::run(&args, vec![trial]).exit_code()
}
