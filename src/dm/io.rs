// SPDX-License-Identifier: GPL-2.0

//! dm-io: reads, writes and flushes of a target's own, for its metadata.
//!
//! Every call is one bio: a [`BlockBuf`] is never larger than a bio can be. Memory comes from
//! mempools of the client, so calls never fail for want of memory and make progress without any;
//! but they may sleep for it: process context only, never from `map` or under a spin lock. Devices
//! are checked by the block layer: what lies beyond their end fails with `EIO`.
//!
//! [`IoClient`] waits for each request. [`AsyncIo`] does not: it has a fixed number of slots, and
//! each request in flight keeps in its slot everything that must live as long: the buffer, a handle
//! of the device and a [`Ref`] to the state that is told.

use core::ptr::{self, NonNull};
use kernel::ffi::{c_ulong, c_void};

use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;
use kernel::sync::rcu;

use super::bindings;
use super::buffer::{BlockBuf, Span};
use super::device::{self, BlockDevice, Device};
use super::linger::{linger, Place};
use super::shared::Ref;
use super::slots::{Claim, Slots};

/// What must be on stable storage when a write is reported done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: the data may be in the device's write cache.
    None,
    /// This write.
    Fua,
}

const fn flag(bit: bindings::req_flag_bits) -> bindings::blk_opf_t {
    1 << bit
}

const WRITE: bindings::blk_opf_t = bindings::req_op_REQ_OP_WRITE;
/// Somebody waits for the result: not to be held back as write-back is.
const SYNC: bindings::blk_opf_t = flag(bindings::req_flag_bits___REQ_SYNC);
const FUA: bindings::blk_opf_t = flag(bindings::req_flag_bits___REQ_FUA);
const PREFLUSH: bindings::blk_opf_t = flag(bindings::req_flag_bits___REQ_PREFLUSH);

impl Durability {
    /// The operation and flags of a write.
    const fn write_flags(self) -> bindings::blk_opf_t {
        WRITE
            | SYNC
            | match self {
                Self::None => 0,
                Self::Fua => FUA,
            }
    }
}

/// A client of dm-io, with memory pools of its own. Calls wait for their I/O.
///
/// # Invariants
///
/// `client` is a valid dm-io client, which only `drop` destroys.
pub struct IoClient {
    client: NonNull<bindings::dm_io_client>,
}

// SAFETY: A dm-io client belongs to no thread.
unsafe impl Send for IoClient {}
// SAFETY: dm-io allows concurrent requests of one client; its pools have locks of their own.
unsafe impl Sync for IoClient {}

impl IoClient {
    /// Creates a client. Sleeps. Errors: `ENOMEM`.
    pub fn new() -> Result<Self> {
        // SAFETY: No requirements but process context.
        let client = from_err_ptr(unsafe { bindings::dm_io_client_create() })?;
        // INVARIANT: Just created, and ours.
        Ok(Self {
            client: NonNull::new(client).ok_or(ENOMEM)?,
        })
    }

    /// Reads from sector `sector` of `dev` into the part `span` of `buf`. Sleeps.
    ///
    /// Errors: `EINVAL` if `buf` has no such part, `EIO` or `EOPNOTSUPP` as the device answers (the
    /// content of the part is then undefined).
    pub fn read(
        &self,
        dev: &impl BlockDevice,
        sector: u64,
        buf: &mut BlockBuf,
        span: Span,
    ) -> Result {
        if !span.fits(buf) {
            return Err(EINVAL);
        }
        let memory = buf.memory_mut(span.first);
        // SAFETY: The span fits, so the memory is valid for writes of its sectors, until the call
        // has waited; the device is open while it is borrowed.
        unsafe {
            self.submit(
                bindings::req_op_REQ_OP_READ,
                device::raw(dev),
                sector,
                span.sectors,
                memory,
                WAIT,
            )
        }
    }

    /// Writes the part `span` of `buf` to sector `sector` of `dev`. Sleeps.
    ///
    /// Errors: `EINVAL` if `buf` has no such part, `EIO` or `EOPNOTSUPP` as the device answers (any
    /// part of it may then have been written).
    pub fn write(
        &self,
        dev: &Device,
        sector: u64,
        buf: &BlockBuf,
        span: Span,
        durability: Durability,
    ) -> Result {
        if !span.fits(buf) {
            return Err(EINVAL);
        }
        let memory = buf.memory(span.first);
        // SAFETY: The span fits, so the memory is valid for reads of its sectors, until the call
        // has waited, and cannot change while `buf` is borrowed; the device is open while it is
        // borrowed.
        unsafe {
            self.submit(
                durability.write_flags(),
                dev.bdev(),
                sector,
                span.sectors,
                memory,
                WAIT,
            )
        }
    }

