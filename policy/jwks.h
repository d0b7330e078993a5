/* policy/jwks.h — one issuer's key set (RFC 7517 §5).  Entries that cannot be used are dropped,
 * each with its reason. */
#ifndef KB_POLICY_JWKS_H
#define KB_POLICY_JWKS_H
#include "base/limits.h"
#include "policy/issuer.h"

struct jwks;
struct jwk;
struct pubkey;

struct jwks_drop {      /* an entry that is not used */
	unsigned entry; /* from 0 */
	enum kb_err why;
	size_t kid_len;  /* 0: it has none */
	uint8_t kid[64]; /* its beginning */
};

struct jwks_report { /* kept + dropped + repeated is the number of entries */
	unsigned kept, dropped;
	enum kb_err first_drop; /* why the first one was dropped, KB_OK when none was */
	unsigned repeated;      /* entries that hold a kept key once more */
	unsigned n_drops;       /* of the first ones: */
	struct jwks_drop drops[KB_MAX_JWKS_DROPS];
};
enum { JWKS_REPORT_BYTES = KB_MAX_JWKS_DROPS * (64 * 6 + 48) + 32 };
/* KEY_SIZE of "kid", KEY_TYPE of entry 3 and 2 more: at most JWKS_REPORT_BYTES. */
void jwks_report_text(const struct jwks_report *report, struct buf *out);

/* Parse a JWKS document, at most KB_MAX_JWKS bytes.  KB_E_JSON_*, KB_E_ENCODING, KB_E_JWKS_FORMAT,
 * KB_E_JWKS_COUNT, KB_E_JWKS_EMPTY (no usable key is left).  Dropped: what is no usable key; a key
 * without kid; different usable keys of one kid, all of them (KB_E_JWKS_DUPLICATE).  A document
 * with a private key in it is refused whole: KB_E_KEY_PRIVATE.  On KB_OK *out is the caller's.
 * `report` may be NULL; it is filled as far as the document was read. */
KB_MUST_CHECK enum kb_err jwks_parse(struct span document, struct jwks **out,
				     struct jwks_report *report);
void jwks_free(struct jwks *s);
static inline void jwks_cleanup(struct jwks **s)
{
	jwks_free(*s);
}

size_t jwks_count(const struct jwks *s);
/* Exact match of the kid's bytes; NULL when there is none. */
const struct jwk *jwks_find(const struct jwks *s, struct span kid);
const struct pubkey *jwk_pubkey(const struct jwk *k);
bool jwk_allows(const struct jwk *k, enum kb_alg alg); /* by its `alg` member, if it has one */
struct span jwk_kid(const struct jwk *k);

#endif
