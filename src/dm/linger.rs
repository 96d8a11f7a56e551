// SPDX-License-Identifier: GPL-2.0

//! For tests of lifetimes: a thread lingers where others may already take away what it used.
//!
//! Only in the module for the debug kernel, and only where a test asks for it: see `src/linger.c`.

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Place {
    /// Behind giving away a bio in `end_io`.
    GaveAway = 0,
    /// Behind telling the state of the end of its own I/O.
    Told = 1,
    /// On the way out of the module's code, behind letting go of state, device and RCU.
    LetGo = 2,
}

/// Lingers in a place if a test has asked for it. Any context.
#[inline(always)]
pub fn linger(place: Place) {
    if cfg!(dm_restore_linger) {
        // SAFETY: No requirements.
        unsafe { super::bindings::rust_dm_linger(place as u32, place != Place::LetGo) };
    }
}