    /// Makes every write to `dev` that has completed before this call durable. Sleeps.
    ///
    /// A flush has no data and changes no content, so a device that was opened for reading may get
    /// one, for writes of others; also one that refuses writes.
    ///
    /// Errors: `EIO`: which of them are durable is unknown.
    pub fn flush(&self, dev: &impl BlockDevice) -> Result {
        let (flags, bdev) = (WRITE | SYNC | PREFLUSH, device::raw(dev));
        // SAFETY: No sectors, so the memory is not looked at; the device is open while borrowed.
        unsafe { self.submit(flags, bdev, 0, 0, NO_MEMORY, WAIT) }
    }

    /// Hands one request to dm-io, and waits for it if `notify` has no function.
    ///
    /// # Safety
    ///
    /// Until the request has completed: `bdev` must be an open device; `memory` must be valid for
    /// `sectors` sectors (for writes by the device if the operation is a read, for reads without
    /// concurrent changes otherwise). `notify` must be sound to call with its context, once, in any
    /// context.
    unsafe fn submit(
        &self,
        opf: bindings::blk_opf_t,
        bdev: *mut bindings::block_device,
        sector: u64,
        sectors: u32,
        memory: bindings::dm_io_memory,
        notify: bindings::dm_io_notify,
    ) -> Result {
        let mut request = bindings::dm_io_request {
            bi_opf: opf,
            mem: memory,
            notify,
            client: self.client.as_ptr(),
        };
        let mut region = bindings::dm_io_region {
            bdev,
            sector,
            count: sectors.into(),
        };
        // SAFETY: dm-io copies both structures before it returns, the two null pointers are
        // optional, and the client is valid by the type invariant; the rest is promised by the
        // caller.
        to_result(unsafe {
            bindings::dm_io(
                &mut request,
                1,
                &mut region,
                ptr::null_mut(),
                ptr::null_mut(),
                0, // IOPRIO_DEFAULT
            )
        })
    }
}

/// No function to call: the request is waited for.
const WAIT: bindings::dm_io_notify = bindings::dm_io_notify {
    fn_: None,
    context: ptr::null_mut(),
};

/// For requests that carry no data.
const NO_MEMORY: bindings::dm_io_memory = bindings::dm_io_memory {
    type_: bindings::dm_io_mem_type_DM_IO_KMEM,
    offset: 0,
    ptr: bindings::dm_io_memory__bindgen_ty_1 {
        addr: ptr::null_mut(),
    },
};

impl Drop for IoClient {
    fn drop(&mut self) {
        // SAFETY: Valid by the type invariant and not used again. Nothing is in flight: calls of
        // this type have waited, and `AsyncIo` waits before it drops its client.
        unsafe { bindings::dm_io_client_destroy(self.client.as_ptr()) };
    }
}

/// State that is told when asynchronous I/O is done.
pub trait IoDone: Send + Sync + Sized + 'static {
    /// The request submitted with `cookie` is done; `buf` is the buffer of a write.
    ///
    /// Runs where the device completes: in a hard interrupt, a softirq, a worker, or inside the very
    /// call that submitted it. So: no sleeping, only locks that disable interrupts and that no caller
    /// of [`AsyncIo`] holds; keep the buffer for later rather than drop it. `result`: as for [`IoClient`].
    fn io_done(this: &Ref<Self>, cookie: u64, result: Result, buf: Option<BlockBuf>);
}

/// A request that was not submitted: every slot is in use, or the buffer has no such part.
pub struct Refused {
    /// The buffer, as it was given.
    pub buf: BlockBuf,
}

/// What a request in flight keeps alive.
struct Request<T: IoDone> {
    this: Ref<T>,
    cookie: u64,
    buf: Option<BlockBuf>,
    /// Open until the request is done.
    _dev: Device,
}

/// A client of dm-io for requests that are not waited for.
///
/// Dropping it sleeps until none is in flight.
pub struct AsyncIo<T: IoDone> {
    client: IoClient,
    slots: Pin<KBox<Slots<Request<T>>>>,
}

impl<T: IoDone> AsyncIo<T> {
    /// A client for at most `slots` requests at a time, 1 to 64. Sleeps.
    ///
    /// Errors: `EINVAL` for another number, `ENOMEM`.
    pub fn new(slots: usize) -> Result<Self> {
        Ok(Self {
            client: IoClient::new()?,
            slots: Slots::new(slots)?,
        })
    }

