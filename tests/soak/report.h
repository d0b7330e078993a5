/* tests/soak/report.h — what the soak found, for people and for programs. */
#ifndef KB_TESTS_SOAK_REPORT_H
#define KB_TESTS_SOAK_REPORT_H
#include "tests/soak/soak.h"

enum { MAX_KINDS = 16, MAX_ENDS = 16, MAX_FOUND = 16 };
struct report {
	double capacity, killed_hung;
	struct fault_count {
		unsigned n;
		unsigned long long slowest_ms;
	} fault[MAX_KINDS];
	struct recount ledger;
	struct { /* how processes ended, from the broker's log */
		char what[64];
		unsigned n;
		bool is_bad;
	} end[MAX_ENDS];
	unsigned n_ends, left; /* left: processes after the end */
	unsigned n_found;
	char found[MAX_FOUND]
		  [WHY_BYTES]; /* that a fault did not heal, that a process ended badly, … */
};

void report_fault(struct report *r, const char *why);
void report_ends(struct report *r, const char *log);
/* The table; true when everything holds. */
bool report_print(struct report *r, const struct soak *s);
/* The same as JSON; NULL or why not. */
const char *report_json(const struct report *r, const struct soak *s, const char *path);

#endif
