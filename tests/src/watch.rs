// SPDX-License-Identifier: GPL-2.0

//! A scenario that hangs ends the run: the kernel shows who waits for what, and the other
//! results so far stand.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Far beyond what any scenario takes.
const LIMIT: Duration = Duration::from_secs(240);

/// Watches until it is dropped.
pub struct Watch {
    _alive: Sender<()>,
}

/// Starts to watch over a scenario.
pub fn over(name: &str) -> Watch {
    let (alive, ended) = mpsc::channel::<()>();
    let name = name.to_string();
    thread::spawn(move || {
        if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            // Blocked tasks, to the kernel log, which the host keeps.
            let _ = fs::write("/proc/sysrq-trigger", "w");
            println!("test {name} ... FAILED\n{name} hangs: the run ends here, see the kernel log");
            std::process::exit(101);
        }
    });
    Watch { _alive: alive }
}
