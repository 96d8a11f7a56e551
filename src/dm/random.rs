// SPDX-License-Identifier: GPL-2.0

//! Random numbers for identities: nobody can guess them, and two of them never meet.

use kernel::bindings;

/// Fills `out` with random bytes. Any context.
pub fn bytes(out: &mut [u8]) {
    // SAFETY: The pointer is valid for writes of the length, both come from one slice.
    unsafe { bindings::get_random_bytes(out.as_mut_ptr().cast(), out.len()) };
}

/// A random UUID (version 4, RFC 9562), in the order in which it is printed.
pub fn uuid() -> [u8; 16] {
    let mut id = [0; 16];
    bytes(&mut id);
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    id
}
