// SPDX-License-Identifier: GPL-2.0

//! Block devices that a target opened in its constructor.
//!
//! [`Device`] is open for reading and writing, [`ReadOnlyDevice`] can only be read: nothing in this
//! layer takes one as the destination of data. (It may get a flush, which has none.) Both are handles
//! that may be cloned and kept in I/O; the devices themselves are put when the table line is destroyed.

use core::{fmt, ptr::NonNull};
use kernel::{prelude::*, str::NullTerminatedFormatter};

use super::{bindings, dm_err, events::MappedName, line_ref::LineRef};

/// A device number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DevT(bindings::dev_t);

impl DevT {
    /// The major number.
    pub fn major(self) -> u32 {
        // SAFETY: a pure function of its argument.
        unsafe { bindings::rust_dm_major(self.0) }
    }

    /// The minor number.
    pub fn minor(self) -> u32 {
        // SAFETY: a pure function of its argument.
        unsafe { bindings::rust_dm_minor(self.0) }
    }
}

/// `major:minor`, as device-mapper prints devices in its status lines.
impl fmt::Display for DevT {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major(), self.minor())
    }
}

/// What both kinds of devices share.
///
/// # Invariants
///
/// `bdev` is held open by the table of `line_ref`'s line, at least until `line_ref` is dropped.
#[derive(Clone)]
pub struct Handle {
    bdev: NonNull<bindings::block_device>,
    line_ref: LineRef,
}

// SAFETY: the pointer is to a block device that is open for as long as the handle; it may be used
// and given up from any thread.
unsafe impl Send for Handle {}
// SAFETY: as above: all functions used on the block device may be called concurrently.
unsafe impl Sync for Handle {}

impl Handle {
    /// Opens the device at `path` (a path or `major:minor`) for the line of `line_ref`.
    ///
    /// To be called from `ctr` only, and each success is answered by one [`put`] when all leases
    /// are gone.
    pub(super) fn open(
        line_ref: &LineRef,
        path: &CStr,
        mode: bindings::blk_mode_t,
    ) -> Result<Self> {
        let mut dev = core::ptr::null_mut();
        // SAFETY: the lease keeps the line valid; `ctr` is running, so that nobody else changes the
        // table's list of devices; `path` is NUL-terminated and `dev` may be written.
        kernel::error::to_result(unsafe {
            bindings::dm_get_device(line_ref.ti().as_ptr(), path.as_char_ptr(), mode, &mut dev)
        })?;
        // SAFETY: `dm_get_device` succeeded, so `dev` is valid until something else opens the same
        // device in the same table in a wider mode; that cannot happen between these lines.
        let bdev = unsafe { (*dev).bdev };
        let bdev = NonNull::new(bdev).ok_or(ENODEV)?;
        // INVARIANT: the table now counts this use of the device, and uncounts it only in `put`.
        // Opening it in a wider mode replaces the `dm_dev` (so that is not kept here), but opens
        // the new one before it closes the old one: the block device stays open throughout.
        Ok(Self {
            bdev,
            line_ref: line_ref.clone(),
        })
    }

    pub(super) fn dev_t(&self) -> DevT {
        // SAFETY: by the type invariants the block device is open; its number does not change.
        DevT(unsafe { (*self.bdev.as_ptr()).bd_dev })
    }

    /// The block device; open as long as this handle or a clone of it.
    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        self.bdev.as_ptr()
    }

    /// Whether this handle was taken from the table line `ti`.
    pub(super) fn belongs_to(&self, ti: NonNull<bindings::dm_target>) -> bool {
        self.line_ref.ti() == ti
    }
}

/// Runs `f` with the table's own record of an open device.
///
/// The record is looked up each time, since opening the device in a wider mode replaces it.
///
/// # Safety
///
/// `ti` is a valid table line whose table has `dev` open for reading, and whose list of devices
/// nobody else changes meanwhile (`ctr` of a line of that table or `dtr` of one).
pub(super) unsafe fn with_dm_dev<R>(
    ti: NonNull<bindings::dm_target>,
    dev: DevT,
    f: impl FnOnce(*mut bindings::dm_dev) -> R,
) -> Result<R> {
    let mut name = [0; 24];
    let mut text = NullTerminatedFormatter::new(&mut name).ok_or(EINVAL)?;
    fmt::write(&mut text, format_args!("{dev}"))?;

    let mut found = core::ptr::null_mut();
    // SAFETY: `ti` is valid by the safety requirements, `name` is NUL-terminated. The device is in
    // the table's list in a mode that includes reading, so this only counts one more use.
    kernel::error::to_result(unsafe {
        bindings::dm_get_device(
            ti.as_ptr(),
            name.as_ptr().cast(),
            bindings::BLK_OPEN_READ,
            &mut found,
        )
    })?;
    let result = f(found);
    // SAFETY: takes back the use counted above; the table's own use remains, or else `f` took it.
    unsafe { bindings::dm_put_device(ti.as_ptr(), found) };
    Ok(result)
}

/// Takes back one [`Handle::open`].
///
/// # Safety
///
/// As for [`with_dm_dev`]; the caller runs in the failing `ctr` or the `dtr` of `ti`, no handle of
/// the device from this line is left, and this is the only call for that open.
pub(super) unsafe fn put(ti: NonNull<bindings::dm_target>, dev: DevT) {
    let give_back = |found| {
        // SAFETY: by the safety requirements the line still has a use of the device to give back;
        // the one more that `with_dm_dev` holds keeps `found` valid for that.
        unsafe { bindings::dm_put_device(ti.as_ptr(), found) }
    };
    // SAFETY: by the safety requirements.
    let result = unsafe { with_dm_dev(ti, dev, give_back) };
    if result.is_err() {
        // SAFETY: by the safety requirements `ti` is valid, and so is its table.
        let name = unsafe { MappedName::of_table((*ti.as_ptr()).table) };
        dm_err!(name, "device {dev} is lost");
    }
}

