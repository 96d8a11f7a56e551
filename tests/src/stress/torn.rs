// SPDX-License-Identifier: GPL-2.0

//! Torn sectors: a disk that reads a sector while it changes it may return some words of one content
//! and the rest of another. A discard tears too, where the disk makes zeros of what it discards.

use crate::stamps::{Found, BLOCK};

/// In bytes: the unit in which contents are described.
const WORD: usize = 8;

/// Whether each byte of `block` is that of one of `contents`, in its place. Most disks change a sector word
/// by word; a disk of memory copies byte by byte, and whoever reads may overtake it and be overtaken
/// several times within one word. That says enough: what does not belong here is a whole sector, whose
/// bytes do not all fit by chance.
pub fn is_mixture(block: &[u8], contents: &[Found]) -> bool {
    let contents = with_bytes(contents);
    let mut bytes = block.iter().enumerate();
    bytes.all(|(at, byte)| contents.iter().any(|(_, bytes)| bytes[at] == *byte))
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
    fn a_word_may_be_torn_anywhere_and_often() {
        let contents = [stamp(1), stamp(2)];
        let [mut block, second] = [0, 1].map(|i| with_bytes(&contents)[i].1);
        for at in [33, 35, 36, 39, 50, 323] {
            block[at] = second[at];
        }
        assert!(is_mixture(&block, &contents));
        assert!(!is_mixture(&block, &contents[..1]));
        block[323] ^= 1;
        assert!(!is_mixture(&block, &contents));
    }

    /// However many contents there are, one of another sector does not fit.
    #[test]
    fn no_other_sector_is_a_mixture() {
        let contents: Vec<Found> = (0..500).map(stamp).collect();
        let mut other = [0; BLOCK];
        Stamp::initial(Writer::Clone, 8).fill(&mut other);
        assert!(!is_mixture(&other, &contents));
    }
}
