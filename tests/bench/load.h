/* tests/bench/load.h — many guests in one process: non-blocking TLS connections that ask for
 * releases as fast as they are answered. */
#ifndef KB_TESTS_LOAD_H
#define KB_TESTS_LOAD_H
#include "tests/e2e/guest.h"

struct corpus_item {
	EVP_PKEY *key;
	char *request; /* a whole HTTP request */
	size_t len;
};
struct corpus {
	struct corpus_item *item;
	unsigned n;
};
/* `n` RSA-2048 keys from `file`; made first, by one process a core, when it has fewer. */
const char *corpus_keys(struct corpus *c, const char *file, unsigned n);
/* A token each from the issuer (a confidential VM's), as a release of key `name` with `enc`. */
const char *corpus_requests(struct corpus *c, const struct place *issuer,
			    const struct place *broker, const char *name, const char *enc);
char *corpus_token(const struct corpus *c,
		   unsigned item); /* that its request brings; malloc'd, NULL when there is none */
void corpus_free(struct corpus *c);

struct load_plan {
	const struct place *at;
	const struct corpus *corpus;
	const struct expect *want; /* kek is filled in */
	unsigned connections;
	double warm_s, run_s;
	bool is_new_connection; /* one connection a release */
	void (*mark)(void *context,
		     bool is_start); /* called when the measured time begins and ends */
	void *context;
};
struct load_result {
	unsigned long long done, refused; /* in the measured time: status 200, and anything else */
	double seconds, p50_ms, p99_ms, p999_ms, max_ms;
	unsigned checked; /* replies opened and verified to the key, one in a hundred */
	unsigned statuses[600];
	int last_status;
};
const char *load_run(const struct load_plan *plan, struct load_result *out);

/* Open `n` TLS connections and leave them idle. */
struct idle;
const char *idle_open(const struct place *at, unsigned n, struct idle **out);
unsigned idle_alive(struct idle *i); /* how many the server still holds */
void idle_close(struct idle *i);

#endif
