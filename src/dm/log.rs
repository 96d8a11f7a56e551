// SPDX-License-Identifier: GPL-2.0

//! Log lines that begin with the mapped device's name.

use super::bindings;

/// Whether a message about failed I/O may be printed now: at most ten in five seconds.
pub fn may_log() -> bool {
    // SAFETY: no requirements; the C side has its own lock.
    unsafe { bindings::rust_dm_ratelimit() }
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

/// Like [`dm_err!`], but rarely: for errors of single requests.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_err_limited {
    ($($arg:tt)+) => {
        if $crate::dm::may_log() {
            $crate::dm::dm_err!($($arg)+);
        }
    };
}

/// Like [`dm_warn!`], but rarely: for errors of single requests.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_warn_limited {
    ($($arg:tt)+) => {
        if $crate::dm::may_log() {
            $crate::dm::dm_warn!($($arg)+);
        }
    };
}

#[allow(unused_imports)] // As above.
pub(crate) use {dm_err, dm_err_limited, dm_info, dm_warn, dm_warn_limited};
