/* broker/process/process.h — how a process is started: re-exec'd by the supervisor with these
 * descriptors and nothing else. keybrokerd --process NAME --slot N --index I --generation G
 * --config PATH stdin is /dev/null, stdout and stderr are the supervisor's. */
#ifndef KB_PROCESS_PROCESS_H
#define KB_PROCESS_PROCESS_H
#include "config/config.h"
#include "process/shared.h"

enum process_fd {
	FD_CONTROL = 3, /* SEQPACKET to the supervisor: struct control_message, with descriptors as
			   ancillary data */
	FD_SHARED = 4,
	FD_ARCHIVE = 5, /* configuration, see source.h */
	FD_FIRST = 6,   /* then, by process: */
	/* gateway */
	FD_GATEWAY_VAULT = 6,   /* requests out, shared by the generation's gateways */
	FD_GATEWAY_LEDGER = 7,  /* responses in, its own */
	FD_GATEWAY_METRICS = 8, /* listening socket, or /dev/null when there is none */
	FD_GATEWAY_LISTEN = 9,  /* listening sockets, in the configuration's order */
	/* vault */
	FD_VAULT_REQUESTS = 6, /* shared by the generation's workers */
	FD_VAULT_LEDGER = 7,   /* replies out, shared */
	FD_VAULT_FETCHER = 8,  /* fetch_requests out: one uint32_t, the index of an issuer */
	FD_VAULT_PIN = 9, /* the PIN file, open for reading at offset 0; stays open: who logs in
			     takes turns by its lock */
	/* ledger: FD_LEDGER_DIR is a directory; sockets of generations come over control */
	FD_LEDGER_DIR = 6,
	/* fetcher */
	FD_FETCHER_REQUESTS = 6, /* shared read end */
};

enum control_type {
	CONTROL_READY = 1, /* process → supervisor: may serve */
	CONTROL_FAILED,    /* process → supervisor: value = enum kb_err; it will exit by itself */
	CONTROL_DRAIN,     /* supervisor → gateway: stop accepting, finish, exit */
	CONTROL_LOST, /* supervisor → gateway: value = id of the request a dead worker had: answer
			 503 */
	CONTROL_GENERATION, /* supervisor → ledger: value = generation; descriptors: [0] replies in,
			       [1…] responses out, one a gateway */
	CONTROL_ROTATE,     /* supervisor → ledger: begin a new segment */
};
struct control_message {
	uint32_t type;
	uint32_t generation;
	uint64_t value;
	char digest[65]; /* CONTROL_GENERATION: of its configuration, hex; else empty */
};

/* At its steady state a process has these open and nothing else (SECURITY I-5; the end-to-end test
 * compares).  "socket" counts the control socket and, of a gateway, one listener; a gateway has one
 * more for each further listener and for each client, a ledger two for each further gateway or
 * generation. gateway: null 4, log 2, socket 5, eventpoll 1, pipe 2 vault: null 2, log 2, socket 4,
 * pin 1 ledger: null 2, log 2, socket 3, ledger 2, segment 1 fetcher: null 2, log 2, socket 4 null
 * is stdin, what stands where the archive was, and a gateway's two reserves for when no descriptor
 * is left.  The pipe is libevent's, for signals.  pin: the PIN file, whose lock lets one worker at
 * a time log in. ledger: the directory, and once more for its lock.  The fetcher's are control,
 * fetch_requests, and libcurl's pair to be woken by. */

struct process_start { /* what main() parsed */
	enum process_kind process;
	unsigned slot;
	unsigned index; /* among its kind in its generation: a gateway's is the upper byte of its
			   request ids */
	uint32_t generation;
	const char *config_path;
	struct shared *shared;
	struct process_stats *stats;   /* this process's entry in it */
	struct process_health *health; /* this process's entry in it */
};

KB_MUST_CHECK enum kb_err control_send(int fd, enum control_type type, uint32_t generation,
				       uint64_t value);
/* The whole message, with descriptors, at most 16. */
KB_MUST_CHECK enum kb_err control_send_message(int fd, const struct control_message *m,
					       const int *fds, size_t n);
/* With descriptors, at most 16.  None of these ever waits: KB_E_SYS when the other side does not
 * read. */
KB_MUST_CHECK enum kb_err control_send_fds(int fd, enum control_type type, uint32_t generation,
					   uint64_t value, const int *fds, size_t n);
/* One message; *n_fds in: process in fds, out: how many came.  KB_E_FILE at end of file. */
KB_MUST_CHECK enum kb_err control_recv(int fd, struct control_message *m, int *fds, size_t *n_fds);

/* Exit codes of a process: the supervisor restarts after anything but these. */
enum {
	PROCESS_EXIT_OK = 0,
	PROCESS_EXIT_PIN = 40 /* the PIN was refused: never started again until a reload */,
	PROCESS_EXIT_CONFIG = 41,
	PROCESS_EXIT_RESTART = 42
};

/* What every process does first: its slot, its log, its sandbox, and an end when the supervisor
 * ends.  `start` has what main() parsed; shared statistics and self are filled in. */
KB_MUST_CHECK enum kb_err process_begin(struct process_start *start);

int gateway_main(const struct process_start *start);
int vault_main(const struct process_start *start);
int ledger_main(const struct process_start *start);
int fetcher_main(const struct process_start *start);

#endif
