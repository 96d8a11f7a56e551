// SPDX-License-Identifier: GPL-2.0
/*
 * Delays for tests of lifetimes. A part of the module for the debug kernel only.
 */
#include <linux/bitops.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "bindings_helper.h"

/* The places where the next thread lingers, as bits (src/dm/linger.rs). */
static unsigned long linger_at;
module_param(linger_at, ulong, 0600);

/* For how long, in milliseconds. */
static unsigned int linger_ms;
module_param(linger_ms, uint, 0600);

/* How often that was done. */
static unsigned int lingered;
module_param(lingered, uint, 0400);

/* @rcu: what comes next relies on a reader's section, whether somebody lingers or not. */
void rust_dm_linger(unsigned int place, bool rcu)
{
	u64 end;

	RCU_LOCKDEP_WARN(rcu && !rcu_read_lock_held(), "what was given away is used without RCU");
	if (!test_and_clear_bit(place, &linger_at))
		return;
	pr_info("dm_restore: %s/%d lingers at %u\n", current->comm, current->pid, place);
	/* Not mdelay(), whose milliseconds are other ones in a virtual machine. */
	end = ktime_get_ns() + READ_ONCE(linger_ms) * (u64)NSEC_PER_MSEC;
	while (ktime_get_ns() < end)
		cpu_relax();
	WRITE_ONCE(lingered, lingered + 1);
}
