// SPDX-License-Identifier: GPL-2.0

//! Log lines in device-mapper's form, each with the mapped device's name:
//! `device-mapper: restore: 253:0: ...`. As in C, the crate has a `DM_MSG_PREFIX`, here `restore`.

use super::{bindings, events::MappedName};
use crate::DM_MSG_PREFIX;
use core::fmt::{Arguments, Display};
use kernel::{
    prelude::*,
    print::{call_printk, format_strings},
    types::Opaque,
};

/// What stands first in a line (`DM_NAME` in C).
const DM_NAME: &[u8] = b"device-mapper\0";

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Something has failed or was refused.
    Err,
    /// Something needs a look.
    Warn,
    /// What happens.
    Info,
}

/// Prints a line about the mapped device `name`. Any context. For the macros below.
pub fn print(level: Level, name: &dyn Display, text: Arguments<'_>) {
    let format = match level {
        Level::Err => &format_strings::ERR,
        Level::Warn => &format_strings::WARNING,
        Level::Info => &format_strings::INFO,
    };
    let printk = |line: Arguments<'_>| {
        // SAFETY: The format is one of the fixed ones, and `DM_NAME` ends with a NUL.
        unsafe { call_printk(format, DM_NAME, line) };
    };
    printk(format_args!("{DM_MSG_PREFIX}: {name}: {text}\n"));
}

/// Keeps lines of one kind rare: at most ten in five seconds, and counts those left out.
///
/// One for each mapped device, so that no other one's troubles hide the first line of its own.
///
/// # Invariants
///
/// `state` is initialised.
#[pin_data]
#[repr(transparent)]
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

    /// The one for what is refused to the mapped device `name`, which lasts longer than the device:
    /// its table lines are refused before there is anything else of it. Two devices share one only if
    /// their minor numbers differ by a multiple of 256.
    pub fn of_refusals(name: &MappedName) -> &'static Self {
        // SAFETY: No requirements.
        let state = unsafe { bindings::rust_dm_ratelimit_of(name.minor()) };
        // SAFETY: It is one of a static array, which is initialised and lasts as long as the module.
        // INVARIANT: So it is initialised. CAST: the type is transparent.
        unsafe { &*state.cast() }
    }

    /// Whether a line may be printed now; then how many were left out since the last one. Any
    /// context.
    pub fn allows(&self) -> Option<u32> {
        // SAFETY: The state is initialised, by the invariant, and pinned.
        let allowed = unsafe { bindings::rust_dm_ratelimit(self.state.get()) };
        // SAFETY: As above.
        allowed.then(|| unsafe { bindings::rust_dm_ratelimit_reset_miss(self.state.get()) } as u32)
    }
}

/// Prints a line if `limit` allows, and one before it if it has left some out. For the macros below.
pub fn print_rarely(limit: &LogLimit, level: Level, name: &dyn Display, text: Arguments<'_>) {
    let Some(left_out) = limit.allows() else {
        return;
    };
    if left_out > 0 {
        print(Level::Warn, name, format_args!("{left_out} lines left out"));
    }
    print(level, name, text);
}

/// Prints a line: `dm_log!(level, name, "format", ...)`.
macro_rules! dm_log {
    ($level:ident, $name:expr, $($arg:tt)+) => {
        $crate::dm::log::print(
            $crate::dm::log::Level::$level,
            &$name,
            ::core::format_args!($($arg)+),
        )
    };
}

/// Logs an error: `dm_err!(name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_err {
    ($($arg:tt)+) => { $crate::dm::log::dm_log!(Err, $($arg)+) };
}

/// Logs a warning: `dm_warn!(name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_warn {
    ($($arg:tt)+) => { $crate::dm::log::dm_log!(Warn, $($arg)+) };
}

/// Logs for information: `dm_info!(name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_info {
    ($($arg:tt)+) => { $crate::dm::log::dm_log!(Info, $($arg)+) };
}

/// Like [`dm_log!`], but rarely, by a [`LogLimit`].
macro_rules! dm_log_limited {
    ($limit:expr, $level:ident, $name:expr, $($arg:tt)+) => {
        $crate::dm::log::print_rarely(
            $limit,
            $crate::dm::log::Level::$level,
            &$name,
            ::core::format_args!($($arg)+),
        )
    };
}

/// Logs an error, but rarely, by a [`LogLimit`]: `dm_err_limited!(limit, name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_err_limited {
    ($limit:expr, $($arg:tt)+) => {
        $crate::dm::log::dm_log_limited!(&$limit, Err, $($arg)+)
    };
}

/// Logs a warning in the same way: `dm_warn_limited!(&limit, name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_warn_limited {
    ($limit:expr, $($arg:tt)+) => {
        $crate::dm::log::dm_log_limited!(&$limit, Warn, $($arg)+)
    };
}

/// Logs why user space gets an error, a table line or message being refused: rarely for each mapped
/// device, since a script may try for ever. `dm_refuse!(name, "format", ...)`.
#[allow(unused_macros)] // A target need not use them all.
macro_rules! dm_refuse {
    ($name:expr, $($arg:tt)+) => {
        $crate::dm::log::dm_log_limited!(
            $crate::dm::log::LogLimit::of_refusals(&$name),
            Err,
            $name,
            $($arg)+
        )
    };
}

/// Like [`dm_info!`], but rarely, by a [`LogLimit`]: `dm_info_limited!(limit, name, "format", ...)`.
#[allow(unused_macros)] // As above.
macro_rules! dm_info_limited {
    ($limit:expr, $($arg:tt)+) => { $crate::dm::log::dm_log_limited!(&$limit, Info, $($arg)+) };
}

#[allow(unused_imports)] // As above.
pub(crate) use {
    dm_err, dm_err_limited, dm_info, dm_info_limited, dm_log, dm_log_limited, dm_refuse, dm_warn,
    dm_warn_limited,
};
