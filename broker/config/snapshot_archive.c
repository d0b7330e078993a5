/* broker/config/snapshot_archive.c — a snapshot as a sealed memfd, packed by the supervisor and
 * read by the other processes.  Trusts the kernel's seals, and still checks every length. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "config/snapshot_priv.h"

/* The archive: this head, then entries in order of key.  Native byte order: it is memory of this
 * machine and of this run. */
struct archive_head {
	char magic[8];
	uint64_t total; /* bytes, head and all */
	uint8_t digest[32];
};
struct archive_entry { /* then key and data, without padding */
	uint32_t kind, key_len;
	uint64_t data_len;
};
static const char archive_magic[8] = "KBCONF1";
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static struct archive_entry head_of(const struct snapshot_entry *e)
{
	return (struct archive_entry){(uint32_t)e->kind, (uint32_t)strlen(e->key), e->data.len};
}

void snapshot_digest(const struct snapshot *s, uint8_t out[static 32])
{
	if (s->map != NULL) {
		memcpy(out, s->digest, 32);
		return;
	}
	struct digest d;
	digest_begin(&d);
	for (size_t i = 0; i < s->n; i++) {
		const struct snapshot_entry *e = s->entry[i];
		struct archive_entry head =
			head_of(e); /* lengths first: no two sets of files give the same bytes */
		digest_add(&d, span_of(&head, sizeof head));
		digest_add(&d, span_of(e->key, head.key_len));
		digest_add(&d, span_of(e->data.p, e->data.len));
	}
	digest_end(&d, out);
}

enum kb_err snapshot_pack(const struct snapshot *s, unsigned parts, int *out)
{
	struct archive_head head = {.total = sizeof head};
	KB_AUTO(fd) int fd = memfd_create("keybroker-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	*out = -1;
	if (fd < 0)
		return KB_E_SYS;
	memcpy(head.magic, archive_magic, sizeof head.magic);
	snapshot_digest(s, head.digest);
	for (size_t i = 0; i < s->n; i++)
		if ((s->entry[i]->parts & parts) != 0)
			head.total += sizeof(struct archive_entry) + strlen(s->entry[i]->key) +
				      s->entry[i]->data.len;
	if (file_write(fd, span_of(&head, sizeof head)) != KB_OK)
		return KB_E_SYS;
	for (size_t i = 0; i < s->n; i++) {
		const struct snapshot_entry *e = s->entry[i];
		struct archive_entry h = head_of(e);
		if ((e->parts & parts) == 0)
			continue;
		if (file_write(fd, span_of(&h, sizeof h)) != KB_OK ||
		    file_write(fd, span_of(e->key, h.key_len)) != KB_OK ||
		    file_write(fd, e->data) != KB_OK)
			return KB_E_SYS;
	}
	if (fcntl(fd, F_ADD_SEALS, SEALS) != 0)
		return KB_E_SYS;
	*out = fd;
	fd = -1; /* NOLINT(clang-analyzer-deadcode.DeadStores): the cleanup attribute reads it */
	return KB_OK;
}

/* Check every length against what is left.  Keys must ascend: the table is searched by halves. */
static enum kb_err index_archive(struct snapshot *s)
{
	enum kb_err err;
	struct archive_head head;
	struct span left = span_of(s->map, s->map_len);

	memcpy(&head, left.p, sizeof head);
	if (memcmp(head.magic, archive_magic, sizeof head.magic) != 0 || head.total != s->map_len)
		return KB_E_FILE;
	memcpy(s->digest, head.digest, sizeof s->digest);
	left = span_sub(left, sizeof head, left.len);
	while (left.len > 0) {
		struct archive_entry h;
		if (left.len < sizeof h)
			return KB_E_FILE;
		memcpy(&h, left.p, sizeof h);
		left = span_sub(left, sizeof h, left.len);
		if ((h.kind != KIND_FILE && h.kind != KIND_LIST) || h.key_len > left.len ||
		    h.data_len > left.len - h.key_len)
			return KB_E_FILE;
		KB_AUTO(snapshot_entry) struct snapshot_entry *e = NULL;
		if ((err = snapshot_entry_new(span_sub(left, 0, h.key_len), (enum kind)h.kind, ~0U,
					      &e)) != KB_OK)
			return err;
		e->data = span_sub(left, h.key_len, (size_t)h.data_len);
		left = span_sub(left, h.key_len + (size_t)h.data_len, left.len);
		if (s->n > 0 && strcmp(s->entry[s->n - 1]->key, e->key) >= 0)
			return KB_E_FILE;
		if (e->kind == KIND_LIST && (err = snapshot_entry_names(e)) != KB_OK)
			return err;
		if ((err = snapshot_insert(s, s->n, e)) != KB_OK)
			return err;
		e = NULL;
	}
	return KB_OK;
}

enum kb_err snapshot_archive(int fd, struct snapshot **out)
{
	enum kb_err err;
	struct stat st;

	*out = NULL;
	/* Without the seals its maker could change it while it is used. */
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SEALS) != SEALS || fd_stat(fd, &st) != 0 ||
	    (uint64_t)st.st_size < sizeof(struct archive_head))
		return KB_E_FILE;
	KB_AUTO(snapshot) struct snapshot *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KB_E_NOMEM;
	s->above_fd = -1;
	s->map_len = (size_t)st.st_size;
	void *map = mmap(NULL, s->map_len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return KB_E_SYS;
	s->map = map;
	if ((err = index_archive(s)) != KB_OK)
		return err;
	*out = s;
	s = NULL;
	return KB_OK;
}
