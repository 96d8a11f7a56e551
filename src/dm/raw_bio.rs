// SPDX-License-Identifier: GPL-2.0

//! The bio behind every state in [`super::bio`], and the data that it carries.
//!
//! Device-mapper gives each bio that it maps some bytes of the target's. This layer puts a
//! [`Header`] there. It never moves, since device-mapper allocates it together with the bio.

use core::{marker::PhantomData, mem::ManuallyDrop, ptr::NonNull};
use kernel::prelude::*;

use super::{bindings, op::Op, status::Status};

/// What a target keeps for each bio: see [`Target::Io`](super::target::Target::Io).
pub trait PerBio: Default + Send + 'static {}

impl<T: Default + Send + 'static> PerBio for T {}

/// What this layer and the target keep for each bio.
#[repr(C, align(8))]
pub(super) struct Header<Io: PerBio> {
    ti: NonNull<bindings::dm_target>,
    sector: u64,
    sectors: u32,
    /// The target answered the bio itself (or held its answer back): `end_io` is not to see it.
    answered: bool,
    pub(super) io: Io,
}

impl<Io: PerBio> Header<Io> {
    /// Bytes to ask device-mapper for.
    ///
    /// It places them right before a structure that is aligned to 8 bytes, so that a size that is a
    /// multiple of the alignment makes an aligned header, if 8 is all that it needs.
    pub(super) const SIZE: usize = {
        assert!(align_of::<Self>() == 8);
        assert!(size_of::<Self>() % 8 == 0);
        size_of::<Self>()
    };

    pub(super) fn ti(&self) -> NonNull<bindings::dm_target> {
        self.ti
    }

    pub(super) fn sector(&self) -> u64 {
        self.sector
    }

    pub(super) fn sectors(&self) -> u32 {
        self.sectors
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }
}

/// Sole ownership of a bio that device-mapper mapped through a target whose [`Target::Io`](super::target::Target::Io) is `Io`.
///
/// # Invariants
///
/// - `bio` is a bio that device-mapper allocated for a `map` call of such a target's callbacks, and that has
///   not been completed. Device-mapper keeps it, its table line and the target until then, and, for
///   the callback that it was given to, until that returns (see [`Callbacks`](super::callbacks)).
/// - `header` is its per-bio data, initialised.
/// - No other `RawBio`, and nobody else, accesses the bio or its header.
pub struct RawBio<Io: PerBio> {
    bio: NonNull<bindings::bio>,
    header: NonNull<Header<Io>>,
    _owns: PhantomData<Io>,
}

// SAFETY: the bio has one owner, who may be any thread; `Io` is `Send` by its bound.
unsafe impl<Io: PerBio> Send for RawBio<Io> {}

impl<Io: PerBio> RawBio<Io> {
    /// Where device-mapper keeps the header of `bio`.
    ///
    /// # Safety
    ///
    /// `bio` is a bio that device-mapper mapped through a target whose [`Target::Io`](super::target::Target::Io) is `Io`.
    unsafe fn locate(bio: NonNull<bindings::bio>) -> NonNull<Header<Io>> {
        // SAFETY: by the safety requirements this is a bio with `Header::<Io>::SIZE` bytes of
        // per-bio data, which is not at address 0.
        unsafe {
            NonNull::new_unchecked(bindings::dm_per_bio_data(bio.as_ptr(), Header::<Io>::SIZE))
        }
        .cast()
    }

    /// Takes over the bio of a `map` call, and builds its header.
    ///
    /// # Safety
    ///
    /// `ti` and `bio` are the arguments of a running `map` callback of `T`, and this is the only
    /// call for it.
    pub(super) unsafe fn begin(
        ti: NonNull<bindings::dm_target>,
        bio: NonNull<bindings::bio>,
    ) -> Self {
        // SAFETY: `map` was given this bio.
        let header = unsafe { Self::locate(bio) };
        // SAFETY: device-mapper hands the bio over to `map`, so that it may be read.
        let iter = unsafe { (*bio.as_ptr()).bi_iter };
        // SAFETY: `ti` is valid in `map`; `begin` does not change.
        let start = unsafe { (*ti.as_ptr()).begin };
        let sectors = iter.bi_size >> bindings::SECTOR_SHIFT;
        // SAFETY: the bytes are ours, big enough, and aligned (see `Header::SIZE`). What an earlier
        // bio left there was dropped when that one ended.
        unsafe {
            header.write(Header {
                ti,
                sector: match sectors {
                    0 => 0,
                    _ => iter.bi_sector.wrapping_sub(start),
                },
                sectors,
                answered: false,
                io: Io::default(),
            })
        };
        // INVARIANT: the bio is `map`'s to decide on, and its header was just initialised.
        Self {
            bio,
            header,
            _owns: PhantomData,
        }
    }

    /// Takes over a bio that is back from a device, or that [`Self::end`] completed.
    ///
    /// # Safety
    ///
    /// `bio` is the argument of a running `end_io` callback of `T`, and this is the only call for
    /// it.
    pub(super) unsafe fn back(bio: NonNull<bindings::bio>) -> Self {
        // INVARIANT: device-mapper owned the bio and gives it to `end_io`; `begin` made the header.
        // SAFETY: by the safety requirements.
        unsafe { Self::from_list(bio) }
    }

