// SPDX-License-Identifier: GPL-2.0

//! Torn sectors: a disk that reads a sector while it changes it may return some words of one content
//! and the rest of another. A discard tears too, where the disk makes zeros of what it discards.

use crate::stamps::{Found, BLOCK};
use std::ops::Range;

/// In bytes: the unit in which contents are told apart.
const WORD: usize = 8;

/// Whether each word of `block` is that of one of `contents`, in its place, or the start of one's and
/// the end of another's: some copy byte by byte, as a disk of memory does.
pub fn is_mixture(block: &[u8], contents: &[Found]) -> bool {
    let contents = with_bytes(contents);
    words(block)
        .all(|(at, word)| whose(&contents, at, word).is_some() || is_split(&contents, at, word))
}

/// Whose words `block` has, run after run.
pub fn describe(block: &[u8], contents: &[Found]) -> String {
    let contents = with_bytes(contents);
    let mut runs: Vec<(Option<Found>, usize)> = Vec::new();
    for (at, word) in words(block) {
        let found = whose(&contents, at, word);
        match runs.last_mut() {
            Some((last, length)) if *last == found => *length += WORD,
            _ => runs.push((found, WORD)),
        }
    }
    let runs = runs.iter().map(|(found, length)| match found {
        Some(found) => format!("{length} bytes of {found}"),
        None => format!("{length} bytes that nobody wrote there"),
    });
    runs.collect::<Vec<_>>().join(", ")
}

/// A content and its bytes.
type Content = (Found, [u8; BLOCK]);

fn with_bytes(contents: &[Found]) -> Vec<Content> {
    let bytes = |found: &Found| {
        let mut block = [0; BLOCK];
        if let Found::Stamp(stamp) = found {
            stamp.fill(&mut block);
        }
        (*found, block)
    };
    contents.iter().map(bytes).collect()
}

fn words(block: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    block.chunks_exact(WORD).enumerate()
}

fn whose(contents: &[Content], at: usize, word: &[u8]) -> Option<Found> {
    let at = at * WORD;
    let mut contents = contents.iter();
    let (found, _) = contents.find(|(_, bytes)| bytes[at..at + WORD] == *word)?;
    Some(*found)
}

fn is_split(contents: &[Content], at: usize, word: &[u8]) -> bool {
    let start = at * WORD;
    let is_anyones = |range: Range<usize>| {
        let part = &word[range.clone()];
        let place = start + range.start..start + range.end;
        contents
            .iter()
            .any(|(_, bytes)| bytes[place.clone()] == *part)
    };
    (1..WORD).any(|split| is_anyones(0..split) && is_anyones(split..WORD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamps::{Stamp, Writer};

    fn stamp(generation: u64) -> Found {
        Found::Stamp(Stamp {
            writer: Writer::Host,
            sector: 7,
            generation,
        })
    }

    #[test]
    fn a_mixture_has_each_word_in_its_place() {
        let contents = [stamp(1), stamp(2), Found::Zero];
        let [mut block, second, _] = [0, 1, 2].map(|i| with_bytes(&contents)[i].1);
        assert!(is_mixture(&block, &contents[..1]));
        block[40..160].fill(0);
        block[320..].copy_from_slice(&second[320..]);
        assert!(is_mixture(&block, &contents));
        assert!(!is_mixture(&block, &contents[..2]));
        assert_eq!(
            describe(&block, &contents[..2]),
            "40 bytes of host write 1 of sector 7, 120 bytes that nobody wrote there, \
             160 bytes of host write 1 of sector 7, 192 bytes of host write 2 of sector 7"
        );
        block.rotate_left(WORD);
        assert!(!is_mixture(&block, &contents));
    }

    #[test]
    fn a_word_may_be_torn_once() {
        let contents = [stamp(1), stamp(2)];
        let [mut block, second] = [0, 1].map(|i| with_bytes(&contents)[i].1);
        block[323..].copy_from_slice(&second[323..]);
        assert!(is_mixture(&block, &contents));
        assert!(!is_mixture(&block, &contents[..1]));
        block[323] ^= 1;
        assert!(!is_mixture(&block, &contents));
    }
}
