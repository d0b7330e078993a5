/* tests/unit/pages.h — the pages of all processes, with the test as the owner of each. */
#ifndef KB_TESTS_PAGES_H
#define KB_TESTS_PAGES_H
#include <sys/mman.h>
#include <unistd.h>

#include "process/shared.h"

static struct shared_host pages;
static struct page *owned[PROCESS_SLOTS];

static inline bool pages_make(void)
{
	return shared_create(&pages, 50) == KB_OK;
}

static inline void pages_free(void)
{
	for (unsigned i = 0; i < PROCESS_SLOTS; i++)
		if (owned[i] != NULL)
			munmap(owned[i],
			       i == SLOT_LEDGER ? sizeof(struct ledger_page) : sizeof(struct page));
	memset(owned, 0, sizeof owned);
	shared_free(&pages);
}

/* The page of a slot, to write. */
static inline struct page *page_of(unsigned slot)
{
	if (owned[slot] != NULL)
		return owned[slot];
	int fd = shared_open_own(&pages, slot);
	void *p = mmap(NULL, slot == SLOT_LEDGER ? sizeof(struct ledger_page) : sizeof(struct page),
		       PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		KB_BUG();
	return owned[slot] = p;
}

static inline struct ledger_page *page_of_ledger(void)
{
	return (struct ledger_page *)page_of(SLOT_LEDGER);
}

/* The slot of a process that runs, in `state`. */
static inline unsigned page_take(enum process_kind kind, uint32_t generation,
				 enum health_state state)
{
	int slot = shared_take(&pages, kind, generation);

	if (slot < 0)
		KB_BUG();
	atomic_store(&pages.board->seat[slot].pid, 1);
	health_set(&page_of((unsigned)slot)->health, state);
	return (unsigned)slot;
}

#endif
