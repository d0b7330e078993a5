/* broker/process/keyset.h — state/issuers/NAME.ORIGIN.keys: the key set cache of an issuer, written
 * by the fetcher, read by the vaults.  The first line is JSON: the set's origin, its times, its
 * digest. After it come the bytes of the JWKS document.  Beside it are NAME.ORIGIN.attempt and
 * NAME.ORIGIN.refresh (attempt.h). */
#ifndef KB_PROCESS_KEYSET_H
#define KB_PROCESS_KEYSET_H
#include "base/bytes.h"

/* Which issuer's keys, and from where; config_origin() makes it from the configuration.  The name
 * of an issuer file is only a label, and the operator may give it to another issuer: a set is valid
 * for its origin only.  Texts are borrowed. */
struct keyset_origin {
	const char *issuer;    /* the `iss` that the keys speak for */
	const char *source;    /* "discovery", "jwks_uri" or, never in a file, "jwks_file" */
	const char *url;       /* jwks_uri, or the issuer whose metadata are fetched */
	const char *addresses; /* that may have been connected to: "public" or "private" */
	const char *proxy;     /* its URL, or "none" */
	char ca[65];           /* hex SHA-256 of the CA file; of zero bytes for the system's CAs */
	char id[65];           /* hex SHA-256 of all the above */
};
/* `anchor`: the bytes of the CA file; for a jwks_file, of the document. */
void keyset_origin_make(struct keyset_origin *out, const char *issuer, const char *source,
			const char *url, const char *addresses, const char *proxy,
			struct span anchor);
/* DIR/issuers/NAME.ORIGIN.KIND; KB_E_FILE when it is too long. */
enum { KEYSET_PATH = 4096 };
KB_MUST_CHECK enum kb_err keyset_path(char out[static KEYSET_PATH], const char *state_dir,
				      const char *name, const struct keyset_origin *origin,
				      const char *kind);
/* Open a file of state/issuers that the fetcher wrote; *size at most `max`.  KB_E_FILE,
 * KB_E_FILE_MODE, KB_E_FILE_SIZE. */
KB_MUST_CHECK enum kb_err keyset_open(const char *path, const char *state_dir, size_t max, int *fd,
				      size_t *size);

struct keyset {
	int64_t fetched_s; /* wall clock: when it was fetched and checked */
	int64_t fresh_until_s;
	struct span document; /* into `bytes` */
	struct buf bytes;
};
/* Replace atomically (base/file.h).  `state_dir` is config->state_dir; its subdirectory is created
 * when missing.  Each origin has a file of its own: during a reload, the fetchers of the old and
 * the new configuration do not overwrite each other's set.  KB_E_FILE, KB_E_FILE_SIZE,
 * KB_E_NOMEM. */
KB_MUST_CHECK enum kb_err keyset_write(const char *state_dir, const char *name,
				       const struct keyset_origin *origin, int64_t fetched_s,
				       int64_t fresh_until_s, struct span document);
/* KB_E_FILE when there is none; KB_E_KEYSET_ORIGIN when its head has another origin, or none (as
 * older versions wrote it); KB_E_FETCH_CONTENT when its digest is wrong; KB_E_FILE_MODE,
 * KB_E_FILE_SIZE, KB_E_JSON_*.  On KB_OK the caller owns k->bytes: keyset_free(). */
KB_MUST_CHECK enum kb_err keyset_read(const char *state_dir, const char *name,
				      const struct keyset_origin *origin, struct keyset *k);
void keyset_free(struct keyset *k);
/* Whether a set of this age may be used: the one place that decides it.  KB_E_KEYSET_STALE,
 * KB_E_KEYSET_AHEAD.  *age_s is 0 when there is none. */
KB_MUST_CHECK enum kb_err keyset_age(int64_t fetched_s, int64_t now_s, int64_t max_stale_s,
				     int64_t *age_s);
/* A number that tells this file from one that replaces it; never 0. */
struct stat;
uint64_t keyset_mark(const struct stat *st);
/* A number that changes when the file is replaced; 0 when there is none. */
uint64_t keyset_stamp(const char *state_dir, const char *name, const struct keyset_origin *origin);
/* A file of state/issuers: NAME and ORIGIN of one of the configuration's issuers are in use. */
struct keyset_file {
	const char *name;
	const struct keyset_origin *origin;
};
/* Remove what nobody will read again: files of other issuers and origins, also as older versions
 * named them, and temporary files of writers that died.  Only names that this broker makes, and
 * only when they are older than KB_KEYSET_SWEEP_S: another generation, which runs at the same time,
 * has issuers of its own.  Returns their number. */
unsigned keyset_sweep(const char *state_dir, const struct keyset_file *used, size_t n,
		      int64_t now_s);

#endif
