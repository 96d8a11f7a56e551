// SPDX-License-Identifier: GPL-2.0

//! Registration of a target type with device-mapper.

use core::marker::PhantomData;
use kernel::{error::to_result, prelude::*, types::Opaque};

use super::{bindings, callbacks::Callbacks, claims, target::Target};

/// A registered target type; unregistered when it is dropped.
///
/// It belongs into the module's own structure: table lines keep the module loaded and point to the
/// target type. Dropped anywhere else, the type's description is leaked, for lines that still use
/// it.
///
/// # Invariants
///
/// `target_type` is registered.
pub struct Registration<T: Target> {
    target_type: *mut Opaque<bindings::target_type>,
    _target: PhantomData<T>,
}

// SAFETY: device-mapper has its own locks for registered types, and the pointer is given up only
// with the registration.
unsafe impl<T: Target> Send for Registration<T> {}
// SAFETY: as above; a shared reference offers nothing.
unsafe impl<T: Target> Sync for Registration<T> {}

impl<T: Target> Registration<T> {
    /// Registers the target type for `module`.
    ///
    /// Tables may use the type before this returns: it is the last thing that a module does.
    ///
    /// # Errors
    ///
    /// `EBUSY`: there is a target of that name; `ENOMEM`.
    pub fn new(module: &'static ThisModule) -> Result<Self> {
        claims::init();
        let target_type = Opaque::new(Callbacks::<T>::target_type(module));
        let target_type = KBox::into_raw(KBox::new(target_type, GFP_KERNEL)?);
        // SAFETY: the description is complete and stays where it is until it is unregistered.
        let result = to_result(unsafe { bindings::dm_register_target(target_type.cast()) });
        if let Err(error) = result {
            // SAFETY: made from a box above, and not registered.
            drop(unsafe { KBox::from_raw(target_type) });
            return Err(error);
        }
        // INVARIANT: just registered.
        Ok(Self {
            target_type,
            _target: PhantomData,
        })
    }
}

impl<T: Target> Drop for Registration<T> {
    fn drop(&mut self) {
        let raw: *mut bindings::target_type = self.target_type.cast();
        // SAFETY: registered by the type invariants, and unregistered only here. This is process
        // context, and holds no lock.
        let unused = unsafe {
            bindings::dm_unregister_target(raw);
            // No line is left, but a completion that let go of the last one may still be on its way out
            // of the module's code.
            bindings::rust_dm_synchronize_rcu_tasks();
            (*(*raw).module).state == bindings::module_state_MODULE_STATE_GOING
        };
        if unused {
            // SAFETY: made from a box in `new`. Each line that uses the type has a reference to the
            // module, and a module that is going has none left.
            drop(unsafe { KBox::from_raw(self.target_type) });
        }
    }
}
