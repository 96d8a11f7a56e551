// SPDX-License-Identifier: GPL-2.0

//! The C callbacks of a [`Target`].

use core::{marker::PhantomData, mem::needs_drop, ptr::NonNull};
use kernel::{
    error::from_result,
    prelude::*,
    sync::{rcu, Arc, ArcBorrow},
};

use super::{
    args::Args,
    bindings,
    bio::{EndBio, MapBio},
    limits::{DeviceVisitor, Limits},
    raw_bio::{Header, RawBio},
    setup::{Line, Setup},
    status::Status,
    target::{StatusKind, Target},
    text::TextBuf,
};

/// Carries the callbacks for `T`.
pub(super) struct Callbacks<T>(PhantomData<T>);

/// A target, and all that device-mapper's `private` pointer stands for.
struct Private<T: Target> {
    target: Arc<T>,
    line: Line,
}

/// The target that `ctr` put into `ti->private`.
///
/// # Safety
///
/// `ti` is the argument of a running callback of `T`, for a line whose `ctr` succeeded and whose
/// `dtr` has not given the target up; `'a` does not outlast the callback.
unsafe fn borrow<'a, T: Target>(ti: *mut bindings::dm_target) -> ArcBorrow<'a, T> {
    // SAFETY: by the safety requirements `private` is the `Private<T>` that `ctr` made.
    unsafe { &*(*ti).private.cast::<Private<T>>() }
        .target
        .as_arc_borrow()
}

/// Defines callbacks that only pass their call on.
macro_rules! forward {
    ($(extern "C" fn $name:ident;)*) => {
        $(
            /// # Safety
            ///
            /// To be called by device-mapper, for a line whose `ctr` succeeded.
            unsafe extern "C" fn $name(ti: *mut bindings::dm_target) {
                // SAFETY: device-mapper calls this between `ctr` and `dtr`.
                T::$name(unsafe { borrow::<T>(ti) })
            }
        )*
    };
}

