/* tests/bench/measure.h — what the processes of a running broker use, and the floor that it is
 * compared with. */
#ifndef KB_TESTS_MEASURE_H
#define KB_TESTS_MEASURE_H
#include "tests/e2e/harness.h"

enum { PROCESSES = 16, FLOOR_PARTS = 6 };
#define FLOOR_TOKEN "bench-token" /* in the instance's directory */

struct process_use {
	pid_t pid;
	char name[24];
	double before_us, after_us;
	long rss_kib, peak_kib; /* resident now, and the most there ever was */
};
struct processes {
	struct instance *in;
	struct process_use process[PROCESSES];
	unsigned n;
};
void processes_mark(
	void *context,
	bool is_start); /* a struct processes with its instance: note what was used so far */
double processes_us(const struct processes *r,
		    const char *name); /* processor time between the two marks; NULL: all */
/* processes that ended in between: their time is missing from the sum */
unsigned processes_lost(const struct processes *r);
long rss_kib(pid_t pid);

extern const char *const floor_part[FLOOR_PARTS];
struct floor { /* µs of CPU */
	double release, handshake, parts[FLOOR_PARTS];
	unsigned n; /* releases it was measured with */
};
/* Keep a token, and the issuer's certificate that verifies it, where the floor finds them. */
const char *floor_token(struct instance *in, const char *token);
/* Releases of `key` for so long.  `is_crowded`: a second one runs beside it, because two busy
 * threads of one core slow each other down, and under load the workers are such threads. */
const char *floor_run(struct instance *in, const char *key, double seconds, bool is_crowded,
		      struct floor *f);
/* The same while something else runs, on the same processors at the same time: ten releases and
 * five handshakes every half second.  No parts. */
struct floor_beside {
	pid_t pid;
	int out;
};
const char *floor_beside(struct instance *in, const char *key, struct floor_beside *b);
const char *floor_beside_end(struct floor_beside *b, struct floor *f);

#endif
