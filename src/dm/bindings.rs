// SPDX-License-Identifier: GPL-2.0

//! Raw bindings: the kernel crate's own, and what it lacks.
//!
//! `src/bindings_helper.h` and `src/bindings_parameters` say what is generated.

pub(super) use generated::*;
pub(super) use kernel::bindings::*;

#[allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
mod generated {
    use kernel::{bindings::*, ffi};

    include!(env!("DM_RUST_BINDINGS"));
}
