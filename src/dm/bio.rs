// SPDX-License-Identifier: GPL-2.0

//! Bios of a target, each completed exactly once by construction.
//!
//! A bio belongs to one owner at a time, and the type says in which state it is:
//!
//! - [`MapBio`] in `map`: only consuming it makes the [`Verdict`] that `map` has to return;
//! - [`Bio`]: deferred, the target's own until it is submitted or completed;
//! - [`EndBio`] in `end_io`: only consuming it makes the [`EndVerdict`];
//! - [`DoneBio`]: its I/O is done, the answer is held back.
//!
//! A `Bio` or `DoneBio` that is dropped ends with an I/O error. `end_io` hears of a bio that went to
//! a device; one that the target answered itself does not come back.
//!
//! The lifetime `'b` of `MapBio`, `EndBio` and their verdicts is a brand: it belongs to one call,
//! so that a verdict cannot be kept for, or taken from, another bio.

use core::{marker::PhantomData, mem::ManuallyDrop};
use kernel::prelude::*;

use super::{
    bindings,
    device::{Device, ReadOnlyDevice, Sealed as _},
    op::Op,
    raw_bio::{PerBio, RawBio},
    status::Status,
};

/// Makes an invariant lifetime: neither a longer nor a shorter one can stand in for it.
type Brand<'b> = PhantomData<fn(&'b ()) -> &'b ()>;

/// What `map` decided about its bio.
///
/// # Invariants
///
/// Made by consuming the only `MapBio<'b, _>`; `code` tells what became of that bio.
#[must_use]
pub struct Verdict<'b> {
    code: c_uint,
    _brand: Brand<'b>,
}

impl Verdict<'_> {
    fn new(code: c_uint) -> Self {
        Self {
            code,
            _brand: PhantomData,
        }
    }

    /// The return value of the C callback.
    pub(super) fn code(self) -> c_int {
        self.code as c_int
    }
}

/// What `end_io` decided about its bio.
///
/// # Invariants
///
/// Made by consuming the only `EndBio<'b, _>`; `None`: a [`DoneBio`] owns the bio now.
#[must_use]
pub struct EndVerdict<'b> {
    status: Option<Status>,
    _brand: Brand<'b>,
}

impl EndVerdict<'_> {
    /// The status to end with, or `None`: the target holds the bio.
    pub(super) fn status(self) -> Option<Status> {
        self.status
    }
}

/// The bio cannot be cut there: see [`MapBio::accept`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CannotSplit;

/// A bio in `map`.
pub struct MapBio<'b, Io: PerBio> {
    raw: RawBio<Io>,
    _brand: Brand<'b>,
}

/// A deferred bio, owned by the target.
pub struct Bio<Io: PerBio>(ManuallyDrop<RawBio<Io>>);

/// A bio in `end_io`.
pub struct EndBio<'b, Io: PerBio> {
    raw: RawBio<Io>,
    _brand: Brand<'b>,
}

/// A bio whose I/O is done, and whose answer the target holds back.
pub struct DoneBio<Io: PerBio>(ManuallyDrop<RawBio<Io>>);

/// What may be asked of a bio that device-mapper has just given.
macro_rules! request {
    () => {
        /// What it asks for.
        pub fn op(&self) -> Op {
            self.raw.op()
        }

        /// First sector, relative to the target's start; the same in every state.
        pub fn sector(&self) -> u64 {
            self.raw.header().sector()
        }

        /// Number of sectors; the same in every state once it is accepted.
        pub fn sectors(&self) -> u32 {
            self.raw.header().sectors()
        }

        /// The target's data for this bio.
        pub fn io_mut(&mut self) -> &mut Io {
            &mut self.raw.header_mut().io
        }
    };
}

/// The target's data for a bio that is its own.
macro_rules! own_data {
    () => {
        /// The target's data for this bio.
        pub fn io(&self) -> &Io {
            &self.0.header().io
        }

        /// The target's data for this bio.
        pub fn io_mut(&mut self) -> &mut Io {
            &mut self.0.header_mut().io
        }
    };
}

impl<'b, Io: PerBio> MapBio<'b, Io> {
    request!();

    /// Whether it may be completed only when its data is durable.
    pub fn is_fua(&self) -> bool {
        self.raw.has_flag(bindings::REQ_FUA)
    }

    /// Whether it must be written as a whole or not at all.
    pub fn is_atomic(&self) -> bool {
        self.raw.has_flag(bindings::REQ_ATOMIC)
    }

    /// Wraps the bio of one call of `map`.
    pub(super) fn new(raw: RawBio<Io>) -> Self {
        Self {
            raw,
            _brand: PhantomData,
        }
    }

    /// Keeps the first `n_sectors` sectors; the rest comes back as a bio of its own.
    ///
    /// Keeping all of it does nothing. The caller cuts at a multiple of the logical block size.
    ///
    /// # Errors
    ///
    /// A flush, an atomic write, no sectors, or more than the bio has: nothing changes.
    pub fn accept(&mut self, n_sectors: u32) -> core::result::Result<(), CannotSplit> {
        let has = self.sectors();
        if n_sectors == has && has != 0 {
            return Ok(());
        }
        let whole = self.op() == Op::Flush || self.op() == Op::Other || self.is_atomic();
        if n_sectors == 0 || n_sectors > has || whole {
            return Err(CannotSplit);
        }
        self.raw.accept_partial(n_sectors);
        Ok(())
    }

