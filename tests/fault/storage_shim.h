/* tests/fault/storage_shim.h — the block of memory that a test and the preloaded storage_shim.so
 * share.  The test arms rules, the shim obeys them in the processes; the shim keeps account of what
 * a power cut would leave of the ledger, the test cuts.
 *
 * KB_SHIM names the block's file (the shim maps it before main() and needs no file afterwards). */
#ifndef KB_TESTS_STORAGE_SHIM_H
#define KB_TESTS_STORAGE_SHIM_H
#include <stdatomic.h>
#include <stdint.h>

enum shim_process {
	SHIM_SUPERVISOR = 1,
	SHIM_GATEWAY = 2,
	SHIM_VAULT = 4,
	SHIM_LEDGER = 8,
	SHIM_FETCHER = 16
};

enum shim_call {
	/* on the ledger's files */
	SHIM_OPEN = 1,
	SHIM_WRITE = 2, /* write, pwrite, writev */
	SHIM_SYNC = 4,
	SHIM_RENAME = 8,
	SHIM_DIR_SYNC = 16,
	SHIM_CUT = 32, /* ftruncate */
	SHIM_UNLINK = 64,
	SHIM_FILES = 127,
	/* on everything else */
	SHIM_RECV = 128,
	SHIM_SEND = 256,
	SHIM_READ = 512,
	SHIM_PUT = 1024,
	SHIM_LOCK = 2048, /* fcntl: SoftHSM takes a lock round everything it does with its files */
	SHIM_CLOCK =
		4096, /* the monotonic clock: asked before and after judging, and after wrapping */
	SHIM_ANY = 8191,
};

enum shim_what {
	SHIM_NOTHING,
	SHIM_FAIL,
	SHIM_SHORT,
	SHIM_SLOW,
	SHIM_KILL_BEFORE,
	SHIM_KILL_AFTER
};

struct shim_rule {
	_Atomic uint32_t what;             /* stored last: it arms the rule */
	_Atomic uint32_t processes, calls; /* bits */
	_Atomic int32_t number;            /* errno, or milliseconds */
	_Atomic int32_t skip;              /* matching calls that pass first */
	_Atomic int32_t times;             /* … then so many are acted on; -1: all */
	/* matching calls count only once a message has come in: the first recv or read that brings
	 * something */
	_Atomic uint32_t is_asleep;
	_Atomic uint32_t acted;
};

/* One file of the ledger, by inode.  `stable` bytes from its start are on the disk whatever
 * happens.  A sync that failed has lost the bytes from lost_from to lost_to for good, as Linux does
 * it: their pages are clean, and a later sync that succeeds says nothing of them until they are
 * written again. */
struct shim_file {
	_Atomic uint64_t inode; /* 0: free */
	_Atomic int64_t stable, lost_from, lost_to;
	_Atomic uint32_t is_name_loose; /* renamed since the directory was synced */
};

enum { SHIM_RULES = 4, SHIM_MOST_FILES = 512 };

struct shim {
	struct shim_rule rule[SHIM_RULES];
	struct shim_file file[SHIM_MOST_FILES];
	_Atomic int64_t wall_us;    /* added to the wall clock */
	_Atomic uint32_t processes; /* bits of the processes in which the shim was loaded */
};

#endif
