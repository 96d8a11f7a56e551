// SPDX-License-Identifier: GPL-2.0

//! Device-mapper targets.
//!
//! C header: [`include/linux/device-mapper.h`](srctree/include/linux/device-mapper.h)

use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*,
    sync::{Arc, ArcBorrow},
};

use super::{
    args::Args,
    bindings,
    bio::{EndBio, EndVerdict, MapBio, Verdict},
    limits::{DeviceVisitor, Limits},
    setup::Setup,
    status::Status,
    text::TextBuf,
};

/// What a target can do, as flags of `struct target_type`.
#[derive(Clone, Copy)]
pub struct Features(u32);

impl Features {
    /// Nothing special.
    pub const NONE: Self = Self(0);
    /// `map` does not block.
    pub const NOWAIT: Self = Self(bindings::DM_TARGET_NOWAIT);
    /// Takes atomic writes.
    pub const ATOMIC_WRITES: Self = Self(bindings::DM_TARGET_ATOMIC_WRITES);

    /// Both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0 as u64
    }
}

/// Which status line is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusKind {
    /// The state (`dmsetup status`).
    Info,
    /// The table line (`dmsetup table`).
    Table,
    /// The line for integrity measurement.
    Ima,
}

/// A device-mapper target.
///
/// A value of the type stands for one table line. Hooks that an implementation leaves out are left
/// out of `struct target_type`. Unless said otherwise a hook runs in process context and may sleep.
#[vtable]
pub trait Target: Send + Sync + Sized + 'static {
    /// Name in tables.
    const NAME: &'static CStr;
    /// Version: major, minor, patch level.
    const VERSION: [u32; 3];
    /// What the target can do.
    const FEATURES: Features = Features::NONE;

    /// What the target keeps for each bio: built afresh when the bio comes to `map`, dropped when it
    /// ends. At most 8 bytes of alignment.
    type Io: Default + Send + 'static;

    /// Constructs a target from the words behind its name.
    ///
    /// # Errors
    ///
    /// Any error; [`Setup::set_error`] tells the reason.
    fn new(setup: &mut Setup<'_>, args: Args<'_>) -> Result<Arc<Self>>;

    /// Decides on a bio.
    ///
    /// Runs inside the submission of I/O: to wait for other I/O here is a deadlock. With
    /// [`Features::NOWAIT`] it must not sleep at all. The target lives until it returns, also when
    /// the bio was given away and has ended.
    fn map<'b>(this: ArcBorrow<'_, Self>, bio: MapBio<'b, Self::Io>) -> Verdict<'b>;

    /// A bio is back from the device that it was sent to.
    ///
    /// May run in hard interrupt context, and always in an RCU read section: the target lives until
    /// it returns, also when the bio was given away and has ended.
    fn end_io<'b>(
        _this: ArcBorrow<'_, Self>,
        _bio: EndBio<'b, Self::Io>,
        _status: Status,
    ) -> EndVerdict<'b> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A suspend begins; I/O still flows. `noflush`: whoever asked for it expects no flush, because a
    /// device may not answer.
    fn presuspend(_this: ArcBorrow<'_, Self>, _noflush: bool) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The suspend that began does not take place.
    fn presuspend_undo(_this: ArcBorrow<'_, Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// No bio of device-mapper's is in flight any more.
    fn postsuspend(_this: ArcBorrow<'_, Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A resume begins; I/O is still held.
    ///
    /// # Errors
    ///
    /// Any error stops the resume.
    fn preresume(_this: ArcBorrow<'_, Self>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// I/O is about to flow.
    fn resume(_this: ArcBorrow<'_, Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A message; `words` has at least one word. Text in `reply` is handed back to user space.
    /// Messages may come concurrently.
    ///
    /// # Errors
    ///
    /// Any error is the result of the ioctl.
    fn message(_this: ArcBorrow<'_, Self>, _words: Args<'_>, _reply: &mut TextBuf<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes a status line.
    fn status(_this: ArcBorrow<'_, Self>, _kind: StatusKind, _out: &mut TextBuf<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Shows the devices below: device-mapper takes limits and abilities from them.
    fn iterate_devices(_this: ArcBorrow<'_, Self>, _visitor: &mut DeviceVisitor<'_>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adjusts the limits that were combined from the devices below.
    fn io_hints(_this: ArcBorrow<'_, Self>, _limits: &mut Limits) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The last hook: stop what the target does by itself.
    ///
    /// No bio is in flight, and no other hook runs. After this the layer gives up its reference and
    /// sleeps until every device and event handle of the line is dropped.
    fn dtr(_this: ArcBorrow<'_, Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}
