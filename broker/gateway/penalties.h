/* broker/gateway/penalties.h — penalties of source addresses, as OpenSSH's PerSourcePenalties: each
 * refused call, failed handshake or wrong credential adds time to its source's penalty, and time
 * takes it away.  A source whose penalty reaches the threshold is blocked until it has passed.  A
 * release takes the penalty away and trusts the source for a while: many guests may share an
 * address (NAT), and one that fails must not lock out the others.  Bounded memory, no clock. */
#ifndef KB_GATEWAY_PENALTIES_H
#define KB_GATEWAY_PENALTIES_H
#include "base/source.h"

struct penalty_config;
struct penalties;

/* `sources` are remembered, at least 8.  Borrows the configuration's networks until
 * penalties_free().  NULL on no memory. */
struct penalties *penalties_new(const struct penalty_config *config, size_t sources);
void penalties_free(struct penalties *p); /* NULL is fine */
static inline void penalties_cleanup(struct penalties **p)
{
	penalties_free(*p);
}

/* How long the source is blocked from now on; 0: it is not. */
int64_t penalties_blocked_ms(const struct penalties *p, const struct source_address *a,
			     int64_t now_ms);
/* A failure of the source.  True: it is blocked from now on. */
bool penalties_fail(struct penalties *p, const struct source_address *a, int64_t now_ms);
/* A key was released to the source. */
void penalties_release(struct penalties *p, const struct source_address *a, int64_t now_ms);

#endif
