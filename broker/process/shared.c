/* broker/process/shared.c — makes, maps and divides the shared memory.  Any process can write any
 * byte of it, so readers check indices and bound text. */
#include "process/shared.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint64_t magic = 0x6b62736831303031; /* "kbsh1001" */

enum kb_err shared_create(int *fd, struct shared **out)
{
	*out = NULL;
	*fd = memfd_create("keybroker shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return KB_E_SYS;
	/* Sealed against shrinking, or one process could make another's access a SIGBUS. */
	if (ftruncate(*fd, sizeof(struct shared)) != 0 ||
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		goto fail;
	struct shared *shared =
		mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (shared == MAP_FAILED)
		goto fail;
	shared->magic = magic;
	shared->size = sizeof *shared;
	*out = shared;
	return KB_OK;
fail:
	close(*fd);
	*fd = -1;
	return KB_E_SYS;
}

enum kb_err shared_attach(int fd, struct shared **out)
{
	struct stat st;

	*out = NULL;
	if (fstat(fd, &st) != 0 || st.st_size != (off_t)sizeof(struct shared))
		return KB_E_SYS;
	struct shared *shared =
		mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		return KB_E_SYS;
	if (shared->magic != magic || shared->size != sizeof *shared) {
		munmap(shared, sizeof *shared);
		return KB_E_SYS;
	}
	*out = shared;
	return KB_OK;
}

int shared_take(struct shared *shared, enum process_kind kind, uint32_t generation)
{
	for (int i = 0; i < PROCESS_SLOTS; i++) {
		struct process_health *h = &shared->health.process[i];
		if (atomic_load(&h->kind) != PROCESS_NONE)
			continue;
		memset(h, 0, sizeof *h);
		stats_start(&shared->stats, (unsigned)i, kind);
		atomic_store(&h->generation, generation);
		atomic_store(&h->state, HEALTH_STARTING);
		atomic_store(&h->kind, kind);
		return i;
	}
	return -1;
}

void shared_give_back(struct shared *shared, unsigned index)
{
	if (index >= PROCESS_SLOTS)
		KB_BUG();
	stats_retire(&shared->stats, index);
	memset(&shared->health.process[index], 0, sizeof shared->health.process[index]);
}
