/* broker/process/process.c — messages on the control socket, and the first steps of a process.
 * Trusts the supervisor for its descriptors; checks the form of what arrives on them.  Never waits
 * for writing to a control socket. */
#include "process/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "process/sandbox.h"

enum { MAX_FDS = 16 };

/* ---- control messages ---- */

enum kb_err control_send_message(int fd, const struct control_message *m, const int *fds, size_t n)
{
	struct control_message copy = *m;
	struct iovec iov = {.iov_base = &copy, .iov_len = sizeof copy};
	union {
		char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
		struct cmsghdr align;
	} space = {0};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t sent;

	if (n > MAX_FDS)
		KB_BUG();
	if (n > 0) {
		h.msg_control = space.bytes;
		h.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	}
	do
		sent = sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	return sent == (ssize_t)sizeof copy ? KB_OK : KB_E_SYS;
}

enum kb_err control_send_fds(int fd, enum control_type type, uint32_t generation, uint64_t value,
			     const int *fds, size_t n)
{
	struct control_message m = {.type = type, .generation = generation, .value = value};

	return control_send_message(fd, &m, fds, n);
}

enum kb_err control_send(int fd, enum control_type type, uint32_t generation, uint64_t value)
{
	return control_send_fds(fd, type, generation, value, NULL, 0);
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

enum kb_err control_recv(int fd, struct control_message *m, int *fds, size_t *n_fds)
{
	struct iovec iov = {.iov_base = m, .iov_len = sizeof *m};
	union {
		char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
		struct cmsghdr align;
	} space = {0};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = space.bytes,
			   .msg_controllen = sizeof space.bytes};
	int got[MAX_FDS];
	size_t cap = n_fds == NULL ? 0 : *n_fds, n = 0;
	ssize_t len;

	if (n_fds != NULL)
		*n_fds = 0;
	do
		len = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
	while (len < 0 && errno == EINTR);
	/* Closed; a reset when the other side had not read all of ours. */
	if (len == 0 || (len < 0 && errno == ECONNRESET))
		return KB_E_FILE;
	if (len < 0)
		return KB_E_SYS;
	const struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(got, CMSG_DATA(c), n * sizeof(int));
	}
	if (len != (ssize_t)sizeof *m || (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || n > cap) {
		close_all(got, n);
		return KB_E_FRAME;
	}
	m->digest[sizeof m->digest - 1] = '\0';
	if (n > 0)
		memcpy(fds, got, n * sizeof(int));
	if (n_fds != NULL)
		*n_fds = n;
	return KB_OK;
}

/* ---- the first steps of a process ---- */

/* When memory runs out the kernel kills first the process that clients can fill, not the ones with
 * the keys or the ledger. */
static int oom_score(enum process_kind r)
{
	return r == PROCESS_GATEWAY ? 700 : r == PROCESS_FETCHER ? 500 : 100;
}

/* Only the supervisor ends a process: a signal to the whole process group or control group must not
 * interrupt requests. */
static enum kb_err ignore_signals(enum process_kind r)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	const int always[] = {SIGPIPE, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

	for (size_t i = 0; i < sizeof always / sizeof always[0]; i++)
		if (sigaction(always[i], &ignore, NULL) != 0)
			return KB_E_SYS;
	/* The fetcher has nothing to finish: the supervisor ends it by SIGTERM. */
	return r == PROCESS_FETCHER || sigaction(SIGTERM, &ignore, NULL) == 0 ? KB_OK : KB_E_SYS;
}

static bool is_supervisor_gone(void)
{
	struct pollfd p = {.fd = FD_CONTROL};

	return poll(&p, 1, 0) != 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

enum kb_err process_begin(struct process_start *start)
{
	static struct shared shared;
	char name[16] = "kb-";
	enum kb_err err;

	log_init(process_name(start->process), LOG_INFO);
	log_never_wait();
	strncat(name, process_name(start->process), sizeof name - sizeof "kb-");
	if (prctl(PR_SET_NAME, name, 0, 0, 0) != 0)
		return KB_E_SYS;
	/* Before sandbox_harden(): an undumpable process cannot write to its /proc/self. */
	sandbox_oom(oom_score(start->process));
	if ((err = sandbox_harden()) != KB_OK || (err = ignore_signals(start->process)) != KB_OK)
		return err;
	/* If the supervisor ends, the ledger continues until it has written what is in flight.  The
	 * others must not run unwatched. */
	if (start->process != PROCESS_LEDGER && (err = sandbox_die_with_parent()) != KB_OK)
		return err;
	if (is_supervisor_gone()) /* it may have ended before the line above */
		return KB_E_SYS;
	if (start->slot >= PROCESS_SLOTS)
		return KB_E_CONFIG;
	if ((err = shared_attach(start->slot, FD_PAGE, FD_PAGES, &shared, &start->page)) != KB_OK)
		return err;
	start->shared = &shared;
	start->stats = &start->page->stats;
	log_count_dropped(&start->stats->counter[COUNT_LOG_DROPPED]);
	start->health = &start->page->health;
	return KB_OK;
}
