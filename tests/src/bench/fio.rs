// SPDX-License-Identifier: GPL-2.0

//! Runs of fio: io_uring, O_DIRECT, one job if nothing else is said.

use crate::sh;
use anyhow::{bail, Context, Result};
use serde::Deserialize;
use std::fmt::Write;
use std::fs;

/// What a run has found, reads and writes together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Requests a second.
    pub iops: f64,
    /// MiB a second.
    pub rate: f64,
    /// Requests in all.
    pub requests: u64,
    /// The time that 99 of 100 requests take at most, microseconds; the worse of reads and writes.
    pub p99: f64,
}

/// A run: the words of fio's command line.
#[derive(Clone, Debug)]
pub struct Job {
    words: Vec<String>,
}

impl Job {
    /// A job of that pattern (`randread` ...), with requests of so many KiB.
    pub fn new(pattern: &str, kib: u64, depth: u32) -> Self {
        let words = [
            "--name=bench",
            "--ioengine=io_uring",
            "--direct=1",
            "--thread",
            "--norandommap",
            "--randrepeat=1",
            "--clocksource=clock_gettime",
            "--output-format=json",
        ];
        let job = Self {
            words: words.iter().map(ToString::to_string).collect(),
        };
        job.word(format!("--rw={pattern}"))
            .word(format!("--bs={kib}k"))
            .word(format!("--iodepth={depth}"))
    }

    /// One more word.
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// For so many seconds, after a part of one that does not count.
    pub fn seconds(self, seconds: u32) -> Self {
        self.word("--time_based")
            .word(format!("--runtime={seconds}"))
            .word("--ramp_time=300ms")
    }

    /// As so many jobs that do the same at the same time; their figures are added.
    pub fn jobs(self, count: u64) -> Self {
        self.word(format!("--numjobs={count}"))
            .word("--group_reporting")
    }

    /// Within these sectors of the device.
    pub fn within(self, start: u64, sectors: u64) -> Self {
        self.word(format!("--offset={}", start * 512))
            .word(format!("--size={}", sectors * 512))
    }

    /// Runs it on a device.
    pub fn run(&self, path: &str) -> Result<Measured> {
        let file = format!("--filename={path}");
        let mut words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        words.push(&file);
        let text = sh::ok("fio", &words)?;
        parse(&text).with_context(|| format!("fio {}", words.join(" ")))
    }
}

/// A job that sends just these requests, once each and in this order: sectors.
pub fn listed(path: &str, write: bool, depth: u32, requests: &[(u64, u64)]) -> Result<Measured> {
    const LIST: &str = "/tmp/bench.iolog";
    let word = if write { "write" } else { "read" };
    let mut list = format!("fio version 2 iolog\n{path} add\n{path} open\n");
    for (start, sectors) in requests {
        writeln!(list, "{path} {word} {} {}", start * 512, sectors * 512)?;
    }
    writeln!(list, "{path} close")?;
    fs::write(LIST, list)?;
    let job = Job::new(word, 4, depth).word(format!("--read_iolog={LIST}"));
    let words: Vec<&str> = job.words.iter().map(String::as_str).collect();
    let measured = parse(&sh::ok("fio", &words)?)?;
    if measured.requests != requests.len() as u64 {
        bail!(
            "fio has sent {} requests, not {}",
            measured.requests,
            requests.len()
        );
    }
    Ok(measured)
}

#[derive(Deserialize)]
struct Output {
    jobs: Vec<JobOutput>,
}

#[derive(Deserialize)]
struct JobOutput {
    error: i64,
    read: Side,
    write: Side,
}

#[derive(Deserialize)]
struct Side {
    iops: f64,
    bw_bytes: f64,
    total_ios: u64,
    clat_ns: Latency,
}

#[derive(Deserialize)]
struct Latency {
    #[serde(default)]
    percentile: std::collections::BTreeMap<String, f64>,
}

impl Side {
    fn p99(&self) -> f64 {
        let of = |latency: &Latency| latency.percentile.get("99.000000").copied();
        of(&self.clat_ns).unwrap_or(0.0) / 1000.0
    }
}

/// Reads fio's output; there may be lines of another kind before it.
fn parse(text: &str) -> Result<Measured> {
    let start = text.find('{').context("fio printed no result")?;
    let json = text.get(start..).unwrap_or_default();
    let output: Output = serde_json::from_str(json).context("fio's output")?;
    let [job] = output.jobs.as_slice() else {
        bail!("fio speaks of {} jobs", output.jobs.len());
    };
    if job.error != 0 {
        bail!("fio: error {}", job.error);
    }
    let (read, write) = (&job.read, &job.write);
    let requests = read.total_ios + write.total_ios;
    if requests == 0 {
        bail!("fio has done nothing");
    }
    Ok(Measured {
        iops: read.iops + write.iops,
        rate: (read.bw_bytes + write.bw_bytes) / f64::from(1 << 20),
        requests,
        p99: read.p99().max(write.p99()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = r#"fio: a warning
        {"fio version": "fio-3.39", "jobs": [{"jobname": "bench", "error": 0,
        "read": {"iops": 1000.5, "bw_bytes": 2097152, "total_ios": 2001,
                 "clat_ns": {"min": 1, "percentile": {"50.000000": 1000, "99.000000": 5000}}},
        "write": {"iops": 0, "bw_bytes": 0, "total_ios": 0, "clat_ns": {"min": 0}}
        }]}"#;

    #[test]
    fn the_output_is_read() {
        let measured = parse(OUTPUT).unwrap();
        let expected = Measured {
            iops: 1000.5,
            rate: 2.0,
            requests: 2001,
            p99: 5.0,
        };
        assert_eq!(measured, expected);
    }

    #[test]
    fn a_failed_run_has_no_figures() {
        assert!(parse(&OUTPUT.replace(r#""error": 0"#, r#""error": 5"#)).is_err());
        assert!(parse(&OUTPUT.replace("2001", "0")).is_err());
        assert!(parse("fio: no such file").is_err());
    }
}