    /// Undoes [`Self::into_list`].
    ///
    /// # Safety
    ///
    /// The caller owns `bio` as the type invariants say, and gives it up.
    pub(super) unsafe fn from_list(bio: NonNull<bindings::bio>) -> Self {
        // INVARIANT: by the safety requirements.
        Self {
            bio,
            // SAFETY: the bio was mapped through a target whose [`Target::Io`](super::target::Target::Io) is `Io`.
            header: unsafe { Self::locate(bio) },
            _owns: PhantomData,
        }
    }

    /// The bio alone; ownership goes with it.
    pub(super) fn into_list(self) -> NonNull<bindings::bio> {
        self.bio
    }

    pub(super) fn header(&self) -> &Header<Io> {
        // SAFETY: by the type invariants it is initialised, and ours.
        unsafe { self.header.as_ref() }
    }

    pub(super) fn header_mut(&mut self) -> &mut Header<Io> {
        // SAFETY: by the type invariants it is initialised, and ours alone.
        unsafe { self.header.as_mut() }
    }

    fn opf(&self) -> bindings::blk_opf_t {
        // SAFETY: by the type invariants the bio is ours.
        unsafe { (*self.bio.as_ptr()).bi_opf }
    }

    pub(super) fn has_flag(&self, flag: bindings::blk_opf_t) -> bool {
        self.opf() & flag != 0
    }

    pub(super) fn clear_flag(&self, flag: bindings::blk_opf_t) {
        // SAFETY: by the type invariants the bio is ours.
        unsafe { (*self.bio.as_ptr()).bi_opf &= !flag };
    }

    pub(super) fn op(&self) -> Op {
        match self.opf() & bindings::REQ_OP_MASK {
            bindings::req_op_REQ_OP_READ => Op::Read,
            bindings::req_op_REQ_OP_WRITE if self.header().sectors == 0 => Op::Flush,
            bindings::req_op_REQ_OP_WRITE => Op::Write,
            bindings::req_op_REQ_OP_FLUSH => Op::Flush,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Op::WriteZeroes,
            bindings::req_op_REQ_OP_DISCARD => Op::Discard,
            bindings::req_op_REQ_OP_SECURE_ERASE => Op::SecureErase,
            _ => Op::Other,
        }
    }

    /// Cuts the bio to its first `n_sectors`.
    ///
    /// To be called from `map` only, with fewer sectors than it has but not none, and not for a
    /// flush, an atomic write or a zone operation: device-mapper has a `BUG_ON` for those.
    pub(super) fn accept_partial(&mut self, n_sectors: u32) {
        // SAFETY: the bio is one that `map` has not decided on; the other conditions are the
        // caller's. The targets of this layer cannot be on zoned devices (they do not have the
        // feature flags), and they get each bio in one copy, flushes aside.
        unsafe { bindings::dm_accept_partial_bio(self.bio.as_ptr(), n_sectors) };
        self.header_mut().sectors = n_sectors;
    }

    /// Lets the bio point to `bdev`, from `sector` on if it has sectors.
    pub(super) fn aim(&self, bdev: *mut bindings::block_device, sector: u64) {
        // SAFETY: the bio is ours, and the callers pass an open block device of the same table
        // line, which outlives the bio.
        unsafe { bindings::rust_dm_bio_set_dev(self.bio.as_ptr(), bdev) };
        if self.header().sectors != 0 {
            // SAFETY: the bio is ours.
            unsafe { (*self.bio.as_ptr()).bi_iter.bi_sector = sector };
        }
    }

    /// Ends our ownership: device-mapper goes on with the bio, and brings it to `end_io` later or
    /// takes its status from there.
    pub(super) fn hand_over(self) {}

    /// Ends our ownership of a bio that `map` returns unanswered: `end_io` will not see it.
    pub(super) fn give_back(self) {
        let mut this = ManuallyDrop::new(self);
        this.drop_io();
    }

    /// Drops the target's data; nobody may use it after that.
    pub(super) fn drop_io(&mut self) {
        // SAFETY: the data is initialised by the type invariants. The callers are about to give the
        // bio up to device-mapper for good, so that it is dropped once and not used again.
        unsafe { core::ptr::drop_in_place(&raw mut self.header_mut().io) };
    }

    /// Submits the bio, which was deferred and aimed. May sleep.
    pub(super) fn submit(self) {
        // SAFETY: the bio is ours and is given up; `map` returned `SUBMITTED` for it, or will.
        unsafe { bindings::dm_submit_bio_remap(self.bio.as_ptr(), core::ptr::null_mut()) };
    }

    /// Completes the bio. `end_io` of the target is not called. Any context.
    pub(super) fn end(mut self, status: Status) {
        self.header_mut().answered = true;
        // SAFETY: the bio is ours and is given up. Its completion function is device-mapper's,
        // which may be called again after it was told that the bio is incomplete.
        unsafe {
            (*self.bio.as_ptr()).bi_status = status.to_raw();
            bindings::bio_endio(self.bio.as_ptr());
        }
    }
}
