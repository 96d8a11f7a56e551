// SPDX-License-Identifier: GPL-2.0

//! CRC-32C, from the kernel in the module and from a crate on the host.

/// Continues the CRC-32C `crc` over `bytes`; start with 0.
pub(in crate::engine) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    #[cfg(MODULE)]
    return crate::dm::crc32c::crc32c(crc, bytes);
    #[cfg(not(MODULE))]
    return ::crc32c::crc32c_append(crc, bytes);
}
