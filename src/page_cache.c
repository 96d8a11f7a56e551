// SPDX-License-Identifier: GPL-2.0
/*
 * The page cache of a block device whose content is about to change, while
 * I/O on it may be held back until the caller has returned.
 *
 * So nothing here waits for a page: one that is locked may belong to a read
 * that is held back. Locked pages are left alone, pages that are dirty or in
 * use stay, and the count says what is left.
 */
#include <linux/buffer_head.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/writeback.h>

#include "bindings_helper.h"

struct block_device *rust_dm_mapped_bdev(struct mapped_device *md)
{
	return dm_disk(md)->part0;
}

/*
 * A moment's view, without a lock: the pointer is looked at, not followed.
 * Who holds a partition shows as a holder of the whole disk.
 */
bool rust_dm_bdev_is_held(struct block_device *bdev)
{
	return READ_ONCE(bdev->bd_holder);
}

/*
 * Drops clean pages that nobody uses; those that processes have mapped are
 * unmapped first, and their next access reads again. Waits for the processors
 * to let go of what they keep for the LRU lists, not for I/O.
 */
void rust_dm_drop_pages(struct block_device *bdev)
{
	struct address_space *mapping = bdev->bd_mapping;

	invalidate_bdev(bdev);
	if (!mapping->nrpages)
		return;
	/* Private copies that a process has written are its own, and stay. */
	unmap_mapping_range(mapping, 0, 0, 0);
	invalidate_mapping_pages(mapping, 0, -1);
}

/*
 * Whether a read would be answered from @folio as it is. A page that was read
 * in part has buffers that are up to date while it is not.
 */
static bool has_content(struct address_space *mapping, struct folio *folio)
{
	bool found = folio_test_uptodate(folio);
#ifdef CONFIG_BUFFER_HEAD
	struct buffer_head *head, *bh;

	if (found)
		return true;
	/* Keeps the buffers where they are. */
	spin_lock(&mapping->i_private_lock);
	head = folio_buffers(folio);
	if (head && folio->mapping == mapping) {
		bh = head;
		do {
			found |= buffer_uptodate(bh);
			bh = bh->b_this_page;
		} while (bh != head);
	}
	spin_unlock(&mapping->i_private_lock);
#endif
	return found;
}

/*
 * Counts what is left: pages that are to be written or on their way, and other
 * pages with content. A locked page without any waits for a read.
 */
void rust_dm_count_pages(struct block_device *bdev, unsigned long *dirty,
			 unsigned long *clean)
{
	struct address_space *mapping = bdev->bd_mapping;
	struct folio_batch batch;
	pgoff_t next = 0;
	unsigned int i;

	*dirty = 0;
	*clean = 0;
	folio_batch_init(&batch);
	while (filemap_get_folios(mapping, &next, ULONG_MAX, &batch)) {
		for (i = 0; i < folio_batch_count(&batch); i++) {
			struct folio *folio = batch.folios[i];

			if (folio_test_dirty(folio) ||
			    folio_test_writeback(folio))
				*dirty += folio_nr_pages(folio);
			else if (has_content(mapping, folio))
				*clean += folio_nr_pages(folio);
		}
		folio_batch_release(&batch);
		cond_resched();
	}
}