    /// Begins to write the part `span` of `buf` to sector `sector` of `dev`. May sleep for memory.
    ///
    /// Hold no lock that [`IoDone::io_done`] takes: it may be called before this returns.
    ///
    /// Errors: see [`Refused`], which gives the buffer back.
    #[allow(clippy::too_many_arguments)] // One each for who, what, where and how.
    pub fn write(
        &self,
        this: Ref<T>,
        cookie: u64,
        dev: &Device,
        sector: u64,
        buf: BlockBuf,
        span: Span,
        durability: Durability,
    ) -> Result<(), Refused> {
        if !span.fits(&buf) {
            return Err(Refused { buf });
        }
        let memory = buf.memory(span.first);
        let opf = durability.write_flags();
        let request = Request {
            this,
            cookie,
            buf: Some(buf),
            _dev: dev.clone(),
        };
        // SAFETY: The span fits, so the memory is valid for reads of its sectors; it belongs to the
        // buffer in the request, which stays where it is and which nobody sees before `done`.
        let refused = unsafe { self.begin(request, opf, dev, sector, span.sectors, memory) };
        match refused {
            Ok(()) => Ok(()),
            Err((_, Some(buf))) => Err(Refused { buf }),
            // Does not happen: the buffer was put there above and only `done` takes it.
            Err((_, None)) => Ok(()),
        }
    }

    /// Begins to make durable every write to `dev` that completed before. May sleep for memory.
    ///
    /// Hold no lock that [`IoDone::io_done`] takes: it may be called before this returns.
    ///
    /// Errors: `EBUSY`: every slot is in use.
    pub fn flush(&self, this: Ref<T>, cookie: u64, dev: &Device) -> Result {
        let request = Request {
            this,
            cookie,
            buf: None,
            _dev: dev.clone(),
        };
        // SAFETY: No sectors, so the memory is not looked at.
        unsafe { self.begin(request, WRITE | SYNC | PREFLUSH, dev, 0, 0, NO_MEMORY) }
            .map_err(|(error, _)| error)
    }

    /// Sleeps until none is in flight. The last `io_done` may still be running. Not from `io_done`.
    pub fn wait_idle(&self) {
        self.slots.wait_idle();
    }

    /// # Safety
    ///
    /// As for [`IoClient::submit`] as to `memory` and `sectors`; that `request` keeps memory alive is
    /// enough. `dev` must be the device of which `request` has a handle.
    unsafe fn begin(
        &self,
        request: Request<T>,
        opf: bindings::blk_opf_t,
        dev: &Device,
        sector: u64,
        sectors: u32,
        memory: bindings::dm_io_memory,
    ) -> Result<(), (Error, Option<BlockBuf>)> {
        let context = match self.slots.claim(request) {
            Ok(context) => context,
            Err(request) => return Err((EBUSY, request.buf)),
        };
        let notify = bindings::dm_io_notify {
            fn_: Some(Self::done),
            context,
        };
        // SAFETY:
        // - memory and device live until `done` has taken the request, by the caller's promise and
        //   because the request has a handle of the device;
        // - `done` may be called once with this context: the slots outlive it, as `drop` waits.
        let submitted = unsafe {
            self.client
                .submit(opf, dev.bdev(), sector, sectors, memory, notify)
        };
        submitted.map_err(|error| {
            // SAFETY: The context was claimed above; dm-io, having refused, does not call `done`.
            let (request, claim) = unsafe { Slots::<Request<T>>::take(context) };
            drop(claim);
            (error, request.and_then(|request| request.buf))
        })
    }

    /// The end of a request. Any context.
    ///
    /// # Safety
    ///
    /// As for [`Slots::take`], of a table of `Request<T>`.
    unsafe extern "C" fn done(error: c_ulong, unsupported: c_ulong, context: *mut c_void) {
        // Nobody waits for this call. When it lets go of the state and of the device, the line can go,
        // and the module with its code behind it. Who takes a line out of use waits for readers of RCU;
        // for the rest of the way out of here, unloading waits (`Registration`).
        let rcu = rcu::read_lock();
        let result = match (error, unsupported) {
            (0, 0) => Ok(()),
            (0, _) => Err(EOPNOTSUPP),
            _ => Err(EIO),
        };
        // SAFETY: Promised by the caller.
        let (request, claim): (Option<Request<T>>, Claim<Request<T>>) =
            unsafe { Slots::take(context) };
        let Some(mut request) = request else { return };
        let buf = request.buf.take();
        // The slot first: who is told may start the next request at once, on another processor, and
        // must find it free. If the state owns this client, the reference keeps the slots alive; if
        // not, the client's drop waits for the slot.
        drop(claim);
        T::io_done(&request.this, request.cookie, result, buf);
        linger(Place::Told);
        drop(request);
        rcu.unlock();
        linger(Place::LetGo);
    }
}

impl<T: IoDone> Drop for AsyncIo<T> {
    fn drop(&mut self) {
        self.wait_idle();
    }
}