mod sealed {
    /// Gives this layer, and nobody else, the raw device.
    pub trait Sealed {
        #[doc(hidden)]
        fn handle(&self) -> &super::Handle;
    }
}
pub(super) use sealed::Sealed;

/// Questions that both kinds of devices answer.
pub trait BlockDevice: Sealed {
    /// Size in sectors.
    fn sectors(&self) -> u64 {
        // SAFETY: by `Handle`'s invariants the block device is open. The size may change at any
        // time, as with the C helper: it is one aligned word.
        unsafe { core::ptr::read_volatile(&raw const (*raw(self)).bd_nr_sectors) }
    }

    /// Device number.
    fn dev_t(&self) -> DevT {
        self.handle().dev_t()
    }

    /// Logical block size in bytes.
    fn logical_block_size(&self) -> u32 {
        // SAFETY: by `Handle`'s invariants the block device is open.
        unsafe { bindings::rust_dm_bdev_logical_block_size(raw(self)) }
    }

    /// Whether the device is zoned.
    fn is_zoned(&self) -> bool {
        // SAFETY: by `Handle`'s invariants the block device is open.
        unsafe { bindings::rust_dm_bdev_is_zoned(raw(self)) }
    }

    /// Whether the device refuses writes.
    fn is_read_only(&self) -> bool {
        // SAFETY: by `Handle`'s invariants the block device is open.
        unsafe { bindings::rust_dm_bdev_read_only(raw(self)) }
    }

    /// Writes the dirty pages of the device's page cache, which others have left there, and waits.
    /// Sleeps, also for I/O on the device.
    ///
    /// # Errors
    ///
    /// `EIO` or `ENOSPC`: some could not be written, now or since the last time that somebody asked.
    fn write_pages(&self) -> Result {
        // SAFETY: by `Handle`'s invariants the block device is open.
        kernel::error::to_result(unsafe { bindings::sync_blockdev(raw(self)) })
    }

    /// Drops the clean pages of the device's page cache that nobody uses. Sleeps, but for no I/O.
    fn drop_pages(&self) {
        // SAFETY: by `Handle`'s invariants the block device is open.
        unsafe { bindings::invalidate_bdev(raw(self)) };
    }

    /// Whether the device has a volatile write cache.
    fn has_write_cache(&self) -> bool {
        // SAFETY: by `Handle`'s invariants the block device is open.
        unsafe { bindings::rust_dm_bdev_write_cache(raw(self)) }
    }

    /// Largest discard in sectors; 0: discards are not supported.
    fn max_discard_sectors(&self) -> u32 {
        // SAFETY: by `Handle`'s invariants the block device is open.
        unsafe { bindings::rust_dm_bdev_max_discard_sectors(raw(self)) }
    }
}

/// What is known of where two devices lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// On one disk: they are parts of it.
    One,
    /// On two.
    Two,
    /// Nothing: one of them is made of other devices.
    Unknown,
}

impl Disks {
    /// Of these two.
    pub fn of(a: &impl BlockDevice, b: &impl BlockDevice) -> Self {
        // SAFETY: by `Handle`'s invariants the block devices are open, and so their disks and queues
        // are there.
        let (same, stacked) = unsafe {
            (
                bindings::rust_dm_same_disk(raw(a), raw(b)),
                bindings::rust_dm_is_stacked(raw(a)) || bindings::rust_dm_is_stacked(raw(b)),
            )
        };
        match (same, stacked) {
            (true, _) => Self::One,
            (false, true) => Self::Unknown,
            (false, false) => Self::Two,
        }
    }
}

pub(super) fn raw<D: Sealed + ?Sized>(dev: &D) -> *mut bindings::block_device {
    dev.handle().bdev()
}

/// A device opened for reading and writing.
#[derive(Clone)]
pub struct Device(Handle);

/// A device opened for reading; there is no way to write to it through this type.
#[derive(Clone)]
pub struct ReadOnlyDevice(Handle);

impl Device {
    /// Wraps a handle that was opened for writing.
    pub(super) fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// The block device; open as long as this handle or a clone of it.
    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        raw(self)
    }
}

impl ReadOnlyDevice {
    /// Wraps a handle that was opened for reading.
    pub(super) fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// The block device; open as long as this handle or a clone of it. To be read only.
    pub(super) fn bdev(&self) -> *mut bindings::block_device {
        raw(self)
    }

    /// The limits of its queue. May sleep.
    pub(super) fn limits(&self) -> bindings::queue_limits {
        let mut limits = bindings::queue_limits::default();
        // SAFETY: by `Handle`'s invariants the block device is open; the limits are ours to write.
        unsafe { bindings::rust_dm_bdev_limits(self.bdev(), &mut limits) };
        limits
    }
}

impl Sealed for Device {
    fn handle(&self) -> &Handle {
        &self.0
    }
}
impl BlockDevice for Device {}

impl Sealed for ReadOnlyDevice {
    fn handle(&self) -> &Handle {
        &self.0
    }
}
impl BlockDevice for ReadOnlyDevice {}
