// SPDX-License-Identifier: GPL-2.0

//! What a target's constructor works with.

use core::{marker::PhantomData, ptr::NonNull};
use kernel::prelude::*;

use super::{
    bindings,
    device::{put, DevT, Device, Handle, ReadOnlyDevice},
    events::{Events, MappedName, TableId},
    line_ref::LineRef,
    mapped::MappedDisk,
};

/// A device that was opened, and those before it.
struct Opened {
    dev: DevT,
    next: Option<KBox<Opened>>,
}

/// What a table line owns besides its target.
///
/// # Invariants
///
/// `opened` names each device once for each successful open.
pub(super) struct Line {
    line_ref: LineRef,
    opened: Option<KBox<Opened>>,
}

impl Line {
    /// Sleeps until all handles of this line are gone, and puts its devices.
    ///
    /// # Safety
    ///
    /// Called in the failing `ctr`, or the `dtr`, of this line.
    pub(super) unsafe fn close(self) {
        let ti = self.line_ref.ti();
        self.line_ref.close();
        let mut opened = self.opened;
        while let Some(last) = opened {
            let Opened { dev, next } = KBox::into_inner(last);
            // SAFETY: `ti` is valid and the callback is the right one by the safety requirements;
            // device-mapper builds and destroys tables one target at a time; no handle is left,
            // since each has a lease; each open is answered once by the type invariants.
            unsafe { put(ti, dev) };
            opened = next;
        }
    }
}

/// A table line that is being constructed.
pub struct Setup<'a> {
    ti: NonNull<bindings::dm_target>,
    line: Line,
    _lifetime: PhantomData<&'a mut ()>,
}

/// One setter for each switch of `struct dm_target`.
macro_rules! switches {
    ($($(#[$doc:meta])* $set:ident, $field:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $set(&mut self, on: bool) {
                self.ti_mut().$field = c_uint::from(on);
            }
        )*
    };
}

impl<'a> Setup<'a> {
    /// Starts to construct the line `ti`.
    ///
    /// # Safety
    ///
    /// `ti` is the argument of a running `ctr`, which lasts longer than the result. The caller
    /// closes the line that [`Self::into_line`] gives before that `ctr` fails, or in `dtr`.
    pub(super) unsafe fn new(ti: NonNull<bindings::dm_target>) -> Result<Self> {
        Ok(Self {
            ti,
            line: Line {
                // SAFETY: by the safety requirements.
                line_ref: unsafe { LineRef::open(ti) }?,
                opened: None,
            },
            _lifetime: PhantomData,
        })
    }

    pub(super) fn into_line(self) -> Line {
        self.line
    }

    fn ti_mut(&mut self) -> &mut bindings::dm_target {
        // SAFETY: `ctr` is running, and device-mapper leaves the line to it meanwhile.
        unsafe { self.ti.as_mut() }
    }

    /// Length of the line in sectors.
    pub fn len(&self) -> u64 {
        // SAFETY: `ctr` is running; nobody writes these fields.
        unsafe { (*self.ti.as_ptr()).len }
    }

    /// Says why the construction fails.
    pub fn set_error(&mut self, reason: &'static CStr) {
        self.ti_mut().error = reason.as_char_ptr().cast_mut();
    }

    /// Fails with a reason.
    ///
    /// # Errors
    ///
    /// Always `error`.
    pub fn fail<R>(&mut self, reason: &'static CStr, error: Error) -> Result<R> {
        self.set_error(reason);
        Err(error)
    }

    /// Whether the table is to be read-only.
    pub fn is_read_only(&self) -> bool {
        // SAFETY: the lease keeps the table alive.
        let mode = unsafe { bindings::dm_table_get_mode(self.line.line_ref.table()) };
        mode & bindings::BLK_OPEN_WRITE == 0
    }

    /// Opens a device for reading and writing. `path` may also be `major:minor`.
    ///
    /// # Errors
    ///
    /// As opening a block device, also `EINVAL` for the mapped device itself, `EBUSY` when somebody
    /// else has claimed it, `EACCES` when it is read-only.
    pub fn device(&mut self, path: &CStr) -> Result<Device> {
        let mode = bindings::BLK_OPEN_READ | bindings::BLK_OPEN_WRITE;
        Ok(Device::new(self.open(path, mode)?))
    }

    /// Opens a device for reading. `path` may also be `major:minor`.
    ///
    /// # Errors
    ///
    /// As for [`Self::device`].
    pub fn read_only_device(&mut self, path: &CStr) -> Result<ReadOnlyDevice> {
        let handle = self.open(path, bindings::BLK_OPEN_READ)?;
        Ok(ReadOnlyDevice::new(handle))
    }

    fn open(&mut self, path: &CStr, mode: bindings::blk_mode_t) -> Result<Handle> {
        let slot = KBox::<Opened>::new_uninit(GFP_KERNEL)?;
        let handle = Handle::open(&self.line.line_ref, path, mode)?;
        let opened = Opened {
            dev: handle.dev_t(),
            next: self.line.opened.take(),
        };
        // INVARIANT: one entry for this open.
        self.line.opened = Some(KBox::write(slot, opened));
        Ok(handle)
    }

    /// A handle for the events of this table.
    pub fn events(&self) -> Events {
        Events::new(&self.line.line_ref)
    }

    /// Name of the mapped device.
    pub fn name(&self) -> MappedName {
        MappedName::of(&self.line.line_ref)
    }

    /// The mapped device's own disk.
    pub fn mapped_disk(&self) -> MappedDisk {
        MappedDisk::new(&self.line.line_ref)
    }

    /// Identity of the table, and so of the mapped device.
    pub fn table(&self) -> TableId {
        TableId::of(&self.line.line_ref)
    }

    /// Number of bios that the target wants for each flush.
    pub fn set_num_flush_bios(&mut self, bios: u32) {
        self.ti_mut().num_flush_bios = bios;
    }

    switches! {
        /// Whether the target takes discards.
        set_discards, num_discard_bios;
        /// Whether the target takes writes of zeroes.
        set_write_zeroes, num_write_zeroes_bios;
    }

    /// Whether the target wants flushes whatever its devices support. With flush bios, the mapped
    /// device then always has a write cache, and takes FUA.
    pub fn set_flush_supported(&mut self, on: bool) {
        self.ti_mut().set_flush_supported(on);
    }

    /// Whether the target takes discards whatever its devices support.
    pub fn set_discards_supported(&mut self, on: bool) {
        self.ti_mut().set_discards_supported(on);
    }

    /// Whether the number of swap bios in flight is to be limited, so that they leave memory for
    /// the target's own work.
    pub fn set_limit_swap_bios(&mut self, on: bool) {
        self.ti_mut().set_limit_swap_bios(on);
    }

    /// Sets what this layer depends on.
    pub(super) fn finish(&mut self, per_bio_bytes: usize) -> Result {
        let ti = self.ti_mut();
        ti.per_io_data_size = u32::try_from(per_bio_bytes)?;
        ti.set_accounts_remapped_io(true);
        Ok(())
    }
}
