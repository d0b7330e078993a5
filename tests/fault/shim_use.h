/* tests/fault/shim_use.h — the test's side of storage_shim.h: a broker under the shim, rules for
 * it, load on it, and the power cut. Functions return NULL, or what went wrong. */
#ifndef KB_TESTS_SHIM_USE_H
#define KB_TESTS_SHIM_USE_H
#include "tests/e2e/harness.h"
#include "tests/fault/storage_shim.h"

extern struct shim *shim;

/* A block for this instance, beside it.  shim_free() before instance_free(). */
const char *shim_make(struct instance *in);
void shim_free(void);
/* As broker_start() and broker_start_unready(), under the shim. */
const char *shim_start(struct instance *in);
const char *shim_start_unready(struct instance *in);

/* From now on: after `skip` calls of this kind in these processes, `times` of them (−1: all) meet
 * `what`. */
struct shim_rule *shim_arm(uint32_t processes, uint32_t calls, enum shim_what what, int number,
			   int skip, int times);
/* The same, but counting begins with the next message that comes into the process. */
struct shim_rule *shim_arm_asleep(uint32_t processes, uint32_t calls, enum shim_what what,
				  int skip);
bool shim_has_acted(const struct shim_rule *r, unsigned ms);
void shim_disarm(void);

/* kill -9 of all processes of the broker at once: none of them writes another byte. */
void shim_kill_all(struct instance *in);
/* After that: what the disk would hold had the power gone.  Of what was not synced a random part is
 * there, part of it garbled, and new names may not be. */
const char *shim_power_cut(struct instance *in, unsigned *seed);
const char *shim_cut(struct instance *in, const char *dir,
		     unsigned *seed); /* the same to a copy of the ledger's directory */
/* Bytes of the newest segment that no power cut can take; its file's size. */
const char *shim_newest(struct instance *in, char path[static 256], int64_t *stable, int64_t *size);

/* ---- load from other processes, all asking for one release over and over; successes are kept by
 * request id ---- */

enum { LOAD_IDS = 8192, LOAD_MOST = 8 };
struct load {
	_Atomic uint32_t released, refused, lost; /* status 200; another status; no answer */
	_Atomic uint32_t stop, n_ids;
	char id[LOAD_IDS][40];
	char why[160];
	pid_t pid[LOAD_MOST];
	unsigned n;
};
struct load *load_start(const struct place *at, const struct ask *a, unsigned n);
/* Ends it and says whether every success has its record (I1). */
const char *load_end(struct instance *in, struct load *l);
const char *load_waits(struct load *l, unsigned more,
		       unsigned ms); /* until that many more were released */

#endif
