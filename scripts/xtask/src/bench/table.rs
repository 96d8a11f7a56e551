// SPDX-License-Identifier: GPL-2.0

//! The rows of the benchmark and their targets, as they were fixed before the first run.

/// Whom a figure is compared with, and how it has to come out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Ours, divided by the peer's figure, is at least so much.
    AtLeast(f64, &'static str),
    /// Ours, divided by the peer's figure, is at most so much.
    AtMost(f64, &'static str),
    /// The peer's figure, a time, divided by ours, is at least so much.
    Faster(f64, &'static str),
    /// Ours itself is at most so much.
    Limit(f64),
}

impl Target {
    /// The peer, if there is one.
    #[must_use]
    pub fn peer(self) -> Option<&'static str> {
        match self {
            Self::AtLeast(_, peer) | Self::AtMost(_, peer) | Self::Faster(_, peer) => Some(peer),
            Self::Limit(_) => None,
        }
    }

    /// Our figure in proportion to the peer's. `None` if there is no peer, or nothing to divide by.
    #[must_use]
    pub fn ratio(self, ours: f64, peer: Option<f64>) -> Option<f64> {
        let (over, under) = match self {
            Self::AtLeast(..) | Self::AtMost(..) => (ours, peer?),
            Self::Faster(..) => (peer?, ours),
            Self::Limit(_) => return None,
        };
        (under > 0.0).then(|| over / under)
    }

    /// Whether it is met. `None` if the peer has no figure.
    #[must_use]
    pub fn met(self, ours: f64, peer: Option<f64>) -> Option<bool> {
        let ratio = self.ratio(ours, peer);
        match self {
            Self::AtLeast(least, _) | Self::Faster(least, _) => Some(ratio? >= least),
            Self::AtMost(most, _) => Some(ratio? <= most),
            Self::Limit(most) => Some(ours <= most),
        }
    }

    /// How many times better than asked for: met from 1 on. `None` where that is no number.
    #[must_use]
    pub fn margin(self, ours: f64, peer: Option<f64>) -> Option<f64> {
        let (over, under) = match self {
            Self::AtLeast(least, _) | Self::Faster(least, _) => (self.ratio(ours, peer)?, least),
            Self::AtMost(most, _) => (most, self.ratio(ours, peer)?),
            Self::Limit(most) => (most, ours),
        };
        (over > 0.0 && under > 0.0).then(|| over / under)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(least, peer) => write!(f, ">= {least} x {peer}"),
            Self::AtMost(most, peer) => write!(f, "<= {most} x {peer}"),
            Self::Faster(least, peer) => write!(f, ">= {least} x faster than {peer}"),
            Self::Limit(most) => write!(f, "<= {most}"),
        }
    }
}

/// One comparison of a row: the same measurement on each contestant.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, unique in its row.
    pub name: &'static str,
    /// What the figures count.
    pub unit: &'static str,
    /// What is asked for. Nothing: the figures are only shown.
    pub targets: &'static [Target],
}

/// A row: what `make bench ARGS='--row NAME'` runs.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What is measured, for the page.
    pub what: &'static str,
    /// Its cases.
    pub cases: &'static [Case],
}

const fn case(name: &'static str, unit: &'static str, targets: &'static [Target]) -> Case {
    Case {
        name,
        unit,
        targets,
    }
}

use Target::{AtLeast, AtMost, Faster, Limit};

/// Requests a second.
const IOPS: &str = "IOPS";
/// Bytes a second.
const RATE: &str = "MiB/s";
/// Seconds.
const TIME: &str = "s";

