// SPDX-License-Identifier: GPL-2.0

//! Hibernation, at several points of a volume's life, with a crash behind it.
//!
//! The machine makes an image of its memory, and begins again from it (`test_resume`): what was written
//! to the disks in between was written behind its back. Then the host writes a little more, and the
//! machine is killed. After the next boot the volume must load, hold all that was flushed, and
//! know what is still to be restored.
//!
//! | file | what |
//! |---|---|
//! | [`stage`] | when it happens, and to what |
//! | [`guest`] | what happens in the virtual machine |
//! | [`notes`] | what the guest leaves for the host and for its next boot |
//! | [`machine`] | boots, listens, kills |

pub mod guest;
pub mod machine;
pub mod notes;
pub mod stage;
mod writers;
