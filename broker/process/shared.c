/* broker/process/shared.c — makes, maps and hands out the pages.  Decides who may write which: the
 * only writable descriptor of a page goes to its owner, who maps it and closes it.  Each page is a
 * file of its own, because mremap() extends a writable mapping over the rest of its file; sealed
 * sizes make what lies beyond a fault of its own.  A mapping of a descriptor for reading cannot be
 * made writable by mprotect(). */
#include "process/shared.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t page_bytes(unsigned slot)
{
	return slot == SLOT_SUPERVISOR ? sizeof(struct board)
	       : slot == SLOT_LEDGER   ? sizeof(struct ledger_page)
				       : sizeof(struct page);
}

/* ---- reading ---- */

bool shared_is(const struct shared *s, unsigned slot, enum process_kind kind, uint32_t generation)
{
	const struct seat *seat = &s->board->seat[slot];

	return atomic_load(&seat->kind) == (unsigned)kind &&
	       (generation == 0 || atomic_load(&seat->generation) == generation);
}

bool shared_is_serving(const struct shared *s, unsigned slot)
{
	return atomic_load(&s->board->seat[slot].pid) != 0 &&
	       health_is_serving(&s->page[slot]->health);
}

enum kb_err shared_fault(const struct shared *s, unsigned slot)
{
	enum kb_err fault = health_fault(&s->page[slot]->health);

	return fault != KB_OK ? fault : (enum kb_err)atomic_load(&s->board->seat[slot].fault);
}

const struct issuer_fetch *shared_fetch(const struct shared *s, uint32_t generation)
{
	for (unsigned i = SLOT_FIRST; i < PROCESS_SLOTS; i++)
		if (shared_is(s, i, PROCESS_FETCHER, generation))
			return s->page[i]->fetch;
	return NULL;
}

struct issuer_state shared_issuer(const struct shared *s, uint32_t generation, unsigned issuer)
{
	struct issuer_state sum = {.fault = KB_E_ISSUER_UNAVAILABLE};
	bool is_first = true;

	if (issuer >= KB_MAX_ISSUERS)
		return sum;
	for (unsigned i = SLOT_FIRST; i < PROCESS_SLOTS; i++) {
		if (!shared_is(s, i, PROCESS_VAULT, generation) || !shared_is_serving(s, i))
			continue;
		const struct issuer_use *use = &s->page[i]->use[issuer];
		const unsigned fault = atomic_load(&use->fault);
		struct issuer_state one = {.fault = atomic_load(&use->is_in_use) != 0 ? KB_OK
						    : fault > KB_OK && fault < KB_ERR_COUNT
							    ? (enum kb_err)fault
							    : KB_E_ISSUER_UNAVAILABLE,
					   .fetched_s = atomic_load(&use->fetched_s),
					   .keys = atomic_load(&use->keys)};
		/* One without keys says more than one with old keys. */
		if (is_first || (sum.fault == KB_OK && one.fault != KB_OK) ||
		    ((sum.fault == KB_OK) == (one.fault == KB_OK) && one.fetched_s < sum.fetched_s))
			sum = one;
		is_first = false;
	}
	return sum;
}

bool shared_is_pin_refused(const struct shared *s, uint32_t generation)
{
	for (unsigned i = SLOT_FIRST; i < PROCESS_SLOTS; i++)
		if (shared_is(s, i, PROCESS_VAULT, generation) &&
		    atomic_load(&s->page[i]->health.pin_refused) != 0)
			return true;
	return false;
}

/* ---- in a process ---- */

