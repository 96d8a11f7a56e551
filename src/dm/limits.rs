// SPDX-License-Identifier: GPL-2.0

//! Queue limits of the mapped device, and the devices that they come from.

use core::ptr::NonNull;
use kernel::{prelude::*, types::Opaque};

use super::{
    bindings,
    device::{with_dm_dev, BlockDevice, ReadOnlyDevice},
};

/// Limits of a table line, in `io_hints`.
#[repr(transparent)]
pub struct Limits(Opaque<bindings::queue_limits>);

impl Limits {
    /// The limits that device-mapper passes to `io_hints`.
    ///
    /// # Safety
    ///
    /// `limits` is valid and nobody else uses it during `'a`.
    pub(super) unsafe fn from_raw<'a>(limits: *mut bindings::queue_limits) -> &'a mut Self {
        // SAFETY: by the safety requirements; the type is transparent.
        unsafe { &mut *limits.cast() }
    }

    fn get(&self) -> &bindings::queue_limits {
        // SAFETY: `self` borrows initialised limits that nobody else changes.
        unsafe { &*self.0.get() }
    }

    fn get_mut(&mut self) -> &mut bindings::queue_limits {
        // SAFETY: `self` is an exclusive borrow of initialised limits.
        unsafe { &mut *self.0.get() }
    }

    /// Logical block size in bytes.
    pub fn logical_block_size(&self) -> u32 {
        self.get().logical_block_size
    }

    /// Granularity of discards in bytes.
    pub fn set_discard_granularity(&mut self, bytes: u32) {
        self.get_mut().discard_granularity = bytes;
    }

    /// Largest discard in sectors, as the administrator may lower it.
    pub fn set_max_discard_sectors(&mut self, sectors: u32) {
        self.get_mut().max_discard_sectors = sectors;
    }

    /// Largest discard in sectors that the device takes.
    pub fn set_max_hw_discard_sectors(&mut self, sectors: u32) {
        self.get_mut().max_hw_discard_sectors = sectors;
    }

    /// Refuses atomic writes.
    pub fn disable_atomic_writes(&mut self) {
        let limits = self.get_mut();
        limits.atomic_write_hw_max = 0;
        limits.atomic_write_hw_unit_max = 0;
        limits.atomic_write_hw_unit_min = 0;
        limits.atomic_write_hw_boundary = 0;
    }

    /// Limits atomic writes to `bytes`, a power of two: a naturally aligned one then lies within
    /// one naturally aligned block of that size.
    pub fn cap_atomic_writes(&mut self, bytes: u32) {
        let limits = self.get_mut();
        limits.atomic_write_hw_max = limits.atomic_write_hw_max.min(bytes);
        limits.atomic_write_hw_unit_max = limits.atomic_write_hw_unit_max.min(bytes);
        if limits.atomic_write_hw_unit_max < limits.atomic_write_hw_unit_min
            || !bytes.is_power_of_two()
        {
            self.disable_atomic_writes();
        }
    }

    /// Adds what a device asks of each read that is sent to it; what it would merely prefer, and what
    /// concerns only writes, stays as it was. May sleep.
    ///
    /// A read that asks too much in size is no trouble: the device's own queue splits it. It cannot
    /// split within a block, so that what one request may consist of has to fit.
    ///
    /// Where its logical blocks are larger, preferences that are no multiple of them are given up.
    pub fn stack_reads(&mut self, dev: &ReadOnlyDevice) {
        self.stack(reads(&dev.limits()));
    }

    /// Raises the logical block size to `bytes`, a power of two, if it is smaller. Preferences that are
    /// no multiple of it are given up. May sleep.
    pub fn raise_logical_block_size(&mut self, bytes: u32) {
        let mut blocks = undemanding(bytes);
        blocks.features = self.get().features & !bindings::BLK_FEAT_INHERIT_MASK;
        self.stack(blocks);
    }

