/* tests/fault/alloc_fail.h — the script of the failing malloc: a file whose path is in KB_ALLOC_FAIL, mapped by each room that the shim is preloaded into. */
#ifndef KB_TESTS_ALLOC_FAIL_H
#define KB_TESTS_ALLOC_FAIL_H
#include <stdatomic.h>
#include <stdint.h>

enum { ALLOC_MAGIC = 0x616c6f63 };
struct alloc_control {
	uint32_t magic;
	char room[16];            /* whose allocations count: "vault", "gateway", "ledger" */
	_Atomic uint64_t armed;   /* the next round; 0: nothing fails */
	_Atomic uint64_t fail_at; /* this allocation of the round fails, from 1 on */
	_Atomic uint64_t count;   /* allocations of the room in this round */
	_Atomic uint64_t rooms;   /* processes that count */
	_Atomic uint64_t failed;  /* how many were made to fail, ever */
};

#endif
