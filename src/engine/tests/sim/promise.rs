// SPDX-License-Identifier: GPL-2.0

//! What the product promises, and how a life says that a promise was broken.

use std::fmt;

/// A promise of the product, by its number in the manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// 1: the clone is pristine.
    Clone,
    /// 2: reads are right.
    Reads,
    /// 3: flushed is safe.
    Flushed,
    /// 4: the maps never lie.
    Maps,
    /// 5: only the delta is copied.
    Delta,
    /// 6: nothing is guessed, and a crash is never taken for damage.
    Recovery,
    /// 7: faults are contained: nothing fails without one, nothing waits for ever.
    Faults,
    /// The engine does not panic.
    Panic,
}

impl Promise {
    /// It is broken, and how.
    pub fn broken(self, how: impl Into<String>) -> Broken {
        let promise = self;
        let how = how.into();
        Broken { promise, how }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clone => "promise 1 (the clone is pristine)",
            Self::Reads => "promise 2 (reads are right)",
            Self::Flushed => "promise 3 (flushed is safe)",
            Self::Maps => "promise 4 (the maps never lie)",
            Self::Delta => "promise 5 (only the delta is copied)",
            Self::Recovery => "promise 6 (nothing is guessed)",
            Self::Faults => "promise 7 (faults are contained)",
            Self::Panic => "no panic",
        })
    }
}

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// How it shows.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.how)
    }
}

/// Whether a promise holds.
pub type ExtentLocks = Result<(), Broken>;

/// Why a life cannot just go on.
#[derive(Debug)]
pub enum Stop {
    /// The machine crashes here.
    Crash,
    /// A promise is broken.
    Violation(Broken),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Stop::Violation(broken)
    }
}
