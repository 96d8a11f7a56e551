// SPDX-License-Identifier: GPL-2.0

//! The mapped device that a table line is for: its events, its name, its identity.

use core::fmt;

use super::{args::c_str, bindings, line_ref::LineRef};

/// Raises device-mapper events of one table (`dmsetup wait`).
#[derive(Clone)]
pub struct Events(LineRef);

// SAFETY: holds no more than a lease; `dm_table_event` takes a lock of its own.
unsafe impl Send for Events {}
// SAFETY: as above.
unsafe impl Sync for Events {}

impl Events {
    pub(super) fn new(line_ref: &LineRef) -> Self {
        Self(line_ref.clone())
    }

    /// Raises an event. Sleeps; not to be called from the target's own hooks while device-mapper
    /// swaps tables, but from a work item.
    pub fn raise(&self) {
        // SAFETY: the lease keeps the table alive.
        unsafe { bindings::dm_table_event(self.0.table()) };
    }

    /// Whether the mapped device stays, and only gets another table. For `dtr`: else it is being
    /// removed. Any context.
    pub fn device_stays(&self) -> bool {
        // SAFETY: the lease keeps the table alive, and the table its mapped device.
        unsafe { bindings::rust_dm_md_stays(bindings::dm_table_get_md(self.0.table())) }
    }
}

/// Identity of a table: of which mapped device, and which of its tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableId {
    device: usize,
    table: usize,
}

impl TableId {
    pub(super) fn of(line_ref: &LineRef) -> Self {
        let table = line_ref.table();
        Self {
            // SAFETY: the lease keeps the table alive.
            device: unsafe { bindings::dm_table_get_md(table) } as usize,
            table: table as usize,
        }
    }

    /// Whether both are tables of the same mapped device, as in a live reload.
    pub fn same_device(self, other: Self) -> bool {
        self.device == other.device
    }
}

/// Longest name of a mapped device with its NUL, as in `struct mapped_device`.
const NAME_SIZE: usize = 16;

/// Name of a mapped device (`major:minor`), for the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MappedName([u8; NAME_SIZE]);

impl MappedName {
    pub(super) fn of(line_ref: &LineRef) -> Self {
        // SAFETY: the lease keeps the table alive.
        unsafe { Self::of_table(line_ref.table()) }
    }

    /// The name of the mapped device that `table` is for.
    ///
    /// # Safety
    ///
    /// `table` is valid.
    pub(super) unsafe fn of_table(table: *mut bindings::dm_table) -> Self {
        // SAFETY: `table` is valid by the safety requirements, and so is its mapped device.
        let name = unsafe { c_str(bindings::dm_table_device_name(table)) };
        let mut bytes = [0; NAME_SIZE];
        for (to, from) in bytes.iter_mut().zip(name.to_bytes_with_nul()) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl MappedName {
    fn text(&self) -> &str {
        let name = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        core::str::from_utf8(name).unwrap_or("?")
    }

    /// The minor number.
    pub fn minor(&self) -> u32 {
        let minor = self.0.iter().skip_while(|byte| **byte != b':').skip(1);
        let digits = minor.take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number: u32, digit| {
            let digit = u32::from(digit.wrapping_sub(b'0'));
            number.wrapping_mul(10).wrapping_add(digit)
        })
    }
}

impl fmt::Display for MappedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
