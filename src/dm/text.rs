// SPDX-License-Identifier: GPL-2.0

//! Text for device-mapper: status lines and answers to messages.

use core::{fmt, marker::PhantomData, ptr::NonNull};
use kernel::prelude::*;

/// A buffer of device-mapper's to write text into.
///
/// Text that does not fit is cut, and the buffer then is full to its end, which is how
/// device-mapper recognises that user space must ask again with a larger one.
///
/// # Invariants
///
/// - `start` is valid for writes of `capacity` bytes during `'a`, and nobody else uses them.
/// - `length < capacity`, and the byte at `length` is NUL; or `capacity` is 0.
pub struct TextBuf<'a> {
    start: NonNull<u8>,
    capacity: usize,
    length: usize,
    truncated: bool,
    _lifetime: PhantomData<&'a mut [u8]>,
}

impl TextBuf<'_> {
    /// An empty text in a buffer of device-mapper's; `None` without a buffer.
    ///
    /// # Safety
    ///
    /// `start` is null or valid for writes of `capacity` bytes during the life of the result, and
    /// nobody else uses them.
    pub(super) unsafe fn from_raw(start: *mut c_char, capacity: c_uint) -> Option<Self> {
        let start = NonNull::new(start.cast::<u8>())?;
        let capacity = capacity as usize;
        if capacity > 0 {
            // SAFETY: there is at least one byte to write.
            unsafe { start.as_ptr().write(0) };
        }
        // INVARIANT: by the safety requirements; the NUL was just written.
        Some(Self {
            start,
            capacity,
            length: 0,
            truncated: false,
            _lifetime: PhantomData,
        })
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// Never fails: what does not fit is cut.
impl fmt::Write for TextBuf<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte is kept for the NUL.
        let room = self.capacity.saturating_sub(self.length).saturating_sub(1);
        let count = room.min(text.len());
        self.truncated |= count < text.len();
        if count == 0 {
            return Ok(());
        }
        // SAFETY: `length + count + 1 <= capacity`, so that the copy and the NUL behind it stay in
        // the buffer, which is ours alone by the type invariants; `text` has `count` bytes.
        unsafe {
            let end = self.start.as_ptr().add(self.length);
            end.copy_from_nonoverlapping(text.as_ptr(), count);
            end.add(count).write(0);
        }
        // INVARIANT: `length < capacity` by the bound on `count`, and the NUL is there.
        self.length = self.length.wrapping_add(count);
        Ok(())
    }
}
