// SPDX-License-Identifier: GPL-2.0
/*
 * Shims for inline functions and macros that Rust needs and the kernel crate
 * does not have. Each does nothing but call what its name says.
 */
#include "bindings_helper.h"

void rust_dm_bio_set_dev(struct bio *bio, struct block_device *bdev)
{
	bio_set_dev(bio, bdev);
}

bool rust_dm_bdev_is_zoned(struct block_device *bdev)
{
	return bdev_is_zoned(bdev);
}

bool rust_dm_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

bool rust_dm_bdev_write_cache(struct block_device *bdev)
{
	return bdev_write_cache(bdev);
}

/* Whether two devices are parts of one disk, or the same. */
bool rust_dm_same_disk(struct block_device *a, struct block_device *b)
{
	return a->bd_disk == b->bd_disk;
}

/*
 * Whether a device is made of others, as those of device-mapper and md are:
 * they take bios, a disk takes requests. A loop device lies in a file.
 */
bool rust_dm_is_stacked(struct block_device *bdev)
{
	return !queue_is_mq(bdev_get_queue(bdev)) ||
	       MAJOR(disk_devt(bdev->bd_disk)) == LOOP_MAJOR;
}

unsigned int rust_dm_bdev_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

unsigned int rust_dm_bdev_physical_block_size(struct block_device *bdev)
{
	return bdev_physical_block_size(bdev);
}

unsigned int rust_dm_bdev_max_discard_sectors(struct block_device *bdev)
{
	return bdev_max_discard_sectors(bdev);
}

unsigned int rust_dm_bdev_discard_granularity(struct block_device *bdev)
{
	return bdev_discard_granularity(bdev);
}

unsigned int rust_dm_bdev_write_zeroes_sectors(struct block_device *bdev)
{
	return bdev_write_zeroes_sectors(bdev);
}

/* May sleep: the limits of a live queue are read under its limits lock. */
void rust_dm_bdev_limits(struct block_device *bdev, struct queue_limits *limits)
{
	struct request_queue *q = bdev_get_queue(bdev);

	mutex_lock(&q->limits_lock);
	*limits = q->limits;
	mutex_unlock(&q->limits_lock);
}

/* Whether @md is not about to be destroyed: then it cannot be looked up any more. */
bool rust_dm_md_stays(struct mapped_device *md)
{
	struct mapped_device *found = dm_get_md(disk_devt(dm_disk(md)));

	if (found)
		dm_put(found);
	return found;
}

unsigned int rust_dm_major(dev_t dev)
{
	return MAJOR(dev);
}

unsigned int rust_dm_minor(dev_t dev)
{
	return MINOR(dev);
}

void rust_dm_ratelimit_init(struct ratelimit_state *state)
{
	ratelimit_default_init(state);
	ratelimit_set_flags(state, RATELIMIT_MSG_ON_RELEASE);
}

int rust_dm_ratelimit_reset_miss(struct ratelimit_state *state)
{
	return ratelimit_state_reset_miss(state);
}

static struct ratelimit_state rust_dm_ratelimits[RUST_DM_RATELIMITS] = {
	[0 ... RUST_DM_RATELIMITS - 1] =
		RATELIMIT_STATE_INIT_FLAGS(rust_dm_ratelimits[0],
					   DEFAULT_RATELIMIT_INTERVAL,
					   DEFAULT_RATELIMIT_BURST,
					   RATELIMIT_MSG_ON_RELEASE),
};

struct ratelimit_state *rust_dm_ratelimit_of(unsigned int nth)
{
	return &rust_dm_ratelimits[nth % RUST_DM_RATELIMITS];
}

bool rust_dm_ratelimit(struct ratelimit_state *state)
{
	return __ratelimit(state);
}

/*
 * The processor for the @nth of several pieces of work that are to run side by
 * side: one that is online and not isolated now. Work for one that goes offline
 * runs elsewhere.
 */
int rust_dm_spread_cpu(unsigned int nth)
{
	unsigned int cpu = WORK_CPU_UNBOUND;
	const struct cpumask *housekeeping;
	unsigned int count;

	/* Processors may become isolated at any time; the mask is then replaced. */
	rcu_read_lock();
	housekeeping = housekeeping_cpumask(HK_TYPE_DOMAIN);
	count = cpumask_weight_and(cpu_online_mask, housekeeping);
	if (count)
		cpu = cpumask_nth_and(nth % count, cpu_online_mask, housekeeping);
	rcu_read_unlock();
	/* One may have gone offline in between. */
	return cpu < nr_cpu_ids ? cpu : WORK_CPU_UNBOUND;
}

/* Sleeps until @flag is not 0, but for no longer than @ns nanoseconds. */
void rust_dm_wait_event_hrtimeout(struct wait_queue_head *wq, u32 *flag, u64 ns)
{
	wait_event_hrtimeout(*wq, READ_ONCE(*flag), ns_to_ktime(ns));
}

/* Without CONFIG_PM_SLEEP there is nothing to be told: 0. */
int rust_dm_register_pm(struct notifier_block *nb)
{
	return register_pm_notifier(nb);
}

int rust_dm_unregister_pm(struct notifier_block *nb)
{
	return unregister_pm_notifier(nb);
}

void rust_dm_set_pm_domain(struct device *dev, struct dev_pm_domain *domain)
{
	device_lock(dev);
	dev_pm_domain_set(dev, domain);
	device_unlock(dev);
}

/*
 * Whether tasks are frozen, by the machine's sleep or (the first edition of
 * control groups) by a frozen group.
 */
bool rust_dm_freezer_active(void)
{
#ifdef CONFIG_FREEZER
	return static_branch_unlikely(&freezer_active);
#else
	return false;
#endif
}

/*
 * Waits until no task is preempted in code that it ran when this was called. In
 * a kernel without TASKS_RCU it waits for readers of RCU alone.
 */
void rust_dm_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}

unsigned int rust_dm_memalloc_noio_save(void)
{
	return memalloc_noio_save();
}

void rust_dm_memalloc_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}

int rust_dm_mutex_lock_interruptible(struct mutex *lock)
{
	return mutex_lock_interruptible(lock);
}
