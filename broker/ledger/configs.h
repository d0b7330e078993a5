/* broker/ledger/configs.h — which configurations were in force, so that an old one that comes back
 * (a restored directory, a reverted policy) is noticed.  Each segment's first line holds the
 * list. */
#ifndef KB_LEDGER_CONFIGS_H
#define KB_LEDGER_CONFIGS_H
#include "base/bytes.h"
#include "base/limits.h"

enum { CONFIG_DIGEST = 16 }; /* hex digits of a digest, as many as a release's record has */

struct configs { /* the one in force is the last; zeroed: none */
	struct config_seen {
		char digest[CONFIG_DIGEST + 1];
		uint64_t seq;      /* of the record in which it was last taken up */
		uint64_t returned; /* 0, or the record in which it was taken up the time before */
	} seen[KB_LEDGER_CONFIGS];
	size_t n;
};

/* A configuration is taken up in record `seq`.  0: it is new, or is in force already.  Otherwise it
 * comes back after others, and was taken up before in the record returned.  The list holds
 * KB_LEDGER_CONFIGS; a new one replaces the oldest. */
uint64_t configs_take(struct configs *c, struct span digest, uint64_t seq);
/* The list as text, and back.  Entries that are not well-formed are skipped. */
void configs_write(const struct configs *c, struct buf *b);
void configs_read(struct configs *c, struct span text);

#endif