static void *map(int fd, unsigned slot, int protection)
{
	const int sealed = F_SEAL_SHRINK | F_SEAL_GROW;
	const size_t size = page_bytes(slot);
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	/* A file that someone could shrink would make a reader's access a SIGBUS. */
	if (fstat(fd, &st) != 0 || st.st_size != (off_t)size || seals < 0 ||
	    (seals & sealed) != sealed)
		return NULL;
	void *p = mmap(NULL, size, protection, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static void unmap(const void *p, unsigned slot)
{
	union {
		const void *in;
		void *out;
	} page = {.in = p};

	if (p != NULL)
		(void)munmap(page.out, page_bytes(slot));
}

static void set_page(struct shared *s, unsigned slot, const void *p)
{
	s->page[slot] = p;
	if (slot == SLOT_SUPERVISOR)
		s->board = p;
	if (slot == SLOT_LEDGER)
		s->ledger = p;
}

static void unmap_all(struct shared *s)
{
	for (unsigned i = 0; i < PROCESS_SLOTS; i++)
		unmap(s->page[i], i);
	*s = (struct shared){.board = NULL};
}

enum kb_err shared_attach(unsigned slot, int own, int first, struct shared *out, struct page **page)
{
	bool is_good = slot < PROCESS_SLOTS;

	*out = (struct shared){.board = NULL};
	*page = NULL;
	for (unsigned i = 0; i < PROCESS_SLOTS && is_good; i++) {
		set_page(out, i, map(first + (int)i, i, PROT_READ));
		is_good = out->page[i] != NULL;
	}
	if (is_good)
		*page = map(own, slot, PROT_READ | PROT_WRITE);
	/* None may stay open: through /proc/self/fd a descriptor for reading becomes one for
	 * writing. */
	(void)close(own);
	if (close_range((unsigned)first, (unsigned)first + PROCESS_SLOTS - 1, 0) != 0 ||
	    *page == NULL) {
		unmap(*page, slot);
		*page = NULL;
		unmap_all(out);
		return KB_E_SYS;
	}
	return KB_OK;
}

/* ---- in the supervisor ---- */

/* The same file through a new descriptor. */
static int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/* Made, and open for reading from *fd on. */
static bool make(struct shared_host *h, unsigned slot, int least)
{
	int made = memfd_create("keybroker page", MFD_CLOEXEC | MFD_ALLOW_SEALING), low = -1;
	/* Mode 0600: processes that run as another user cannot open it again. */
	bool is_good = made >= 0 && ftruncate(made, (off_t)page_bytes(slot)) == 0 &&
		       fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0 &&
		       fchmod(made, 0600) == 0 && (low = reopen(made, O_RDONLY)) >= 0 &&
		       (h->fd[slot] = fcntl(low, F_DUPFD_CLOEXEC, least)) >= 0;

	if (is_good)
		set_page(&h->all, slot, map(h->fd[slot], slot, PROT_READ));
	if (is_good && slot == SLOT_SUPERVISOR)
		h->board = map(made, slot, PROT_READ | PROT_WRITE);
	if (made >= 0)
		(void)close(made);
	if (low >= 0)
		(void)close(low);
	return h->all.page[slot] != NULL && (slot != SLOT_SUPERVISOR || h->board != NULL);
}

enum kb_err shared_create(struct shared_host *h, int least)
{
	*h = (struct shared_host){.board = NULL};
	for (unsigned i = 0; i < PROCESS_SLOTS; i++)
		h->fd[i] = -1;
	for (unsigned i = 0; i < PROCESS_SLOTS; i++)
		if (!make(h, i, least)) {
			shared_free(h);
			return KB_E_SYS;
		}
	return KB_OK;
}

void shared_free(struct shared_host *h)
{
	unmap_all(&h->all);
	unmap(h->board, SLOT_SUPERVISOR);
	h->board = NULL;
	for (unsigned i = 0; i < PROCESS_SLOTS; i++) {
		if (h->fd[i] >= 0)
			(void)close(h->fd[i]);
		h->fd[i] = -1;
	}
}

static struct seat *seat_of(struct shared_host *h, unsigned slot)
{
	if (slot == SLOT_SUPERVISOR || slot >= PROCESS_SLOTS)
		KB_BUG();
	return &h->board->seat[slot];
}

int shared_open_own(const struct shared_host *h, unsigned slot)
{
	return reopen(h->fd[slot], O_RDWR);
}

/* The first `len` bytes become zero.  Its owner does not run. */
static bool clear(const struct shared_host *h, unsigned slot, size_t len)
{
	int fd = shared_open_own(h, slot);
	bool is_good = fd >= 0 && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
					    (off_t)len) == 0;

	if (fd >= 0)
		(void)close(fd);
	return is_good;
}

int shared_take(struct shared_host *h, enum process_kind kind, uint32_t generation)
{
	const unsigned from = kind == PROCESS_LEDGER ? SLOT_LEDGER : SLOT_FIRST,
		       to = kind == PROCESS_LEDGER ? SLOT_FIRST : PROCESS_SLOTS;

	for (unsigned i = from; i < to; i++) {
		struct seat *seat = seat_of(h, i);
		if (atomic_load(&seat->kind) != PROCESS_NONE)
			continue;
		if (!clear(h, i, page_bytes(i)))
			return -1;
		atomic_store(&seat->pid, 0);
		atomic_store(&seat->fault, KB_OK);
		atomic_store(&seat->generation, generation);
		atomic_store(&seat->kind, kind);
		return (int)i;
	}
	return -1;
}

static void retire(struct shared_host *h, unsigned slot)
{
	const unsigned kind = atomic_load(&seat_of(h, slot)->kind);
	const struct page *page = h->all.page[slot];
	struct retired *to = &h->board->retired[kind];

	stats_retire(&to->stats, &page->stats);
	for (unsigned e = 0; kind == PROCESS_GATEWAY && e < KB_ERR_COUNT; e++)
		atomic_fetch_add(&to->refused[e], stats_read(&page->refused[e]));
}

enum kb_err shared_renew(struct shared_host *h, unsigned slot)
{
	const struct seat *seat = seat_of(h, slot);
	const unsigned kind = atomic_load(&seat->kind);
	/* What the ledger has counted and the fetcher has fetched is still so. */
	const bool keeps = kind == PROCESS_LEDGER || kind == PROCESS_FETCHER;

	if (kind == PROCESS_NONE)
		KB_BUG();
	retire(h, slot);
	return clear(h, slot, keeps ? offsetof(struct page, refused) : page_bytes(slot)) ? KB_OK
											 : KB_E_SYS;
}

void shared_give_back(struct shared_host *h, unsigned slot)
{
	struct seat *seat = seat_of(h, slot);

	if (atomic_load(&seat->kind) == PROCESS_NONE)
		KB_BUG();
	retire(h, slot);
	atomic_store(&seat->kind, PROCESS_NONE);
	atomic_store(&seat->pid, 0);
}
