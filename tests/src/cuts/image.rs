// SPDX-License-Identifier: GPL-2.0

//! What a disk holds, in pieces that copies of the image share until one of them is written.

use std::sync::Arc;

/// A sector in bytes.
pub const SECTOR: usize = 512;
/// A piece in bytes.
pub const PIECE: usize = 32 << 10;

type Piece = [u8; PIECE];

/// The content of a disk. A copy costs next to nothing.
#[derive(Clone)]
pub struct Image {
    bytes: usize,
    pieces: Vec<Arc<Piece>>,
}

impl Image {
    /// Zeros.
    pub fn zeroed(bytes: usize) -> Self {
        let zeros = Arc::new([0; PIECE]);
        Self {
            bytes,
            pieces: vec![zeros; bytes.div_ceil(PIECE)],
        }
    }

    /// These bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut image = Self::zeroed(bytes.len());
        image.write(0, bytes);
        image
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Reads `len` bytes from byte `at` on.
    pub fn read(&self, at: usize, len: usize) -> Vec<u8> {
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            let (piece, from) = ((at + data.len()) / PIECE, (at + data.len()) % PIECE);
            let count = (len - data.len()).min(PIECE - from);
            data.extend_from_slice(&self.pieces[piece][from..from + count]);
        }
        data
    }

    /// Writes from byte `at` on.
    pub fn write(&mut self, mut at: usize, mut data: &[u8]) {
        while !data.is_empty() {
            let from = at % PIECE;
            let (now, later) = data.split_at(data.len().min(PIECE - from));
            let piece = Arc::make_mut(&mut self.pieces[at / PIECE]);
            piece[from..from + now.len()].copy_from_slice(now);
            at += now.len();
            data = later;
        }
    }

    /// Puts another image at byte `at`, which is where a piece begins.
    pub fn place(&mut self, at: usize, other: &Self) {
        assert_eq!(at % PIECE, 0, "a piece begins at {at}");
        let pieces = self.pieces.iter_mut().skip(at / PIECE);
        for (piece, placed) in pieces.zip(&other.pieces) {
            *piece = Arc::clone(placed);
        }
    }

    /// One sector.
    pub fn sector(&self, sector: u64) -> &[u8] {
        let at = sector as usize * SECTOR;
        &self.pieces[at / PIECE][at % PIECE..at % PIECE + SECTOR]
    }

    /// Everything.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.read(0, self.bytes)
    }

    /// A checksum of everything.
    pub fn checksum(&self) -> u32 {
        let pieces = self.pieces.iter();
        pieces.fold(0, |crc, piece| crc32c::crc32c_append(crc, &piece[..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_go_their_own_ways() {
        let mut image = Image::zeroed(PIECE * 2);
        let before = image.clone();
        image.write(PIECE - 3, b"across");
        assert_eq!(image.read(PIECE - 3, 6), b"across");
        assert_eq!(before.read(PIECE - 3, 6), [0; 6]);
        assert_ne!(image.checksum(), before.checksum());
        let mut both = Image::zeroed(PIECE * 4);
        both.place(PIECE * 2, &image);
        assert_eq!(both.read(PIECE * 3 - 3, 6), b"across");
        assert_eq!(
            Image::from_bytes(&image.to_bytes()).checksum(),
            image.checksum()
        );
    }
}
