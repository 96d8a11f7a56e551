// SPDX-License-Identifier: GPL-2.0

//! What a user observes of a mapped device from outside: its status, its events, its counted errors.

use super::dm;
use super::rig::{AllMoved, Rig};
use super::stats::Moved;
use super::status::Status;
use super::wait::{self, Background};
use anyhow::{ensure, Context, Result};

/// Figures at an instant, to be compared with later ones.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Events so far.
    pub events: u64,
    /// Failed requests so far, of clone, source and metadata.
    pub errors: [u64; 3],
    moved: AllMoved,
}

impl Figures {
    /// Requests so far to clone, source and metadata.
    fn requests(&self) -> [u64; 3] {
        let all = |moved: Moved| moved.reads + moved.writes + moved.discards;
        [self.moved.clone, self.moved.source, self.moved.metadata].map(all)
    }
}

impl Rig {
    /// The number of events so far.
    pub fn events(&self) -> Result<u64> {
        let options = ["--columns", "--noheadings", "--options", "events"];
        let info = dm::ok(&[&["info"], &options[..], &[&self.name]].concat())?;
        info.trim().parse().context(info)
    }

    /// Begins to wait for an event beyond the first `seen`, as a user would.
    pub fn event_after(&self, seen: u64) -> Background<Result<String>> {
        let (name, number) = (self.name.clone(), seen.to_string());
        wait::background("dmsetup wait", move || dm::ok(&["wait", &name, &number]))
    }

    /// Waits until the status is as wanted.
    pub fn status_when(&self, what: &str, is: impl Fn(&Status) -> bool) -> Result<Status> {
        let mut last = None;
        let found = wait::until(what, || {
            let status = self.status()?;
            let wanted = is(&status);
            last = Some(status.clone());
            Ok(wanted.then_some(status))
        });
        found.with_context(|| format!("last was {last:?}"))
    }

    /// Waits until mode, activity and metadata mode are these.
    pub fn until(&self, words: &str) -> Result<Status> {
        self.status_when(&format!("the status is '{words}'"), |status| {
            status.summary() == words
        })
    }

    /// Checks that mode, activity and metadata mode are these.
    pub fn expect(&self, words: &str) -> Result<Status> {
        let status = self.status()?;
        ensure!(status.summary() == words, "not '{words}': {status:?}");
        Ok(status)
    }

    /// The figures now.
    pub fn figures(&self) -> Result<Figures> {
        Ok(Figures {
            events: self.events()?,
            errors: self.status()?.errors(),
            moved: self.moved()?,
        })
    }

    /// Checks that there are exactly so many events since `before`. The last may be yet to come: the
    /// status shows what has happened a moment before the event tells of it.
    pub fn expect_events(&self, before: &Figures, count: u64) -> Result<()> {
        let mut since = 0;
        let come = wait::for_condition("the events have come", || {
            since = self.events()? - before.events;
            Ok(since >= count)
        });
        let wrong = || format!("{since} events, must be {count}");
        come.with_context(wrong)?;
        ensure!(since == count, wrong());
        Ok(())
    }

    /// Checks that since `before` each of these devices (clone, source, metadata) has failed as
    /// many requests as it was sent, that all of them were counted, and none of the others.
    pub fn expect_all_failed(&self, before: &Figures, devices: [bool; 3]) -> Result<()> {
        let mut last = None;
        // A request is counted by its device a moment before it is by the target.
        let found = wait::until("the errors are those of the devices", || {
            let now = self.figures()?;
            let (sent, sent_before) = (now.requests(), before.requests());
            let right = (0..3).all(|i| {
                let failed = now.errors[i] - before.errors[i];
                let expected = if devices[i] {
                    sent[i] - sent_before[i]
                } else {
                    0
                };
                failed == expected && (failed > 0) == devices[i]
            });
            last = Some(now);
            Ok(right.then_some(()))
        });
        found.with_context(|| format!("before: {before:?}, last: {last:?}"))
    }

    /// Checks that no request has failed since `before`.
    pub fn expect_no_errors(&self, before: &Figures) -> Result<()> {
        let status = self.status()?;
        ensure!(status.errors() == before.errors, "{before:?}: {status:?}");
        Ok(())
    }
}
