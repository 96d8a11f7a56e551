// SPDX-License-Identifier: GPL-2.0

//! Progress on the terminal: one bar or spinner a step, and a line when the step is done.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A step that takes a while.
pub struct Step {
    bar: ProgressBar,
    name: String,
    began: Instant,
}

impl Step {
    /// A step of unknown length.
    #[must_use]
    pub fn spinner(name: impl Into<String>) -> Self {
        let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}");
        Self::new(name.into(), ProgressBar::new_spinner(), style)
    }

    /// A step over `bytes` bytes.
    #[must_use]
    pub fn bytes(name: impl Into<String>, bytes: u64) -> Self {
        let style = ProgressStyle::with_template(
            "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        );
        Self::new(name.into(), ProgressBar::new(bytes), style)
    }

    /// A step over `items` things.
    #[must_use]
    pub fn items(name: impl Into<String>, items: u64) -> Self {
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {elapsed}");
        Self::new(name.into(), ProgressBar::new(items), style)
    }

    fn new(
        name: String,
        bar: ProgressBar,
        style: Result<ProgressStyle, indicatif::style::TemplateError>,
    ) -> Self {
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message(name.clone());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            bar,
            name,
            began: Instant::now(),
        }
    }

    /// Where the step is now, in its unit.
    pub fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// What the step is doing now.
    pub fn doing(&self, what: &str) {
        self.bar.set_message(format!("{}: {what}", self.name));
    }

    /// What kbuild is doing now: its lines start with two blanks and the tool.
    pub fn building(&self, line: &str) {
        if line.starts_with("  ") {
            self.doing(line.trim());
        }
    }

    /// Show a line above the bar.
    pub fn line(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }

    /// As [`done`](Self::done), with this text.
    pub fn done_as(self, text: &str) {
        self.bar.finish_and_clear();
        println!("{text} ({:.1} s)", self.began.elapsed().as_secs_f64());
    }

    /// The step succeeded: leave one line with its time.
    pub fn done(self) {
        let name = self.name.clone();
        self.done_as(&name);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
