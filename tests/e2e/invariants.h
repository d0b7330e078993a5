/* tests/e2e/invariants.h — the seven things that hold after every attack and every fault:
 * - I1: a reply that carries a key has an earlier durable record
 * - I2: the HSM worked only for requests that were granted a key
 * - I3: PIN and key bytes are in no log, ledger or reply, nor in the memory of gateway, ledger and
 *   fetcher
 * - I4: a good request succeeds in less than a second
 * - I5: memory and descriptors are as before, within 10 s
 * - I6: no sanitizer's report and no line of KB_BUG() in the log
 * - I7: the ledger verifies */
#ifndef KB_TESTS_INVARIANTS_H
#define KB_TESTS_INVARIANTS_H
#include "tests/e2e/harness.h"

/* A release that must succeed, now and after every attack. */
struct good {
	struct ask ask;
	struct expect want;
	const uint8_t *plain;
	size_t plain_len;
};

/* Once the broker is ready: warms it up, then takes the measures.  Borrows `g` for ever.  May be
 * called again, after a start with another configuration. */
const char *invariants_begin(struct instance *in, const struct good *g);
/* NULL, or which of the seven does not hold.  Waits up to 10 s for what may take that long. */
const char *invariants_hold(struct instance *in);
/* As many descriptors of that process are no more than before: what it may hold by design changes
 * from one moment to the next. */
void invariants_allow(const char *process, unsigned fds);
/* One more secret to look for (a PIN, key bytes), borrowed; and a reply that was received: its head
 * and body are searched, and its key, if any, must have its record. */
void invariants_secret(const void *bytes, size_t len);
const char *invariants_reply(struct instance *in, const struct reply *r);

/* Is one of the secrets in these bytes, as they are, as hexadecimal digits or as base64url?  NULL:
 * none. */
const char *invariants_search(const void *bytes, size_t len);

#endif
