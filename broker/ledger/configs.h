/* broker/ledger/configs.h — which configurations were in force, as the ledger tells it: so that an
 * old one that comes back (a restored directory, a policy undone) is seen for what it is.  Held by
 * the ledger process; the list stands in each segment's first line and so survives everything the
 * ledger survives. */
#ifndef KB_LEDGER_CONFIGS_H
#define KB_LEDGER_CONFIGS_H
#include "base/bytes.h"
#include "base/limits.h"

enum {
	CONFIG_DIGEST = 16
}; /* hex digits of a configuration's digest that are kept: as many as a record of a release has */

struct configs { /* the one in force is the last; zeroed: none */
	struct config_seen {
		char digest[CONFIG_DIGEST + 1];
		uint64_t seq;      /* of the record in which it was last taken up */
		uint64_t returned; /* of the record in which it was taken up before others followed;
				      0: it never went and came back */
	} seen[KB_LEDGER_CONFIGS];
	size_t n;
};

/* A configuration is taken up in record `seq`.  0: it is new, or was in force already; else it was
 * in force before others, last taken up in that record. Beyond KB_LEDGER_CONFIGS different ones the
 * oldest is forgotten. */
uint64_t configs_take(struct configs *c, struct span digest, uint64_t seq);
/* The list as text, and back: what a reader cannot make out is left out. */
void configs_write(const struct configs *c, struct buf *b);
void configs_read(struct configs *c, struct span text);

#endif
