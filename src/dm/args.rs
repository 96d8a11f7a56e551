// SPDX-License-Identifier: GPL-2.0

//! The words of a table line or a message.

use core::marker::PhantomData;
use kernel::prelude::*;

use super::bindings;

/// A C string; `CStr::from_ptr` without its overflow check.
///
/// # Safety
///
/// `text` is NUL-terminated, and valid and unchanged for `'a`.
pub(super) unsafe fn c_str<'a>(text: *const c_char) -> &'a CStr {
    // SAFETY: by the safety requirements.
    let length = unsafe { bindings::strlen(text) };
    // SAFETY: the string has that many bytes, and the NUL behind them, all in one object, so that
    // the sum does not wrap; there is no NUL before.
    unsafe {
        let bytes = core::slice::from_raw_parts(text.cast(), length.wrapping_add(1));
        CStr::from_bytes_with_nul_unchecked(bytes)
    }
}

/// The words that are left, an iterator over C strings.
///
/// # Invariants
///
/// `next` points to `left` pointers to NUL-terminated strings, all unchanged and valid for `'a`.
#[derive(Clone)]
pub struct Args<'a> {
    next: *const *const c_char,
    left: usize,
    _lifetime: PhantomData<&'a CStr>,
}

impl<'a> Args<'a> {
    /// The words that device-mapper split a line into.
    ///
    /// # Safety
    ///
    /// `argv` points to `argc` pointers to NUL-terminated strings, which nobody changes during `'a`.
    pub(super) unsafe fn from_raw(argc: c_uint, argv: *mut *mut c_char) -> Self {
        // INVARIANT: by the safety requirements.
        Self {
            next: argv.cast::<*const c_char>().cast_const(),
            left: argc as usize,
            _lifetime: PhantomData,
        }
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a CStr;

    fn next(&mut self) -> Option<&'a CStr> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: by the type invariants there was at least one pointer left, to a string that
        // lives for `'a`.
        let word = unsafe { c_str(*self.next) };
        // SAFETY: stays inside the array, or goes to its end.
        // INVARIANT: one word fewer is left, and `next` is one further.
        self.next = unsafe { self.next.add(1) };
        Some(word)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Args<'_> {
    fn len(&self) -> usize {
        self.left
    }
}

/// The bytes of a word; `CStr::to_bytes` without its overflow check.
pub fn word_bytes(word: &CStr) -> &[u8] {
    match word.to_bytes_with_nul().split_last() {
        Some((_nul, bytes)) => bytes,
        None => &[],
    }
}

/// The word as text, for the log: as far as it is text.
pub fn word_text(word: &CStr) -> &str {
    match core::str::from_utf8(word_bytes(word)) {
        Ok(text) => text,
        Err(_) => "(not text)",
    }
}