    fn stack(&mut self, mut other: bindings::queue_limits) {
        let old = *self.get();
        // The result tells of alignments that do not fit together, of which reads know nothing.
        // SAFETY: both are valid, and borrowed exclusively.
        unsafe { bindings::blk_stack_limits(self.0.get(), &mut other, 0) };
        let new = self.get_mut();
        // Taken from every device that is stacked, and `other` has none.
        new.atomic_write_hw_max = old.atomic_write_hw_max;
        new.atomic_write_hw_unit_max = old.atomic_write_hw_unit_max;
        new.atomic_write_hw_unit_min = old.atomic_write_hw_unit_min;
        new.atomic_write_hw_boundary = old.atomic_write_hw_boundary;
    }
}

/// Limits that ask for nothing but logical blocks of `bytes`.
fn undemanding(bytes: u32) -> bindings::queue_limits {
    let mut limits = bindings::queue_limits::default();
    // SAFETY: it is valid, and borrowed exclusively.
    unsafe { bindings::blk_set_stacking_limits(&mut limits) };
    limits.logical_block_size = bytes;
    // Neither can be smaller.
    limits.physical_block_size = bytes;
    limits.io_min = bytes;
    limits
}

/// Of a device's limits only those that its reads have to keep.
fn reads(device: &bindings::queue_limits) -> bindings::queue_limits {
    let mut reads = undemanding(device.logical_block_size);
    reads.dma_alignment = device.dma_alignment;
    reads.max_segments = device.max_segments;
    reads.max_segment_size = device.max_segment_size;
    reads.seg_boundary_mask = device.seg_boundary_mask;
    reads.virt_boundary_mask = device.virt_boundary_mask;
    // Those that all devices must have (not to wait, to poll, memory of other devices); others are
    // inherited when one device has them.
    reads.features = device.features & !bindings::BLK_FEAT_INHERIT_MASK;
    reads
}

/// Shows device-mapper the devices of a table line, in `iterate_devices`.
///
/// # Invariants
///
/// `ti`, `visit` and `data` are the arguments of a running `iterate_devices` callback.
pub struct DeviceVisitor<'a> {
    ti: NonNull<bindings::dm_target>,
    visit: bindings::iterate_devices_callout_fn,
    data: *mut c_void,
    result: c_int,
    _lifetime: core::marker::PhantomData<&'a ()>,
}

impl DeviceVisitor<'_> {
    /// A visitor for one `iterate_devices` callback.
    ///
    /// # Safety
    ///
    /// The arguments are those of an `iterate_devices` callback that runs as long as the result.
    pub(super) unsafe fn new(
        ti: NonNull<bindings::dm_target>,
        visit: bindings::iterate_devices_callout_fn,
        data: *mut c_void,
    ) -> Self {
        // INVARIANT: by the safety requirements.
        Self {
            ti,
            visit,
            data,
            result: 0,
            _lifetime: core::marker::PhantomData,
        }
    }

    /// Visits `len` sectors of a device from sector `start` on, unless the walk was stopped.
    ///
    /// A device of another table line is passed over.
    pub fn visit(&mut self, dev: &impl BlockDevice, start: u64, len: u64) {
        if self.result != 0 || !dev.handle().belongs_to(self.ti) {
            return;
        }
        let call = |found| {
            // SAFETY: the function and its arguments belong together, by the type invariants.
            unsafe { (self.visit)(self.ti.as_ptr(), found, start, len, self.data) }
        };
        // SAFETY: `ti` is valid and its table has the device open, since it is one of this line's.
        // Device-mapper walks the devices of complete tables only, so that no `ctr` or `dtr` runs.
        let result = unsafe { with_dm_dev(self.ti, dev.dev_t(), call) };
        self.result = result.unwrap_or_else(|e| e.to_errno());
    }

    /// What the walk ended with.
    pub(super) fn result(self) -> c_int {
        self.result
    }
}
