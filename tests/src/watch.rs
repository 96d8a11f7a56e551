// SPDX-License-Identifier: GPL-2.0

//! A scenario that hangs ends the run: the kernel shows who waits for what, and the other
//! results so far stand. A long one says from time to time that it goes on.

use crate::wait;
use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Far beyond what any scenario takes in the stock kernel, or a step of a long one.
const LIMIT: Duration = Duration::from_secs(240);

/// Watches until it is dropped.
pub struct Watch {
    name: String,
    start: Instant,
    alive: Sender<()>,
}

impl Watch {
    /// The scenario goes on: it may take as long again.
    pub fn goes_on(&self) {
        // The receiver only goes when this does.
        let _ = self.alive.send(());
    }
}

/// How long the scenarios took that have ended.
static TIMES: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

impl Drop for Watch {
    fn drop(&mut self) {
        if let Ok(mut times) = TIMES.lock() {
            times.push((self.start.elapsed(), std::mem::take(&mut self.name)));
        }
    }
}

/// Prints which scenarios took longest. Nothing is concluded from it.
pub fn print_slowest(count: usize) {
    let Ok(mut times) = TIMES.lock() else { return };
    times.sort();
    println!("longest:");
    for (time, name) in times.iter().rev().take(count) {
        println!("{:8.1} s  {name}", time.as_secs_f32());
    }
}

/// Starts to watch over a scenario.
pub fn over(name: &str) -> Watch {
    let (alive, ended) = mpsc::channel::<()>();
    let (name, watched) = (name.to_string(), name.to_string());
    thread::spawn(move || {
        let limit = wait::scaled(LIMIT);
        let mut heard = Ok(());
        while heard.is_ok() {
            heard = ended.recv_timeout(limit);
        }
        if heard == Err(RecvTimeoutError::Timeout) {
            // Blocked tasks, to the kernel log, which the host keeps.
            let _ = fs::write("/proc/sysrq-trigger", "w");
            println!("test {name} ... FAILED\n{name} hangs: the run ends here, see the kernel log");
            std::process::exit(101);
        }
    });
    Watch {
        name: watched,
        start: Instant::now(),
        alive,
    }
}
