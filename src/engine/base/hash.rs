// SPDX-License-Identifier: GPL-2.0

//! xxh64, from the kernel in the module and from a crate on the host.
//!
//! It tells content apart. CRC-32C does not: over a block that ends with its own CRC-32C it is a
//! constant, and file systems have such blocks in the very places that matter.

/// The xxh64 of `bytes`, with seed 0.
pub fn xxh64(bytes: &[u8]) -> u64 {
    #[cfg(MODULE)]
    return crate::dm::xxhash::xxh64(bytes, 0);
    #[cfg(not(MODULE))]
    return ::xxhash_rust::xxh64::xxh64(bytes, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::base::checksum::crc32c;

    /// The reference implementation's values. The module is checked against the host's by each
    /// scenario that forges metadata.
    #[test]
    fn known_values() {
        assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"abc"), 0x44bc_2cf5_ad77_0999);
    }

    /// A block as ext4 has them with metadata checksums: its checked part ends with its own CRC.
    fn self_checked(content: u8) -> Vec<u8> {
        let mut block = vec![content; 4092];
        let crc = crc32c(0, &block);
        block.extend(crc.to_le_bytes());
        block
    }

    #[test]
    fn blocks_that_end_with_their_own_crc_are_told_apart() {
        let (one, other) = (self_checked(1), self_checked(2));
        assert_eq!(crc32c(0, &one), crc32c(0, &other), "a CRC is blind to it");
        assert_ne!(xxh64(&one), xxh64(&other));
        assert_ne!(xxh64(&one) as u32, xxh64(&other) as u32);
    }
}
