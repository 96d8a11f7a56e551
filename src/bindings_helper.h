/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the headers that the kernel crate does not bind, the
 * shims of helpers.c, and constants that are casts in C (bindgen evaluates a
 * `const` variable, but not a cast).
 */
#ifndef DM_RUST_BINDINGS_HELPER_H
#define DM_RUST_BINDINGS_HELPER_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/crc32c.h>
#include <linux/device.h>
#include <linux/device-mapper.h>
#include <linux/dm-io.h>
#include <linux/dm-kcopyd.h>
#include <linux/freezer.h>
#include <linux/major.h>
#include <linux/pm_domain.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/sched/isolation.h>
#include <linux/sched/mm.h>
#include <linux/suspend.h>
#include <linux/wait.h>
#include <linux/xxhash.h>

#ifdef __BINDGEN__
const blk_opf_t RUST_CONST_HELPER_REQ_FUA = REQ_FUA;
const blk_opf_t RUST_CONST_HELPER_REQ_PREFLUSH = REQ_PREFLUSH;
const blk_opf_t RUST_CONST_HELPER_REQ_ATOMIC = REQ_ATOMIC;
const blk_opf_t RUST_CONST_HELPER_REQ_NOWAIT = REQ_NOWAIT;
const blk_opf_t RUST_CONST_HELPER_REQ_POLLED = REQ_POLLED;
const blk_opf_t RUST_CONST_HELPER_REQ_RAHEAD = REQ_RAHEAD;
const blk_opf_t RUST_CONST_HELPER_REQ_OP_MASK = REQ_OP_MASK;

const blk_mode_t RUST_CONST_HELPER_BLK_OPEN_READ = BLK_OPEN_READ;
const blk_mode_t RUST_CONST_HELPER_BLK_OPEN_WRITE = BLK_OPEN_WRITE;

const blk_status_t RUST_CONST_HELPER_BLK_STS_NOTSUPP = BLK_STS_NOTSUPP;
const blk_status_t RUST_CONST_HELPER_BLK_STS_TIMEOUT = BLK_STS_TIMEOUT;
const blk_status_t RUST_CONST_HELPER_BLK_STS_NOSPC = BLK_STS_NOSPC;
const blk_status_t RUST_CONST_HELPER_BLK_STS_TARGET = BLK_STS_TARGET;
const blk_status_t RUST_CONST_HELPER_BLK_STS_MEDIUM = BLK_STS_MEDIUM;
const blk_status_t RUST_CONST_HELPER_BLK_STS_PROTECTION = BLK_STS_PROTECTION;
const blk_status_t RUST_CONST_HELPER_BLK_STS_RESOURCE = BLK_STS_RESOURCE;
const blk_status_t RUST_CONST_HELPER_BLK_STS_IOERR = BLK_STS_IOERR;
const blk_status_t RUST_CONST_HELPER_BLK_STS_DM_REQUEUE = BLK_STS_DM_REQUEUE;
const blk_status_t RUST_CONST_HELPER_BLK_STS_AGAIN = BLK_STS_AGAIN;
const blk_status_t RUST_CONST_HELPER_BLK_STS_INVAL = BLK_STS_INVAL;

const unsigned int RUST_CONST_HELPER_STATUSTYPE_INFO = STATUSTYPE_INFO;
const unsigned int RUST_CONST_HELPER_STATUSTYPE_TABLE = STATUSTYPE_TABLE;
const unsigned int RUST_CONST_HELPER_STATUSTYPE_IMA = STATUSTYPE_IMA;

const blk_features_t RUST_CONST_HELPER_BLK_FEAT_ATOMIC_WRITES = BLK_FEAT_ATOMIC_WRITES;
const blk_features_t RUST_CONST_HELPER_BLK_FEAT_INHERIT_MASK = BLK_FEAT_INHERIT_MASK;
#endif

/* helpers.c: bios and block devices */
void rust_dm_bio_set_dev(struct bio *bio, struct block_device *bdev);
bool rust_dm_bdev_is_zoned(struct block_device *bdev);
bool rust_dm_bdev_read_only(struct block_device *bdev);
bool rust_dm_bdev_write_cache(struct block_device *bdev);
bool rust_dm_same_disk(struct block_device *a, struct block_device *b);
bool rust_dm_is_stacked(struct block_device *bdev);
unsigned int rust_dm_bdev_logical_block_size(struct block_device *bdev);
unsigned int rust_dm_bdev_physical_block_size(struct block_device *bdev);
unsigned int rust_dm_bdev_max_discard_sectors(struct block_device *bdev);
unsigned int rust_dm_bdev_discard_granularity(struct block_device *bdev);
unsigned int rust_dm_bdev_write_zeroes_sectors(struct block_device *bdev);
void rust_dm_bdev_limits(struct block_device *bdev, struct queue_limits *limits);
bool rust_dm_md_stays(struct mapped_device *md);
unsigned int rust_dm_major(dev_t dev);
unsigned int rust_dm_minor(dev_t dev);

/* page_cache.c: who holds a mapped device, and what is cached of a device */
struct block_device *rust_dm_mapped_bdev(struct mapped_device *md);
bool rust_dm_bdev_is_held(struct block_device *bdev);
void rust_dm_drop_pages(struct block_device *bdev);
void rust_dm_count_pages(struct block_device *bdev, unsigned long *dirty,
			 unsigned long *clean);

/* helpers.c: messages */
void rust_dm_ratelimit_init(struct ratelimit_state *state);
bool rust_dm_ratelimit(struct ratelimit_state *state);
int rust_dm_ratelimit_reset_miss(struct ratelimit_state *state);
#define RUST_DM_RATELIMITS 256
struct ratelimit_state *rust_dm_ratelimit_of(unsigned int nth);

/* helpers.c: processors */
int rust_dm_spread_cpu(unsigned int nth);

/* helpers.c: waiting */
void rust_dm_synchronize_rcu_tasks(void);
void rust_dm_wait_event_hrtimeout(struct wait_queue_head *wq, u32 *flag, u64 ns);

/* helpers.c: the machine's sleep */
int rust_dm_register_pm(struct notifier_block *nb);
int rust_dm_unregister_pm(struct notifier_block *nb);
void rust_dm_set_pm_domain(struct device *dev, struct dev_pm_domain *domain);
bool rust_dm_freezer_active(void);

/* linger.c */
void rust_dm_linger(unsigned int place, bool rcu);

/* helpers.c: memory */
unsigned int rust_dm_memalloc_noio_save(void);
void rust_dm_memalloc_noio_restore(unsigned int flags);
int rust_dm_mutex_lock_interruptible(struct mutex *lock);

#endif /* DM_RUST_BINDINGS_HELPER_H */
