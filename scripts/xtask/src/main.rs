// SPDX-License-Identifier: GPL-2.0

//! `cargo xtask`: see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    match xtask::cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
