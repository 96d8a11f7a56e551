// SPDX-License-Identifier: GPL-2.0
/*
 * Delays for tests of lifetimes. A part of the module for the debug kernel only.
 */
#include <linux/bitops.h>
#include <linux/delay.h>
#include <linux/module.h>

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

void rust_dm_linger(unsigned int place)
{
	if (!test_and_clear_bit(place, &linger_at))
		return;
	mdelay(READ_ONCE(linger_ms));
	WRITE_ONCE(lingered, lingered + 1);
}
