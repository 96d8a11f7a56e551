// SPDX-License-Identifier: GPL-2.0

//! Who exhausts the memory: our own process that checks its pages, stress-ng, and fio with a file
//! that it writes through the page cache.

use super::hog;
use crate::meminfo;
use crate::sh;
use crate::wait::{self, Background};
use anyhow::{bail, Context, Result};
use rustix::mm::{mlockall, MlockAllFlags};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// stress-ng's exit code where memory is too short for it at the moment.
const NO_RESOURCE: i32 = 3;
/// The pause before it tries again.
const AGAIN: Duration = Duration::from_secs(1);
/// Each goes on for so many operations before it looks whether it is to stop.
const STRESS: &str = "stress-ng --vm 2 --vm-bytes 96m --vm-keep --vm-method all --verify \
                      --vm-ops 2000 --oom-avoid --quiet --temp-path /tmp";

/// Keeps this process and its threads in memory, and away from the OOM killer: it has to see what
/// happens.
pub fn exempt_ourselves() -> Result<()> {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?;
    fs::write("/proc/self/oom_score_adj", "-1000").context("oom_score_adj")
}

/// What uses up the memory.
pub struct Pressure {
    stop: Arc<AtomicBool>,
    stop_file: PathBuf,
    own: Option<Background<Result<String>>>,
    loops: Vec<(&'static str, Background<Result<u64>>)>,
}

impl Pressure {
    /// Starts everything; `folder` is where the files are written.
    pub fn start(folder: &Path) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stop_file = PathBuf::from("/run/memory-stop");
        let program = std::env::current_exe()?.display().to_string();
        let words = [
            "hog".to_string(),
            own_mib()?.to_string(),
            stop_file.display().to_string(),
        ];
        let own = wait::background("hog", move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            sh::ok(&program, &words)
        });
        let fio = format!(
            "fio --name=files --directory={} --size=48m --rw=randwrite --bsrange=512-128k \
             --ioengine=psync --verify=crc32c --verify_fatal=1 --fsync=64 --minimal",
            folder.display()
        );
        let loops = [("stress-ng", STRESS.to_string()), ("fio", fio)]
            .map(|(name, line)| (name, again_and_again(name, line, &stop)));
        Ok(Self {
            stop,
            stop_file,
            own: Some(own),
            loops: loops.into(),
        })
    }

    /// Fails if something has ended before its time, with what it has said.
    pub fn check(&mut self) -> Result<()> {
        if let Some(place) = self.loops.iter().position(|(_, running)| running.is_done()) {
            let (name, ended) = self.loops.remove(place);
            bail!("{name} has ended after {} rounds", ended.join_whenever()??);
        }
        if let Some(own) = self.own.take_if(|own| own.is_done()) {
            bail!("our own process has ended: {}", own.join_whenever()??);
        }
        Ok(())
    }

    /// Ends it, and says how often each has gone around.
    pub fn stop(self) -> Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        fs::write(&self.stop_file, "")?;
        let mut rounds = Vec::new();
        for (name, running) in self.loops {
            rounds.push(format!("{} rounds of {name}", running.join_whenever()??));
        }
        let own = self.own.context("our own process was asked twice")?;
        let own = own.join_whenever()??;
        Ok(format!("{own}, {}", rounds.join(", ")))
    }
}

fn again_and_again(name: &str, line: String, stop: &Arc<AtomicBool>) -> Background<Result<u64>> {
    let stop = stop.clone();
    wait::background(name, move || {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            let ran = sh::run("bash", &sh::words(&line))?;
            match ran.code {
                Some(0) => rounds += 1,
                Some(NO_RESOURCE) => thread::sleep(AGAIN),
                _ => bail!("{line} failed: {} {}", ran.err, ran.out),
            }
        }
        Ok(rounds)
    })
}

/// Memory of our own process, MiB: three quarters of what there is.
fn own_mib() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    Ok(meminfo::kib(&text, "MemTotal")? / 1024 * 3 / 4)
}

/// The process that [`Pressure`] starts: its memory and the file that ends it.
pub fn own_process(words: &[String]) -> Result<()> {
    let [mib, stop] = words else {
        anyhow::bail!("hog <MiB> <file>");
    };
    hog::run(mib.parse()?, Path::new(stop))
}
