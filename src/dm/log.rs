// SPDX-License-Identifier: GPL-2.0

//! Log lines that begin with the mapped device's name.

use super::bindings;
use kernel::{prelude::*, types::Opaque};

/// Keeps messages about failed I/O rare: at most ten in five seconds, and counts those left out.
///
/// One for each mapped device, so that no other one's troubles hide the first message of its own.
///
/// # Invariants
///
/// `state` is initialised.
#[pin_data]
pub struct LogLimit {
    #[pin]
    state: Opaque<bindings::ratelimit_state>,
}

// SAFETY: A pinned limit never moves, and its state belongs to no thread.
unsafe impl Send for LogLimit {}
// SAFETY: The state has a lock of its own.
unsafe impl Sync for LogLimit {}

impl LogLimit {
    /// An initialiser.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: `state` is initialised here.
        pin_init!(Self {
            // SAFETY: The slot is valid for writes, and what is put there needs no cleaning up.
            state <- Opaque::ffi_init(|slot| unsafe { bindings::rust_dm_ratelimit_init(slot) }),
        })
    }

    /// Whether a message may be printed now. Any context.
    pub fn allows(&self) -> bool {
        // SAFETY: The state is initialised, by the invariant, and pinned.
        unsafe { bindings::rust_dm_ratelimit(self.state.get()) }
    }
}

/// Logs an error: `dm_err!(name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_err {
    ($name:expr, $($arg:tt)+) => {
        ::kernel::pr_err!("{}\n", ::core::format_args!("{}: {}", $name, ::core::format_args!($($arg)+)))
    };
}

/// Logs a warning: `dm_warn!(name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_warn {
    ($name:expr, $($arg:tt)+) => {
        ::kernel::pr_warn!("{}\n", ::core::format_args!("{}: {}", $name, ::core::format_args!($($arg)+)))
    };
}

/// Logs for information: `dm_info!(name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_info {
    ($name:expr, $($arg:tt)+) => {
        ::kernel::pr_info!("{}\n", ::core::format_args!("{}: {}", $name, ::core::format_args!($($arg)+)))
    };
}

/// Like [`dm_err!`], but rarely, by a [`LogLimit`]: `dm_err_limited!(limit, name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_err_limited {
    ($limit:expr, $($arg:tt)+) => {
        if $limit.allows() {
            $crate::dm::dm_err!($($arg)+);
        }
    };
}

/// Like [`dm_warn!`], but rarely, by a [`LogLimit`]: `dm_warn_limited!(limit, name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_warn_limited {
    ($limit:expr, $($arg:tt)+) => {
        if $limit.allows() {
            $crate::dm::dm_warn!($($arg)+);
        }
    };
}

#[allow(unused_imports)] // As above.
pub(crate) use {dm_err, dm_err_limited, dm_info, dm_warn, dm_warn_limited};