    /// Sends it to `dev`, starting at `sector` there (without meaning for a flush).
    ///
    /// A device of another table line is refused: the bio is killed.
    pub fn remap(self, dev: &Device, sector: u64) -> Verdict<'b> {
        if !dev.handle().belongs_to(self.raw.header().ti()) {
            return self.kill();
        }
        self.raw.aim(dev.bdev(), sector);
        self.raw.hand_over();
        Verdict::new(bindings::DM_MAPIO_REMAPPED)
    }

    /// Sends a read to `dev`, starting at `sector` there. Anything but a read is killed.
    pub fn remap_read(self, dev: &ReadOnlyDevice, sector: u64) -> Verdict<'b> {
        if self.op() != Op::Read || !dev.handle().belongs_to(self.raw.header().ti()) {
            return self.kill();
        }
        self.raw.aim(dev.bdev(), sector);
        self.raw.hand_over();
        Verdict::new(bindings::DM_MAPIO_REMAPPED)
    }

    /// Answers it at once.
    pub fn complete(self, status: Status) -> Verdict<'b> {
        self.raw.end(status);
        Verdict::new(bindings::DM_MAPIO_SUBMITTED)
    }

    /// Answers it with an I/O error.
    pub fn kill(self) -> Verdict<'b> {
        self.raw.give_back();
        Verdict::new(bindings::DM_MAPIO_KILL)
    }

    /// Takes it over: it may be submitted or completed at once, also before `map` returns.
    pub fn defer(self) -> (Bio<Io>, Verdict<'b>) {
        // A poller finds nothing to poll while the bio is ours, and who submits it later is not the
        // task that polls: let it complete by interrupt. Nor does the submitter wait for what is done
        // later, so it may block there.
        self.raw.clear_flag(bindings::REQ_POLLED);
        self.raw.clear_flag(bindings::REQ_NOWAIT);
        (
            Bio(ManuallyDrop::new(self.raw)),
            Verdict::new(bindings::DM_MAPIO_SUBMITTED),
        )
    }
}

impl<Io: PerBio> Bio<Io> {
    own_data!();

    fn into_raw(self) -> RawBio<Io> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used, nor dropped, any more.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }

    /// Sends it to `dev`, starting at `sector` there (without meaning for a flush).
    ///
    /// Process context; may sleep. A device of another table line is refused: an I/O error.
    pub fn submit_to(self, dev: &Device, sector: u64) {
        if !dev.handle().belongs_to(self.0.header().ti()) {
            return self.complete(Status::IOERR);
        }
        let raw = self.into_raw();
        raw.aim(dev.bdev(), sector);
        raw.submit();
    }

    /// Answers it. Any context.
    pub fn complete(self, status: Status) {
        self.into_raw().end(status);
    }
}

impl<Io: PerBio> Drop for Bio<Io> {
    fn drop(&mut self) {
        // SAFETY: `self` is being dropped, nobody uses the field after this.
        unsafe { ManuallyDrop::take(&mut self.0) }.end(Status::IOERR);
    }
}

impl<'b, Io: PerBio> EndBio<'b, Io> {
    request!();

    /// Wraps the bio of one call of `end_io`.
    pub(super) fn new(raw: RawBio<Io>) -> Self {
        Self {
            raw,
            _brand: PhantomData,
        }
    }

    /// Ends it with `status`.
    pub fn finish(self, status: Status) -> EndVerdict<'b> {
        self.raw.hand_over();
        EndVerdict {
            status: Some(status),
            _brand: PhantomData,
        }
    }

    /// Holds the answer back: the bio may be completed at once, also before `end_io` returns. The target
    /// lives until then none the less.
    pub fn hold(self) -> (DoneBio<Io>, EndVerdict<'b>) {
        let verdict = EndVerdict {
            status: None,
            _brand: PhantomData,
        };
        (DoneBio(ManuallyDrop::new(self.raw)), verdict)
    }
}

impl<Io: PerBio> DoneBio<Io> {
    own_data!();

    fn into_raw(self) -> RawBio<Io> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used, nor dropped, any more.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }

    /// Answers it. Any context.
    pub fn complete(self, status: Status) {
        self.into_raw().end(status);
    }
}

impl<Io: PerBio> Drop for DoneBio<Io> {
    fn drop(&mut self) {
        // SAFETY: `self` is being dropped, nobody uses the field after this.
        unsafe { ManuallyDrop::take(&mut self.0) }.end(Status::IOERR);
    }
}

pub(super) mod sealed {
    use super::{PerBio, RawBio};

    /// Bios that may be put on a list.
    pub trait Listed: Sized {
        #[doc(hidden)]
        type Io: PerBio;

        #[doc(hidden)]
        fn into_bio(self) -> RawBio<Self::Io>;

        /// Undoes `into_bio`: the state of the bio is the same again.
        #[doc(hidden)]
        fn from_bio(raw: RawBio<Self::Io>) -> Self;
    }
}

impl<Io: PerBio> sealed::Listed for Bio<Io> {
    type Io = Io;

    fn into_bio(self) -> RawBio<Io> {
        self.into_raw()
    }

    fn from_bio(raw: RawBio<Io>) -> Self {
        Self(ManuallyDrop::new(raw))
    }
}

impl<Io: PerBio> sealed::Listed for DoneBio<Io> {
    type Io = Io;

    fn into_bio(self) -> RawBio<Io> {
        self.into_raw()
    }

    fn from_bio(raw: RawBio<Io>) -> Self {
        Self(ManuallyDrop::new(raw))
    }
}
