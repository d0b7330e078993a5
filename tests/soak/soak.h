/* tests/soak/soak.h — what the soak's processes share: the plan, one tally a client in shared
 * memory, and what is found at the end. */
#ifndef KB_TESTS_SOAK_H
#define KB_TESTS_SOAK_H
#include <stdatomic.h>
#include <sys/types.h>

#include "tests/e2e/evidence.h"
#include "tests/e2e/harness.h"

/* One request in a hundred is hostile: seven in a thousand of the clients', and three beside them
 * are slow on purpose. */
enum { HOSTILE_PER_MILLION = 7000, SLOW_PER_MILLION = 3000 };
enum { CLIENTS = 12, RETRY_MS = 30000, BUCKETS = 320, WHYS = 4, WHY_BYTES = 200, SLOW_HELD = 24 };

/* Keys of the instance. */
#define KEY_VTPM   "vtpm-state" /* RSA-2048, a platform's token */
#define KEY_DISK   "disk"       /* RSA-3072, a guest's token: the claims are nested */
#define KEY_SECRET "secret"     /* 32 bytes, a container's token */
#define KEY_SPARE  "spare"      /* 32 bytes, the same policy; disabled now and then */
/* 32 bytes, by an issuer whose tokens work once and bring a nonce of the broker's */
#define KEY_ONCE  "once"
#define KEY_BYTES 32

/* Latency in µs, eight buckets to a doubling. */
struct histogram {
	atomic_ullong count[BUCKETS];
};

struct tally {
	atomic_ullong requests, releases, gets, nonces, retries, connections, attestations;
	atomic_ullong
		lost; /* not succeeded RETRY_MS after the first attempt, or refused for good */
	atomic_ullong wrong_keys; /* a 200 that does not open to the very key */
	/* refused because the key was disabled; attested again because the first reply was lost */
	atomic_ullong disabled, reattested;
	/* requests; not judged, because the broker was busy or gone; not answered as they must
	 * be */
	atomic_ullong hostile, hostile_open, hostile_wrong;
	struct histogram quiet, faults; /* first attempt to success */
	char why[WHYS][WHY_BYTES];
	atomic_uint n_why;
};

/* In shared memory: a process's growth, judged at the end. */
struct growth {
	char process[16];
	pid_t pid;
	double seconds, kib, floor_kib, kib_per_hour, error_kib_per_hour, descriptors,
		descriptors_per_hour;
	long rss_kib;
	bool is_judged, is_good;
};
enum { GROWTHS = 12 };

struct shared {
	atomic_bool stop, is_paced, is_hostile, is_spare_off;
	atomic_uint fault;         /* odd while one is under way */
	atomic_ullong interval_us; /* of one client, when paced */
	char fault_name[32];
	struct tally client[CLIENTS + 1]; /* the last: slow clients */
	struct growth growth[GROWTHS];
	atomic_uint n_growth;
	bool is_watch_done, are_descriptors_seen;
};

/* What the processes know from before the fork. */
struct soak {
	struct instance in, once; /* once: only its issuer counts */
	EVP_PKEY *vtpm, *disk;
	uint8_t secret[KEY_BYTES], spare[KEY_BYTES], used_once[KEY_BYTES];
	unsigned long long seed, seconds,
		tail_s;             /* tail: at the end, when no process is replaced */
	unsigned long long from_ms; /* of the load */
	struct shared *all;
};

/* A generator of its own for each process, so that one's timing does not change another's choices
 * (splitmix64). */
struct dice {
	unsigned long long state;
};
unsigned long long dice_roll(struct dice *d, unsigned long long sides); /* 0 … sides−1 */

void tally_why(struct tally *t, const char *what,
	       const char *why); /* keep the first few sentences */
void histogram_add(struct histogram *h, unsigned long long us);
double histogram_ms(const struct histogram *const h[], unsigned n,
		    double share); /* upper edge of the bucket; 0 when empty */
unsigned long long now_us(void);

/* One client, for ever until stop: exits 0.  Request ids with the code that the ledger must have go
 * to `ids`. */
void client_run(struct soak *s, unsigned index, const char *ids);
/* Clients that are slow on purpose. */
void slow_run(struct soak *s);

/* Every second what each process uses, every ten a line; at the end shared->growth. */
void watch_run(struct soak *s);

/* A fault: makes it, undoes it, and waits until all processes are back.  NULL, or what did not
 * work. */
struct fault {
	const char *name;
	const char *(*run)(struct soak *s, struct dice *d);
	bool is_gentle; /* replaces no process */
};
extern const struct fault fault_table[];
extern const unsigned fault_count;
const char *fault_heal(struct soak *s, unsigned ms); /* all processes there and ready */

/* The ledger against the clients' files: memory is bounded, whatever their size. */
enum { CODES = 64 };
struct recount {
	unsigned long long ids, records, released, refused,
		unseen; /* unseen: released, and no client got the reply */
	unsigned long long missing, repeated, other_code, delivered_twice,
		used_twice; /* all must be 0 */
	unsigned n_codes;
	struct {
		char name[32];
		unsigned long long n;
		bool is_expected;
	} code[CODES];
	char first[WHY_BYTES]; /* the first fault found */
};
const char *recount(struct soak *s, unsigned n_files, struct recount *out);
void ids_path(const struct soak *s, unsigned index, char *path, size_t size);

#endif
