// SPDX-License-Identifier: GPL-2.0

//! Allocations and requests that fail while restores run, by the kernel's own fault injection. It
//! needs the debug kernel.

mod allocations;
mod attribute;
mod host;
mod restores;
mod sectors;
mod volume;

use crate::scenarios::trial;
use attribute::Kind;
use libtest_mimic::Trial;
use std::sync::Mutex;

/// What the tests have to tell when they are over: a line that is printed by one while it runs
/// would become part of its result.
static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn report(line: String) {
    if let Ok(mut reports) = REPORTS.lock() {
        reports.push(line);
    }
}

/// Prints how much failed.
pub fn print_reports() {
    for line in REPORTS.lock().iter().flat_map(|reports| reports.iter()) {
        println!("{line}");
    }
}

/// All of them.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("injection::each_allocation", allocations::each_fails_once),
        trial("injection::slab", || restores::under(Kind::Slab)),
        trial("injection::pages", || restores::under(Kind::Pages)),
        trial("injection::pools", || restores::under(Kind::Pools)),
        trial("injection::requests", || restores::under(Kind::Requests)),
    ]
}
