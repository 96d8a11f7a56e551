// SPDX-License-Identifier: GPL-2.0

//! Lists of bios that wait for something.

use core::{marker::PhantomData, ptr::NonNull};

use super::{bindings, bio::sealed::Listed, raw_bio::RawBio};

/// A first-in, first-out list of [`Bio`](super::Bio) or [`DoneBio`](super::DoneBio), linked through the bios: it never
/// allocates. Dropped with bios on it, it ends them with I/O errors.
///
/// # Invariants
///
/// - `head` and `tail` are both `None`, or the first and the last bio of a chain through `bi_next`
///   that ends with null.
/// - The list owns the bios of the chain; each came from `B::into_bio`.
pub struct BioList<B: Listed> {
    head: Option<NonNull<bindings::bio>>,
    tail: Option<NonNull<bindings::bio>>,
    _bios: PhantomData<B>,
}

// SAFETY: the list owns its bios, and is no more than a number of values of type `B`.
unsafe impl<B: Listed + Send> Send for BioList<B> {}

impl<B: Listed> BioList<B> {
    /// An empty list.
    pub const fn new() -> Self {
        // INVARIANT: no bios.
        Self {
            head: None,
            tail: None,
            _bios: PhantomData,
        }
    }

    /// Whether there is no bio on it.
    pub fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Adds a bio at the end.
    pub fn push(&mut self, bio: B) {
        let bio = bio.into_bio().into_list();
        // SAFETY: the list owns the bio now, and the last one so far; nobody else uses `bi_next`.
        unsafe {
            (*bio.as_ptr()).bi_next = core::ptr::null_mut();
            if let Some(tail) = self.tail {
                (*tail.as_ptr()).bi_next = bio.as_ptr();
            }
        }
        // INVARIANT: the new bio is the end of the chain, and its start if there was none.
        self.head.get_or_insert(bio);
        self.tail = Some(bio);
    }

    /// Takes the first bio.
    pub fn pop(&mut self) -> Option<B> {
        let first = self.head?;
        // SAFETY: the list owns the bio by the type invariants, so `bi_next` is ours.
        let next = unsafe { (*first.as_ptr()).bi_next };
        // SAFETY: as above. The block layer wants it null in a bio that is submitted.
        unsafe { (*first.as_ptr()).bi_next = core::ptr::null_mut() };
        // INVARIANT: the chain starts with the next one, or is empty, and then has no end either.
        self.head = NonNull::new(next);
        if self.head.is_none() {
            self.tail = None;
        }
        // SAFETY: by the type invariants the bio came from `B::into_bio`; the list gives it up.
        Some(B::from_bio(unsafe { RawBio::from_list(first) }))
    }
}

impl<B: Listed> Default for BioList<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Listed> Drop for BioList<B> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
