/* tests/bench/fleet.h — many guests that boot: each comes from an address, on a connection of its
 * own, for its keys; with Retry-After, it comes back. */
#ifndef KB_TESTS_FLEET_H
#define KB_TESTS_FLEET_H
#include <sys/queue.h>

#include "tests/e2e/guest.h"

enum { FLEET_KEYS = 2 };

struct fleet_guest {
	const char *token;   /* borrowed, like the key */
	EVP_PKEY *key;       /* its ephemeral one */
	uint32_t address;    /* it comes from, host byte order, within 127/8 */
	double arrive_s;     /* after the start, less than 8 */
	double boot_ms;      /* out: from its arrival to its last key; 0: it never booted */
	double tls_ms;       /* out: from its arrival to its (last) handshake */
	unsigned n_attempts; /* out: connections */

	/* The fleet's own. */
	TAILQ_ENTRY(fleet_guest) link; /* while it waits */
	unsigned n_released;
	bool is_sent;
	int fd;
	SSL *ssl; /* NULL: not connected */
	size_t in_len;
	char *in;
};

struct fleet_plan {
	const struct place *at;
	const char *key[FLEET_KEYS], *enc; /* asked for one after the other */
	const struct expect *want;         /* name and kek are filled in */
	double limit_s;                    /* a guest that has not booted by then has failed */
};
struct fleet_result {
	unsigned booted, failed;
	/* connections refused or closed before TLS stood; 429 and 503; closed later. A retry
	 * follows each */
	unsigned long long turned_away, busy, lost;
	unsigned long long connections, handshakes;
	/* replies opened and verified to the key: those of every hundredth guest, after the last
	 * boot */
	unsigned checked;
	int bad_status;   /* the last that a guest takes as final; 0: none */
	double seconds;   /* until the last has booted */
	double client_us; /* processor time of this process */
};
/* Boot them all.  NULL, or what went wrong with the load itself or with a reply that was opened. */
const char *fleet_run(const struct fleet_plan *plan, struct fleet_guest *guests, unsigned n,
		      struct fleet_result *out);
/* The boot time that `share` (0 … 1) of the guests did not exceed, ms; −1 when one of those never
 * booted. */
double fleet_quantile(const struct fleet_guest *guests, unsigned n, double share);

#endif