impl<T: Target> Callbacks<T> {
    /// # Safety
    ///
    /// To be called by device-mapper, with a valid line and its words.
    unsafe extern "C" fn ctr(
        ti: *mut bindings::dm_target,
        argc: c_uint,
        argv: *mut *mut c_char,
    ) -> c_int {
        from_result(|| {
            let line = NonNull::new(ti).ok_or(EINVAL)?;
            // What fails without a reason of its own has found no memory.
            // SAFETY: `ctr` of this line is running, and device-mapper leaves the line to it.
            unsafe { (*ti).error = c"Out of memory".as_char_ptr().cast_mut() };
            // SAFETY: `ctr` of this line is running; the line of this setup is closed below if it
            // fails, else in `dtr`.
            let mut setup = unsafe { Setup::new(line) }?;
            // SAFETY: device-mapper owns the words until `ctr` returns, and does not change them.
            let args = unsafe { Args::from_raw(argc, argv) };

            let result = setup.finish(Header::<T::Io>::SIZE).and_then(|()| {
                let slot = KBox::<Private<T>>::new_uninit(GFP_KERNEL)?;
                Ok((slot, T::new(&mut setup, args)?))
            });
            let line = setup.into_line();
            let (slot, target) = match result {
                Ok(made) => made,
                Err(error) => {
                    // SAFETY: this `ctr` fails.
                    unsafe { line.close() };
                    return Err(error);
                }
            };
            let private = KBox::write(slot, Private { target, line });
            // SAFETY: `ctr` is running, the line is ours.
            unsafe { (*ti).private = KBox::into_raw(private).cast() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called by device-mapper, once for a line whose `ctr` succeeded.
    unsafe extern "C" fn dtr(ti: *mut bindings::dm_target) {
        if T::HAS_DTR {
            // SAFETY: `dtr` has not given the target up yet.
            T::dtr(unsafe { borrow::<T>(ti) });
        }
        // SAFETY: `ctr` put the box there, and device-mapper calls no callback of this line after
        // `dtr`, nor another one meanwhile.
        let private = unsafe { KBox::<Private<T>>::from_raw((*ti).private.cast()) };
        let Private { target, line } = KBox::into_inner(private);
        drop(target);
        // SAFETY: this is `dtr`.
        unsafe { line.close() };
    }

    /// # Safety
    ///
    /// To be called by device-mapper, with a bio that it made for this line.
    unsafe extern "C" fn map(ti: *mut bindings::dm_target, bio: *mut bindings::bio) -> c_int {
        // The target may give the bio away in here, and it may end at once. Device-mapper still waits
        // for this call before `dtr`: it runs in an SRCU section of `dm_submit_bio`.
        // SAFETY: device-mapper passes a line and a bio, never null.
        let (line, bio) = unsafe { (NonNull::new_unchecked(ti), NonNull::new_unchecked(bio)) };
        // SAFETY: these are the arguments of `map`, and this is the only call.
        let raw = unsafe { RawBio::<T::Io>::begin(line, bio) };
        // SAFETY: a line with I/O is between `ctr` and `dtr`, and `dtr` waits for that section.
        T::map(unsafe { borrow::<T>(ti) }, MapBio::new(raw)).code()
    }

    /// # Safety
    ///
    /// To be called by device-mapper, with a bio of this line that came to its end.
    unsafe extern "C" fn end_io(
        ti: *mut bindings::dm_target,
        bio: *mut bindings::bio,
        error: *mut bindings::blk_status_t,
    ) -> c_int {
        // Until the end: nobody waits for this call, and when the target gives the bio away, what keeps
        // the line goes with it.
        let _rcu = rcu::read_lock();
        // SAFETY: device-mapper passes a bio, never null.
        let bio = unsafe { NonNull::new_unchecked(bio) };
        // SAFETY: this is the argument of `end_io`, and this is the only call.
        let raw = unsafe { RawBio::<T::Io>::back(bio) };
        if !T::HAS_END_IO || raw.header().is_answered() {
            raw.give_back();
            return bindings::DM_ENDIO_DONE as c_int;
        }
        // SAFETY: device-mapper passes a valid pointer.
        let status = Status::from_raw(unsafe { *error });
        // SAFETY: a line with I/O is between `ctr` and `dtr`. If the bio ends on another processor
        // before this call does, the line can be taken out of use: by a suspend, which has waited for
        // that bio, or because nobody has the device open, whoever sent it included. Device-mapper then
        // waits for readers of RCU (`dm_sync_table`) before `dtr`, and we are one since before.
        let verdict = T::end_io(unsafe { borrow::<T>(ti) }, EndBio::new(raw), status);
        let Some(status) = verdict.status() else {
            return bindings::DM_ENDIO_INCOMPLETE as c_int;
        };
        // SAFETY: the verdict says that the `EndBio` was consumed by `finish`, which gives up the
        // ownership without passing it on: it is ours again.
        unsafe { RawBio::<T::Io>::back(bio) }.give_back();
        // SAFETY: as above.
        unsafe { *error = status.to_raw() };
        bindings::DM_ENDIO_DONE as c_int
    }

    /// # Safety
    ///
    /// To be called by device-mapper, for a line whose `ctr` succeeded.
    unsafe extern "C" fn presuspend(ti: *mut bindings::dm_target) {
        // SAFETY: device-mapper calls this with a line of a table that a mapped device has in use.
        let noflush = unsafe { bindings::dm_noflush_suspending(ti) } != 0;
        // SAFETY: device-mapper calls this between `ctr` and `dtr`.
        T::presuspend(unsafe { borrow::<T>(ti) }, noflush);
    }

    forward! {
        extern "C" fn presuspend_undo;
        extern "C" fn postsuspend;
        extern "C" fn resume;
    }

    /// # Safety
    ///
    /// To be called by device-mapper, for a line whose `ctr` succeeded.
    unsafe extern "C" fn preresume(ti: *mut bindings::dm_target) -> c_int {
        // SAFETY: device-mapper calls this between `ctr` and `dtr`.
        from_result(|| T::preresume(unsafe { borrow::<T>(ti) }).map(|()| 0))
    }

    /// # Safety
    ///
    /// To be called by device-mapper, for a line whose `ctr` succeeded, with a buffer of `maxlen`
    /// bytes.
    unsafe extern "C" fn status(
        ti: *mut bindings::dm_target,
        kind: bindings::status_type_t,
        _flags: c_uint,
        result: *mut c_char,
        maxlen: c_uint,
    ) {
        let kind = match kind {
            bindings::status_type_t::STATUSTYPE_INFO => StatusKind::Info,
            bindings::status_type_t::STATUSTYPE_TABLE => StatusKind::Table,
            bindings::status_type_t::STATUSTYPE_IMA => StatusKind::Ima,
        };
        // SAFETY: device-mapper lends us the buffer until we return.
        if let Some(mut text) = unsafe { TextBuf::from_raw(result, maxlen) } {
            // SAFETY: device-mapper calls this between `ctr` and `dtr`.
            T::status(unsafe { borrow::<T>(ti) }, kind, &mut text);
        }
    }

    /// # Safety
    ///
    /// To be called by device-mapper, for a line whose `ctr` succeeded, with the words of a message
    /// and a buffer of `maxlen` bytes.
    unsafe extern "C" fn message(
        ti: *mut bindings::dm_target,
        argc: c_uint,
        argv: *mut *mut c_char,
        result: *mut c_char,
        maxlen: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: device-mapper owns the words until we return, and does not change them.
            let words = unsafe { Args::from_raw(argc, argv) };
            // SAFETY: device-mapper lends us the buffer until we return.
            let mut reply = unsafe { TextBuf::from_raw(result, maxlen) }.ok_or(EINVAL)?;
            // SAFETY: device-mapper calls this between `ctr` and `dtr`.
            T::message(unsafe { borrow::<T>(ti) }, words, &mut reply)?;
            Ok(c_int::from(!reply.is_empty()))
        })
    }

    /// # Safety
    ///
    /// To be called by device-mapper, for a line whose `ctr` succeeded.
    unsafe extern "C" fn iterate_devices(
        ti: *mut bindings::dm_target,
        visit: bindings::iterate_devices_callout_fn,
        data: *mut c_void,
    ) -> c_int {
        from_result(|| {
            let line = NonNull::new(ti).ok_or(EINVAL)?;
            // SAFETY: these are the arguments of this callback.
            let mut visitor = unsafe { DeviceVisitor::new(line, visit, data) };
            // SAFETY: device-mapper calls this between `ctr` and `dtr`.
            T::iterate_devices(unsafe { borrow::<T>(ti) }, &mut visitor);
            Ok(visitor.result())
        })
    }

    /// # Safety
    ///
    /// To be called by device-mapper, for a line whose `ctr` succeeded, with limits that are this
    /// call's alone.
    unsafe extern "C" fn io_hints(
        ti: *mut bindings::dm_target,
        limits: *mut bindings::queue_limits,
    ) {
        // SAFETY: device-mapper lends us the limits until we return.
        let limits = unsafe { Limits::from_raw(limits) };
        // SAFETY: device-mapper calls this between `ctr` and `dtr`.
        T::io_hints(unsafe { borrow::<T>(ti) }, limits);
    }

    /// The description of the target for device-mapper.
    pub(super) fn target_type(module: &'static ThisModule) -> bindings::target_type {
        bindings::target_type {
            features: T::FEATURES.bits(),
            name: T::NAME.as_char_ptr(),
            module: module.as_ptr(),
            version: T::VERSION,
            ctr: Some(Self::ctr),
            dtr: Some(Self::dtr),
            map: Some(Self::map),
            end_io: (T::HAS_END_IO || needs_drop::<T::Io>()).then_some(Self::end_io),
            presuspend: T::HAS_PRESUSPEND.then_some(Self::presuspend),
            presuspend_undo: T::HAS_PRESUSPEND_UNDO.then_some(Self::presuspend_undo),
            postsuspend: T::HAS_POSTSUSPEND.then_some(Self::postsuspend),
            preresume: T::HAS_PRERESUME.then_some(Self::preresume),
            resume: T::HAS_RESUME.then_some(Self::resume),
            status: T::HAS_STATUS.then_some(Self::status),
            message: T::HAS_MESSAGE.then_some(Self::message),
            iterate_devices: T::HAS_ITERATE_DEVICES.then_some(Self::iterate_devices),
            io_hints: T::HAS_IO_HINTS.then_some(Self::io_hints),
            ..Default::default()
        }
    }
}
