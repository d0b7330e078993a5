/* broker/config/snapshot_priv.h — the table of a snapshot; between snapshot.c and
 * snapshot_archive.c. */
#ifndef KB_CONFIG_SNAPSHOT_PRIV_H
#define KB_CONFIG_SNAPSHOT_PRIV_H
#include <limits.h>

#include "base/file.h"
#include "config/snapshot.h"

enum kind { KIND_FILE = 1, KIND_LIST = 2 };

/* A file's bytes, or a directory's listing: its names, each with its NUL.  A listing's key is its
 * directory, "//" and the suffix. */
struct snapshot_entry {
	char *key;
	enum kind kind;
	bool is_private;
	unsigned parts;
	struct span data;
	uint8_t *owned;     /* data's memory, NULL when it is the archive's */
	const char **names; /* of a listing */
};

struct snapshot {
	struct snapshot_entry **entry; /* sorted by key */
	size_t n, cap;
	uint8_t *map; /* the archive, NULL for files */
	size_t map_len;
	uint8_t digest[32]; /* of an archive */
	char why[FILE_WHY];
	struct file_trust trust;
	bool is_as_service;
	char above[PATH_MAX]; /* the last directory that was found good, */
	int above_fd;         /* and a descriptor of it; -1: none */
};

KB_MUST_CHECK enum kb_err snapshot_entry_new(struct span key, enum kind kind, unsigned parts,
					     struct snapshot_entry **out);
void snapshot_entry_cleanup(struct snapshot_entry **e); /* KB_AUTO(snapshot_entry) */
/* Index the NUL-terminated names in a listing's data. */
KB_MUST_CHECK enum kb_err snapshot_entry_names(struct snapshot_entry *e);
/* Takes `e` over on KB_OK. */
KB_MUST_CHECK enum kb_err snapshot_insert(struct snapshot *s, size_t index,
					  struct snapshot_entry *e);

#endif
