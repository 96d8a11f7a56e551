// SPDX-License-Identifier: GPL-2.0

//! Reading what libtest, libtest-mimic and their like print.

use crate::progress::Step;

/// How many tests passed, and which failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of tests that passed.
    pub passed: usize,
    /// The others, as `suite: test`.
    pub failures: Vec<String>,
}

impl Tally {
    /// A single failure.
    pub fn failed(suite: &str, what: &str) -> Self {
        Self {
            passed: 0,
            failures: vec![format!("{suite}: {what}")],
        }
    }

    /// Add the results of another suite.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
    }
}

/// What one line says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A test passed.
    Passed(&'a str),
    /// A test failed.
    Failed(&'a str),
    /// A test was not run.
    Ignored,
    /// This many tests are to be run.
    Running(u64),
    /// The tests of a program are over.
    Over,
    /// Anything else.
    Other,
}

/// Take one line apart.
pub fn parse(line: &str) -> Said<'_> {
    let words: Vec<_> = line.split_whitespace().collect();
    if line.starts_with("test result: ") {
        return Said::Over;
    }
    if let ["running", count, "test" | "tests"] = words[..] {
        return count.parse().map_or(Said::Other, Said::Running);
    }
    let Some(rest) = line.strip_prefix("test ") else {
        return Said::Other;
    };
    // libtest-mimic pads the name; doc tests have blanks in theirs.
    let Some((name, verdict)) = rest.rsplit_once(" ... ") else {
        return Said::Other;
    };
    match verdict.trim() {
        "ok" => Said::Passed(name.trim()),
        "ignored" => Said::Ignored,
        verdict if verdict.starts_with("ignored,") => Said::Ignored,
        verdict if verdict.starts_with("FAILED") => Said::Failed(name.trim()),
        _ => Said::Other,
    }
}

/// Follows the output of one suite.
pub struct Reader {
    suite: String,
    step: Option<Step>,
    tally: Tally,
    announced: u64,
    over: bool,
    quiet: bool,
    in_failures: bool,
}

impl Reader {
    /// For a suite. Of `quiet` output only the failures are shown, else every line that is not
    /// about a test that passed.
    pub fn new(suite: &str, quiet: bool) -> Self {
        Self {
            suite: suite.to_owned(),
            step: Some(Step::spinner(suite)),
            tally: Tally::default(),
            announced: 0,
            over: false,
            quiet,
            in_failures: false,
        }
    }

    /// The next line of output.
    pub fn line(&mut self, line: &str) {
        match parse(line) {
            Said::Passed(name) => {
                self.tally.passed += 1;
                self.doing(name);
            }
            Said::Failed(name) => {
                self.tally.failures.push(format!("{}: {name}", self.suite));
                self.show(line);
            }
            Said::Running(count) => self.announced += count,
            Said::Over => {
                self.over = true;
                self.in_failures = false;
            }
            Said::Ignored => {}
            Said::Other => {
                self.in_failures |= line == "failures:";
                if self.in_failures || !self.quiet {
                    self.show(line);
                }
            }
        }
    }

    /// Whether a test has failed so far.
    pub fn failed(&self) -> bool {
        !self.tally.failures.is_empty()
    }

    /// Whether no test has ended so far.
    pub fn silent(&self) -> bool {
        self.tally.passed == 0 && !self.failed()
    }

    fn doing(&self, name: &str) {
        let done = self.tally.passed + self.tally.failures.len();
        if let Some(step) = &self.step {
            step.doing(&format!("{done} of {} ({name})", self.announced));
        }
    }

    /// Show a line.
    pub fn show(&self, line: &str) {
        if let Some(step) = &self.step {
            step.line(line);
        }
    }

    /// The suite has ended; `complaint` is what is wrong besides its tests.
    pub fn finish(mut self, complaint: Option<String>) -> Tally {
        let complaint = match complaint {
            Some(complaint) => Some(complaint),
            None if !self.over => Some("ended before its tests did".to_owned()),
            None if self.silent() => Some("ran nothing".to_owned()),
            None => None,
        };
        if let Some(complaint) = complaint {
            self.show(&complaint);
            let first = complaint.lines().next().unwrap_or_default();
            self.tally.failures.push(format!("{}: {first}", self.suite));
        }
        let Tally { passed, failures } = &self.tally;
        let result = format!("{passed} passed, {} failed", failures.len());
        if let Some(step) = self.step.take() {
            step.done_as(&format!("{}: {result}", self.suite));
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        assert_eq!(parse("test a::b ... ok"), Said::Passed("a::b"));
        assert_eq!(parse("test padded    ... ok"), Said::Passed("padded"));
        assert_eq!(parse("test a::b ... FAILED"), Said::Failed("a::b"));
        assert_eq!(parse("test a ... ignored, slow"), Said::Ignored);
        assert_eq!(
            parse("test src/a.rs - f (line 3) ... ok"),
            Said::Passed("src/a.rs - f (line 3)")
        );
        assert_eq!(parse("running 12 tests"), Said::Running(12));
        assert_eq!(parse("test result: ok. 1 passed; 0 failed"), Said::Over);
        assert_eq!(parse("testing ... ok"), Said::Other);
    }

    fn read(lines: &[&str], complaint: Option<&str>) -> Tally {
        let mut reader = Reader::new("s", true);
        lines.iter().for_each(|line| reader.line(line));
        reader.finish(complaint.map(str::to_owned))
    }

    #[test]
    fn a_good_suite() {
        let tally = read(
            &["running 1 test", "test a ... ok", "test result: ok."],
            None,
        );
        assert_eq!((tally.passed, tally.failures.len()), (1, 0));
    }

    #[test]
    fn a_suite_that_dies_fails() {
        let tally = read(&["running 2 tests", "test a ... ok"], None);
        assert_eq!(tally.failures, ["s: ended before its tests did"]);
    }

    #[test]
    fn a_suite_that_runs_nothing_fails() {
        let tally = read(&["running 0 tests", "test result: ok."], None);
        assert_eq!(tally.failures, ["s: ran nothing"]);
    }

    #[test]
    fn a_complaint_fails_a_suite_whose_tests_pass() {
        let tally = read(&["test a ... ok", "test result: ok."], Some("WARNING: x"));
        assert_eq!(tally.failures, ["s: WARNING: x"]);
    }
}
