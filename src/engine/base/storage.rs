// SPDX-License-Identifier: GPL-2.0

//! Memory that the engine's owner provides: the engine itself never allocates.

use core::ops::DerefMut;

/// The owner could not provide the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Where the engine's arrays come from. They are asked for when a table is loaded, never in the
/// I/O path.
pub trait Storage {
    /// An array of a length that is fixed at its making.
    type Array<T>: DerefMut<Target = [T]>;

    /// An array of `len` elements, each made by `fill`.
    fn filled<T>(len: usize, fill: impl Fn() -> T) -> Result<Self::Array<T>, NoMemory>;
}

/// The host's heap, for tests and offline tools.
#[cfg(not(MODULE))]
pub struct Heap;

#[cfg(not(MODULE))]
impl Storage for Heap {
    type Array<T> = std::vec::Vec<T>;

    fn filled<T>(len: usize, fill: impl Fn() -> T) -> Result<Self::Array<T>, NoMemory> {
        Ok((0..len).map(|_| fill()).collect())
    }
}
