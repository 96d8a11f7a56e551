// SPDX-License-Identifier: GPL-2.0
/*
 * The functions that the module gives to C to call, declared as C calls them.
 *
 * A kernel with CONFIG_CFI compares a hash of the type at each call through a
 * pointer, and traps where it differs. `cargo xtask lint` has clang compute
 * these hashes from here, and rustc those of the module's own functions, and
 * compares them (scripts/xtask/src/lint/cfi.rs). `queue__start` is the function
 * `start` of src/dm/queue.rs; a function that is missing here is told.
 */
#include <linux/hrtimer.h>
#include <linux/notifier.h>
#include <linux/pm.h>
#include <linux/workqueue.h>

#include "../../src/bindings_helper.h"

/* What a member of a structure points to. */
#define POINTEE(structure, member) typeof(*((structure *)NULL)->member)

#define TARGET(hook) extern POINTEE(struct target_type, hook) callbacks__##hook

TARGET(ctr);
TARGET(dtr);
TARGET(map);
TARGET(end_io);
TARGET(presuspend);
TARGET(presuspend_undo);
TARGET(postsuspend);
TARGET(preresume);
TARGET(resume);
TARGET(status);
TARGET(message);
TARGET(iterate_devices);
TARGET(io_hints);

extern POINTEE(struct dm_io_notify, fn) io__done;
extern typeof(*(dm_kcopyd_notify_fn)NULL) kcopyd__done;
extern POINTEE(struct work_struct, func) queue__start;
extern POINTEE(struct hrtimer, function) queue__due;

extern POINTEE(struct notifier_block, notifier_call) pm__call;
extern POINTEE(struct notifier_block, notifier_call) pm__changed;
extern POINTEE(struct dev_pm_ops, freeze) pm__freeze;
extern POINTEE(struct dev_pm_ops, thaw) pm__thaw;

/* The other way round: functions of C that the module calls by a pointer. */
extern typeof(*(iterate_devices_callout_fn)NULL) called__visit;

/* Clang keeps what is referred to. */
void *const callbacks[] = {
	callbacks__ctr, callbacks__dtr, callbacks__map, callbacks__end_io,
	callbacks__presuspend, callbacks__presuspend_undo,
	callbacks__postsuspend, callbacks__preresume, callbacks__resume,
	callbacks__status, callbacks__message, callbacks__iterate_devices,
	callbacks__io_hints,
	io__done, kcopyd__done, queue__start, queue__due,
	pm__call, pm__changed, pm__freeze, pm__thaw,
	called__visit,
};
