// SPDX-License-Identifier: GPL-2.0

//! State that asynchronous work refers to, destroyed in one known place.
//!
//! With a plain reference count, the last reference to a target's state may be dropped anywhere: in
//! the completion of a bio (hard interrupt), in a work item of the very queue that the state owns,
//! in a callback of the very client that it owns. Destroying it there would sleep in an interrupt
//! or wait for itself. Here the state has one [`Owner`], and everybody else a [`Ref`]; dropping a
//! `Ref` never destroys anything, and dropping the `Owner` waits for the `Ref`s and then destroys
//! the state on the spot. The target drops its `Owner` in its destructor, in process context.

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::{Completion, Refcount};

#[pin_data]
struct Inner<T> {
    /// One for every `Ref`, and one for the `Owner` until it is dropped.
    refs: Refcount,
    /// Done when the count has come to zero and the owner was not the last.
    #[pin]
    gone: Completion,
    #[pin]
    value: T,
}

/// The one owner of a shared value. See the [module](self).
///
/// # Invariants
///
/// `inner` points to an initialised, pinned `Inner<T>` from a `KBox`, which only `Owner::drop`
/// frees, and counts this owner once in `refs`.
pub struct Owner<T: Send + Sync + 'static> {
    inner: NonNull<Inner<T>>,
    _owns: PhantomData<Inner<T>>,
}

/// A reference to a value that an [`Owner`] owns, which keeps it from being destroyed.
///
/// May be cloned, used and dropped in any context, also in hard interrupts.
///
/// # Invariants
///
/// `inner` points to an initialised, pinned `Inner<T>` that counts this reference once in `refs`.
pub struct Ref<T: Send + Sync + 'static> {
    inner: NonNull<Inner<T>>,
}

// SAFETY: An owner gives shared access to the value (`Sync`) and destroys it on its own thread
// (`Send`); the rest of `Inner` may be used from anywhere.
unsafe impl<T: Send + Sync> Send for Owner<T> {}
// SAFETY: As for `Send`; through `&Owner` there is only shared access.
unsafe impl<T: Send + Sync> Sync for Owner<T> {}
// SAFETY: A reference gives shared access to the value (`Sync`); the rest of `Inner` may be used
// from anywhere.
unsafe impl<T: Send + Sync> Send for Ref<T> {}
// SAFETY: As for `Send`.
unsafe impl<T: Send + Sync> Sync for Ref<T> {}

impl<T: Send + Sync> Owner<T> {
    /// Allocates the value and initialises it in place. Sleeps.
    ///
    /// Errors: `ENOMEM`, and those of `init`.
    pub fn new(init: impl PinInit<T, Error>) -> Result<Self> {
        let inner = KBox::pin_init(
            try_pin_init!(Inner {
                refs: Refcount::new(1),
                gone <- Completion::new(),
                value <- init,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: The value stays where it is until it is dropped: nobody gets more than a shared
        // reference to it, and `Owner::drop` drops it in place.
        let inner = KBox::into_raw(unsafe { Pin::into_inner_unchecked(inner) });
        // INVARIANT: From a `KBox`, initialised and pinned above; the count begins at one, ours.
        Ok(Self {
            // SAFETY: A box is never null.
            inner: unsafe { NonNull::new_unchecked(inner) },
            _owns: PhantomData,
        })
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: By the type invariant it is valid while `self` is; there is no other than shared
        // access to it before `drop`.
        unsafe { self.inner.as_ref() }
    }

    /// Another reference. Any context.
    pub fn share(&self) -> Ref<T> {
        self.inner().refs.inc();
        // INVARIANT: Counted just now.
        Ref { inner: self.inner }
    }
}

impl<T: Send + Sync> Deref for Owner<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: Send + Sync> Drop for Owner<T> {
    /// Sleeps until the last [`Ref`] is gone, then destroys the value.
    fn drop(&mut self) {
        let inner = self.inner();
        if !inner.refs.dec_and_test() {
            inner.gone.wait_for_completion();
        }
        // SAFETY:
        // - by the type invariant the pointer comes from a `KBox` that nobody else frees;
        // - nobody uses it any more: either the count came to zero right here, or the `Ref` that
        //   brought it to zero has completed `gone`, and touches nothing after that (the waiter
        //   returns only when `complete_all` has let go of the completion's lock);
        // - the borrow `inner` ends above.
        drop(unsafe { KBox::from_raw(self.inner.as_ptr()) });
    }
}

impl<T: Send + Sync> Ref<T> {
    fn inner(&self) -> &Inner<T> {
        // SAFETY: By the type invariant this reference is counted, so the owner waits with
        // freeing; there is no other than shared access before that.
        unsafe { self.inner.as_ref() }
    }
}

impl<T: Send + Sync> Clone for Ref<T> {
    fn clone(&self) -> Self {
        self.inner().refs.inc();
        // INVARIANT: Counted just now.
        Self { inner: self.inner }
    }
}

impl<T: Send + Sync> Deref for Ref<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: Send + Sync> Drop for Ref<T> {
    fn drop(&mut self) {
        let inner = self.inner();
        // Only after the owner gave up its own count can it come to zero here; then the owner
        // waits, and `inner` stays valid until it has been told.
        if inner.refs.dec_and_test() {
            inner.gone.complete_all();
        }
    }
}
