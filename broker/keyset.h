/* broker/keyset.h — state/issuers/NAME.keys: the last good key set of an issuer, written by the fetcher, read by the vaults.
 * First line: JSON with times; then the JWKS document's bytes as they came. */
#ifndef KB_BROKER_KEYSET_H
#define KB_BROKER_KEYSET_H
#include "base/bytes.h"

struct keyset {
	int64_t fetched_s; /* wall clock: when it was fetched and found good */
	int64_t fresh_until_s;
	struct span document; /* into `bytes` */
	struct buf bytes;
};
/* Replace atomically (temporary file, fsync, rename).  `state_dir` is config->state_dir; its subdirectory is made when it is not there.
 * KB_E_FILE, KB_E_FILE_SIZE, KB_E_NOMEM. */
KB_MUST_CHECK enum kb_err keyset_write(const char *state_dir, const char *name, int64_t fetched_s, int64_t fresh_until_s, struct span document);
/* KB_E_FILE when there is none; KB_E_FILE_MODE, KB_E_FILE_SIZE, KB_E_JSON_*, KB_E_FETCH_CONTENT (its digest is wrong).
 * On KB_OK the caller owns k->bytes: keyset_free(). */
KB_MUST_CHECK enum kb_err keyset_read(const char *state_dir, const char *name, struct keyset *k);
void keyset_free(struct keyset *k);
/* Changes whenever the file was replaced: device, inode, mtime.  0 when there is none. */
uint64_t keyset_stamp(const char *state_dir, const char *name);

#endif
