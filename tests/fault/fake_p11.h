/* tests/fault/fake_p11.h — the script of the fake PKCS#11 module: a file beside the module
 * (MODULE.control), mapped by the module in every vault and by the test.  Counts are of all
 * processes together. */
#ifndef KB_TESTS_FAKE_P11_H
#define KB_TESTS_FAKE_P11_H
#include <stdatomic.h>
#include <stdint.h>

#include "tests/fault/p11_calls.h"

enum fake_call {
#define X(call, params, args) FAKE_##call,
	P11_CALLS(X) P11_LIFE_CALLS(X)
#undef X
		FAKE_CALLS,
	FAKE_ANY = FAKE_CALLS /* in a rule: every call */
};

enum fake_act {
	FAKE_NOTHING,
	FAKE_RETURN, /* `value` instead of the call */
	FAKE_AFTER,  /* the call, and then `value` all the same */
	FAKE_HANG,   /* until the rule is taken back, then the call */
	FAKE_SLOW,   /* `value` milliseconds, then the call */
	FAKE_ABORT,
	FAKE_SEGV,
	FAKE_EXIT,
	FAKE_KILL, /* the call, then SIGKILL to itself: the work is done and no answer comes */
	/* C_WrapKey and C_Sign: the call, and then something else in the place of its output */
	FAKE_LEN_ZERO,
	FAKE_LEN_BEYOND, /* longer than the buffer */
	FAKE_LEN_SHORT,  /* 8 less than it is */
	FAKE_LEN_LONG,   /* 8 more than it is */
	FAKE_ZEROS,
	FAKE_FLIP,   /* one bit of it */
	FAKE_REPEAT, /* what the call before gave */
	FAKE_LOSE,   /* every session of the process is closed, then the call */
	FAKE_FLAGS,  /* C_GetTokenInfo: these flags as well */
};

struct fake_rule {
	_Atomic uint32_t armed; /* set last */
	uint32_t call, act;
	uint64_t skip, times; /* after so many calls, for so many */
	uint64_t value;
	_Atomic uint64_t seen, hits;
};

enum { FAKE_RULES = 8, FAKE_MAGIC = 0x6b62f4e1 };
struct fake_control {
	uint32_t magic;
	char real[256]; /* the module that does the work */
	_Atomic uint64_t calls[FAKE_CALLS];
	struct fake_rule rule[FAKE_RULES];
	/* after each C_Sign, the last call of a release, when `census` is set */
	_Atomic uint32_t census;
	_Atomic uint64_t censuses, max_sessions, max_session_objects;
	/* FIPS mode: C_CreateObject of a private or secret key returns this; 0: it is allowed */
	_Atomic uint64_t no_plain_keys;
	/* of the test's own processes, nothing to the module */
	uint8_t note[64];
	uint64_t note_len;
};

#endif
