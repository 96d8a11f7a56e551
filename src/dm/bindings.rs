// SPDX-License-Identifier: GPL-2.0

//! Raw bindings: the kernel crate's own, and what it lacks.
//!
//! `src/bindings_helper.h` and `src/bindings_parameters` say what is generated.
//!
//! Types of callbacks must be the same as in C down to what CFI makes of them: a kernel with
//! `CONFIG_CFI` traps at a call through a pointer of another type. `tests/cfi/callbacks.c` says how
//! that is checked.

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

    /// Not as bindgen makes it, an integer: CFI has another type for that.
    #[repr(C)]
    pub enum status_type_t {
        STATUSTYPE_INFO = STATUSTYPE_INFO as isize,
        STATUSTYPE_TABLE = STATUSTYPE_TABLE as isize,
        STATUSTYPE_IMA = STATUSTYPE_IMA as isize,
    }

    /// Not as bindgen makes it, an `Option`: CFI has another type for that. Device-mapper never
    /// passes null.
    pub type iterate_devices_callout_fn = unsafe extern "C" fn(
        ti: *mut dm_target,
        dev: *mut dm_dev,
        start: sector_t,
        len: sector_t,
        data: *mut ffi::c_void,
    ) -> ffi::c_int;

    include!(env!("DM_RUST_BINDINGS"));
}
