/* broker/process/keyset.h — state/issuers/NAME.ORIGIN.keys: the last good key set of an issuer,
 * written by the fetcher, read by the vaults. First line: JSON with whose set it is, where it came
 * from, and times; then the JWKS document's bytes as they came. */
#ifndef KB_PROCESS_KEYSET_H
#define KB_PROCESS_KEYSET_H
#include "base/bytes.h"

/* Whose keys they are and where they come from, as the configuration says: config_origin() makes
 * it.  The name of an issuer is a label that the operator may give to another issuer; a set is good
 * for its origin only.  Text is borrowed. */
struct keyset_origin {
	const char *issuer; /* the `iss` that the keys speak for */
	const char *source; /* "discovery", "jwks_uri" or, never in a file, "jwks_file" */
	const char *url;    /* jwks_uri, or the issuer that the metadata are asked of */
	char ca[65];        /* hex SHA-256 of the CA file's bytes; of no bytes: the system's CAs */
	char id[65];        /* hex SHA-256 of all the above */
};
/* `anchor`: the CA file's bytes; of a jwks_file, the document's. */
void keyset_origin_make(struct keyset_origin *out, const char *issuer, const char *source,
			const char *url, struct span anchor);

struct keyset {
	int64_t fetched_s; /* wall clock: when it was fetched and found good */
	int64_t fresh_until_s;
	struct span document; /* into `bytes` */
	struct buf bytes;
};
/* Replace atomically (temporary file, fsync, rename).  `state_dir` is config->state_dir; its
 * subdirectory is made when it is not there.  Each origin has a file of its own: while generations
 * change, the fetcher of the old configuration cannot overwrite what the new one has fetched, or
 * the reverse. KB_E_FILE, KB_E_FILE_SIZE, KB_E_NOMEM. */
KB_MUST_CHECK enum kb_err keyset_write(const char *state_dir, const char *name,
				       const struct keyset_origin *origin, int64_t fetched_s,
				       int64_t fresh_until_s, struct span document);
/* KB_E_FILE when there is none; KB_E_KEYSET_ORIGIN when its head names another origin or, as older
 * versions wrote it, none; KB_E_FILE_MODE, KB_E_FILE_SIZE, KB_E_JSON_*, KB_E_FETCH_CONTENT (its
 * digest is wrong). On KB_OK the caller owns k->bytes: keyset_free(). */
KB_MUST_CHECK enum kb_err keyset_read(const char *state_dir, const char *name,
				      const struct keyset_origin *origin, struct keyset *k);
void keyset_free(struct keyset *k);
/* Changes whenever the file was replaced: device, inode, mtime.  0 when there is none. */
uint64_t keyset_stamp(const char *state_dir, const char *name, const struct keyset_origin *origin);
/* Remove NAME.keys, which older versions wrote and nobody reads: it does not say whose set it
 * holds.  True when there was one. */
bool keyset_drop_old(const char *state_dir, const char *name);

#endif
