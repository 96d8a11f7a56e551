// SPDX-License-Identifier: GPL-2.0

//! Writes the seeds of a target: `seeds <target> <directory>`. No program of its own, because to
//! cargo-fuzz each of these is a target.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().collect();
    let [_, name, dir] = words.as_slice() else {
        eprintln!("usage: seeds <target> <directory>");
        return ExitCode::from(2);
    };
    let Some(target) = dm_restore_fuzz::TARGETS.iter().find(|t| t.name == name) else {
        eprintln!("no target {name}");
        return ExitCode::from(2);
    };
    for (i, seed) in (target.seeds)().iter().enumerate() {
        if let Err(error) = std::fs::write(Path::new(dir).join(format!("seed-{i:03}")), seed) {
            eprintln!("{dir}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