/// All rows, in the order in which they run.
pub const ROWS: &[Row] = &[
    Row {
        name: "read-qd1",
        what: "4 KiB random reads, depth 1, on brd",
        cases: &[
            case("tracking", IOPS, READ_QD1),
            case("after a restore", IOPS, READ_QD1),
        ],
    },
    Row {
        name: "read-qd32",
        what: "4 KiB random reads, depth 32, on brd",
        cases: &[
            case("tracking", IOPS, &[AtLeast(0.97, "linear")]),
            case("after a restore", IOPS, &[AtLeast(0.97, "linear")]),
        ],
    },
    Row {
        name: "write-touched",
        what: "4 KiB random writes to extents that are marked already, depth 32, on brd",
        cases: &[case("tracking", IOPS, &[AtLeast(0.95, "linear")])],
    },
    Row {
        name: "read-1m-4k-extents",
        what: "1 MiB sequential reads, extents of 4 KiB, depth 1, on brd",
        cases: &[
            case("restored", RATE, &[AtLeast(0.95, "linear")]),
            case("unrestored", RATE, &[AtLeast(0.95, "linear")]),
        ],
    },
    Row {
        name: "first-touch",
        what: "4 KiB random writes, each the first one to its extent, depth 32, source on brd",
        cases: &[
            case("tracking, metadata in memory", IOPS, TOUCH_MEMORY),
            case("restoring, metadata in memory", IOPS, TOUCH_MEMORY),
            case("tracking, metadata of 1 ms", IOPS, TOUCH_SLOW),
            case("restoring, metadata of 1 ms", IOPS, TOUCH_SLOW),
            case(
                "tracking, metadata of 1 ms, metadata writes",
                PER_WRITE,
                &[Limit(0.1)],
            ),
            case(
                "restoring, metadata of 1 ms, metadata writes",
                PER_WRITE,
                &[Limit(0.1)],
            ),
        ],
    },
    Row {
        name: "first-touch-seq",
        what: "64 KiB sequential writes, each the first one to its extent, depth 1, source of \
               100 us, metadata of 1 ms",
        cases: &[
            case("tracking", RATE, &[AtLeast(0.8, "linear")]),
            case("tracking, marked in vain", "extents", &[]),
        ],
    },
    Row {
        name: "overwrite",
        what: "64 KiB random writes of whole unrestored extents, depth 32, on brd",
        cases: &[
            case("rate", RATE, &[AtLeast(0.9, "linear")]),
            case("bytes read from the clone", "bytes", &[Limit(0.0)]),
        ],
    },
    Row {
        name: "restore-full",
        what: "1 GiB of which every extent differs, on brd",
        cases: &[case(
            "time",
            TIME,
            &[Faster(1.3, "clone"), Faster(0.95, "dd")],
        )],
    },
    Row {
        name: "restore-10",
        what: "4 GiB of which 10 % of the extents differ, scattered, on brd",
        cases: &[case(
            "time",
            TIME,
            &[Faster(8.0, "clone"), Faster(4.0, "snapshot-merge")],
        )],
    },
    Row {
        name: "restore-1",
        what: "4 GiB of which 1 % of the extents differ, scattered, on brd",
        cases: &[case(
            "time",
            TIME,
            &[Faster(50.0, "clone"), Faster(4.0, "snapshot-merge")],
        )],
    },
    Row {
        name: "under-load",
        what: "4 KiB random reads and writes (7 to 3), depth 16, while a restore copies from a \
               clone of 100 us to a source of 100 us",
        cases: &[
            case("restored space", IOPS, &[AtLeast(0.85, NO_RESTORE)]),
            case("restored space, p99", "us", &[AtMost(1.5, NO_RESTORE)]),
            case("restored space, copy", RATE, &[AtLeast(0.1, IDLE)]),
            case("unrestored space", IOPS, &[]),
            case("unrestored space, p99", "us", &[]),
            case("unrestored space, copy", RATE, &[]),
        ],
    },
    Row {
        name: "slow-clone",
        what: "64 KiB random reads, depth 8, of 32 MiB that lie unrestored on a clone of 5 ms: \
               the second pass; source of 100 us",
        cases: &[case("second pass", RATE, &[AtLeast(0.9, "bare")])],
    },
    Row {
        name: "start",
        what: "the ioctl of start_restore, 16 TiB against 1 GiB, sparse, metadata in memory",
        cases: &[case("time", "us", &[AtMost(1.2, "1 GiB")])],
    },
    Row {
        name: "activation",
        what: "a table of 16 TiB: from resume to the end of the first read, against reading the \
               maps' bytes by requests of 1 MiB, metadata of 100 us",
        cases: &[case("time", "ms", &[AtMost(2.0, "read of the maps")])],
    },
    Row {
        name: "memory",
        what: "memory that a mapped device holds, sparse volumes",
        cases: &[
            case("1 TiB", "KiB", &[AtMost(1.0, ALLOWED)]),
            case("16 TiB", "KiB", &[AtMost(1.0, ALLOWED)]),
        ],
    },
];

const READ_QD1: &[Target] = &[AtLeast(0.97, "linear"), AtLeast(5.0, "clone")];
const TOUCH_MEMORY: &[Target] = &[AtLeast(1.0, "era"), AtLeast(8.0, "snapshot")];
const TOUCH_SLOW: &[Target] = &[AtLeast(3.0, "era"), AtLeast(8.0, "snapshot")];
const PER_WRITE: &str = "metadata writes per host write";

/// The same load without a restore.
pub const NO_RESTORE: &str = "no restore";
/// The same copy without a load.
pub const IDLE: &str = "idle host";
/// What the memory row allows.
pub const ALLOWED: &str = "2 bits per extent + 2 MiB";

/// The row of this name.
#[must_use]
pub fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

impl Row {
    /// The case of this name.
    #[must_use]
    pub fn case(&self, name: &str) -> Option<&'static Case> {
        self.cases.iter().find(|case| case.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_there_once() {
        let mut names: Vec<_> = ROWS
            .iter()
            .flat_map(|row| row.cases.iter().map(|case| (row.name, case.name)))
            .collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_rate_is_compared_with_the_peers() {
        let target = AtLeast(0.97, "linear");
        assert_eq!(target.ratio(98.0, Some(100.0)), Some(0.98));
        assert_eq!(target.met(98.0, Some(100.0)), Some(true));
        assert_eq!(target.met(96.0, Some(100.0)), Some(false));
        assert_eq!(target.met(96.0, None), None);
        assert_eq!(target.met(96.0, Some(0.0)), None);
    }

    #[test]
    fn a_time_is_compared_the_other_way() {
        let target = Faster(8.0, "clone");
        assert_eq!(target.ratio(2.0, Some(20.0)), Some(10.0));
        assert_eq!(target.met(2.0, Some(20.0)), Some(true));
        assert_eq!(target.met(4.0, Some(20.0)), Some(false));
    }

    #[test]
    fn limits() {
        assert_eq!(AtMost(1.2, "1 GiB").met(13.0, Some(10.0)), Some(false));
        assert_eq!(AtMost(1.2, "1 GiB").met(11.0, Some(10.0)), Some(true));
        assert_eq!(Limit(0.0).met(0.0, None), Some(true));
        assert_eq!(Limit(0.0).met(512.0, None), Some(false));
        assert_eq!(Limit(0.1).ratio(0.05, None), None);
    }

    #[test]
    fn the_margin_is_above_one_where_the_target_is_met() {
        assert_eq!(Faster(8.0, "clone").margin(1.0, Some(16.0)), Some(2.0));
        assert_eq!(AtMost(2.0, "1 GiB").margin(4.0, Some(1.0)), Some(0.5));
        assert_eq!(Limit(0.1).margin(0.05, None), Some(2.0));
        assert_eq!(Limit(0.0).margin(0.0, None), None);
    }
}
