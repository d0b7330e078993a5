/* broker/process/process.h — how a process is started and controlled.  The supervisor executes its
 * own binary again, with these descriptors and no others:
 *
 *	keybrokerd --process NAME --slot N --index I --generation G --config PATH
 *
 * Standard input is /dev/null, standard output and error are the supervisor's. */
#ifndef KB_PROCESS_PROCESS_H
#define KB_PROCESS_PROCESS_H
#include "config/config.h"
#include "process/shared.h"

enum process_fd {
	/* SEQPACKET to the supervisor: struct control_message, descriptors as ancillary data */
	FD_CONTROL = 3,
	FD_PAGE = 4,    /* its own page of the shared memory, to write */
	FD_ARCHIVE = 5, /* the configuration, see config/snapshot.h */
	FD_FIRST = 6,   /* then, by process: */
	/* gateway */
	FD_GATEWAY_VAULT = 6,   /* requests out, its own */
	FD_GATEWAY_LEDGER = 7,  /* responses in, its own */
	FD_GATEWAY_METRICS = 8, /* listening socket, or /dev/null when there is none */
	FD_GATEWAY_LISTEN = 9,  /* listening sockets, in the configuration's order */
	/* vault */
	FD_VAULT_LEDGER = 6,  /* replies out, shared */
	FD_VAULT_FETCHER = 7, /* fetch requests out: one uint32_t, the index of an issuer */
	/* The PIN file, open for reading at offset 0.  It stays open: its lock lets one worker at a
	 * time log in. */
	FD_VAULT_PIN = 8,
	/* Requests in, one a gateway, shared by the generation's workers: who sent a request is
	 * known by its socket. */
	FD_VAULT_REQUESTS = 9,
	/* ledger: FD_LEDGER_DIR is a directory; sockets of generations come over control */
	FD_LEDGER_DIR = 6,
	/* fetcher */
	FD_FETCHER_REQUESTS = 6, /* shared read end */
	/* all: every page of the shared memory, to read; mapped and closed first of all */
	FD_PAGES = 40,
	FD_PAGES_END = FD_PAGES + PROCESS_SLOTS,
};

enum control_type {
	CONTROL_READY = 1, /* process → supervisor: may serve */
	CONTROL_FAILED,    /* process → supervisor: value = enum kb_err; it will exit by itself */
	/* supervisor → gateway: stop accepting, finish, exit; value = enum drain.  May come again
	 * with a higher value. */
	CONTROL_DRAIN,
	/* supervisor → gateway: value = id of the request that an ended worker had: answer 503 */
	CONTROL_LOST,
	/* supervisor → ledger: value = generation; descriptors: [0] replies in, [1…] responses out,
	 * one a gateway */
	CONTROL_GENERATION,
	CONTROL_ROTATE, /* supervisor → ledger: begin a new segment */
	/* supervisor → ledger: value = a limit of the configuration in force: bytes after which a
	 * new segment begins, of free space that is kept for releases; refusals that are recorded
	 * whole of one source, and bytes of them in all */
	CONTROL_SEGMENT_BYTES,
	CONTROL_RESERVE_BYTES,
	CONTROL_REFUSALS_PER_SOURCE,
	CONTROL_REFUSALS_BYTES,
	CONTROL_DRAINING, /* gateway → supervisor: it accepts no connection any more */
};
/* What has become of the configuration that a gateway serves. */
enum drain {
	DRAIN_SAME,   /* the new one judges as it does: serve what is there */
	DRAIN_ADDED,  /* the new one only adds to it: its releases are right, its refusals may be
			 wrong */
	DRAIN_CLOSED, /* it must not judge any more: workers take no further request */
	DRAIN_STOP,   /* there is no new one: the broker ends */
	DRAIN_NOW,    /* its place is needed: answer everybody 503 and end */
};
struct control_message {
	uint32_t type;
	uint32_t generation;
	uint64_t value;
	char digest[65]; /* CONTROL_GENERATION: of its configuration, hex; else empty */
};

/* The descriptors that a process has in its steady state, and no others (an end-to-end test
 * compares):
 *
 *	gateway: null 4, log 2, socket 5, eventpoll 1, pipe 2
 *	vault: null 2, log 2, socket 4, eventpoll 1, pin 1
 *	ledger: null 2, log 2, socket 3, ledger 2, segment 1
 *	fetcher: null 2, log 2, socket 4
 *
 * null: standard input, the replaced archive, and a gateway's two spare descriptors.  socket: the
 * control socket and, of a gateway, one listener; a gateway has one more for each further listener
 * and for each client, a vault for each further gateway, a ledger two for each further gateway or
 * generation.  pipe: libevent's, for
 * signals.  pin: the PIN file, for its lock.  ledger: the directory, and once more for its lock.
 * The fetcher's sockets are control, fetch requests, and libcurl's pair for wake-ups. */

struct process_start { /* parsed by main() */
	enum process_kind process;
	unsigned slot;
	unsigned index; /* among its kind in its generation */
	uint32_t generation;
	const char *config_path;
	const struct shared *shared;
	struct page *page;           /* this process's, to write … */
	struct process_stats *stats; /* … and two parts of it */
	struct process_health *health;
};

KB_MUST_CHECK enum kb_err control_send(int fd, enum control_type type, uint32_t generation,
				       uint64_t value);
/* The whole message, with descriptors, at most 16. */
KB_MUST_CHECK enum kb_err control_send_message(int fd, const struct control_message *m,
					       const int *fds, size_t n);
/* With descriptors, at most 16.  None of these functions waits: KB_E_SYS when the other side does
 * not read. */
KB_MUST_CHECK enum kb_err control_send_fds(int fd, enum control_type type, uint32_t generation,
					   uint64_t value, const int *fds, size_t n);
/* One message; *n_fds in: the size of fds, out: how many came.  KB_E_FILE at end of file. */
KB_MUST_CHECK enum kb_err control_recv(int fd, struct control_message *m, int *fds, size_t *n_fds);

/* Exit codes of a process: the supervisor restarts after anything but these. */
enum {
	PROCESS_EXIT_OK = 0,
	PROCESS_EXIT_PIN = 40, /* the PIN was refused: not started again until a reload */
	PROCESS_EXIT_CONFIG = 41,
	PROCESS_EXIT_RESTART = 42
};

/* The first steps of every process: its log, its rights, its end when the supervisor ends, the
 * shared memory, which is filled in in `start`. */
KB_MUST_CHECK enum kb_err process_begin(struct process_start *start);

int gateway_main(const struct process_start *start);
int vault_main(const struct process_start *start);
int ledger_main(const struct process_start *start);
int fetcher_main(const struct process_start *start);

#endif
