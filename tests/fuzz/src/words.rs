// SPDX-License-Identifier: GPL-2.0

//! Text as device-mapper hands it on: words without blanks and without a NUL.

/// The words of a text.
pub fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split(|byte| byte.is_ascii_whitespace() || *byte == 0)
        .filter(|word| !word.is_empty())
        .collect()
}
