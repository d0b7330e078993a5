/* broker/ctl/broker.c — the running broker: its pid, what its metrics address says, a reload.
 * Trusts the metrics address for what it shows and for nothing else; every read has a deadline and
 * a bound. */
#include "ctl/broker.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/files.h"
#include "ctl/output.h"

enum { HTTP_MS = 3000, RELOAD_MS = 30000, POLL_MS = 100 };

/* ---- its metrics address ---- */

static bool deadline_set(int fd, int64_t until_ms)
{
	int64_t left = until_ms - clock_mono_ms();
	struct timeval t = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};

	return left > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t) == 0;
}

/* "127.0.0.1:9464" or "[::1]:9464", as in the configuration; never looked up in DNS. */
static int connect_to(const char *address, int64_t until_ms)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
			*found = NULL;
	const char *colon = strrchr(address, ':');
	size_t skip = address[0] == '[' ? 1 : 0;

	if (colon == NULL || (size_t)(colon - address) < 2 * skip)
		return -1;
	KB_AUTO(cstr) char *host = strndup(address + skip, (size_t)(colon - address) - 2 * skip);
	if (host == NULL || getaddrinfo(host, colon + 1, &hints, &found) != 0)
		return -1;
	int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    (!deadline_set(fd, until_ms) || connect(fd, found->ai_addr, found->ai_addrlen) != 0)) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

enum kb_err ctl_http_get(const char *address, const char *path, int *status, struct buf *body)
{
	char request[256];
	int64_t until_ms = clock_mono_ms() + HTTP_MS;
	KB_AUTO(buf) struct buf reply = {0};

	*status = 0;
	buf_init(&reply, CTL_REPLY_BYTES);
	int n = snprintf(request, sizeof request,
			 "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, address);
	int fd = connect_to(address, until_ms);
	if (fd < 0 || send(fd, request, (size_t)n, MSG_NOSIGNAL) != n) {
		if (fd >= 0)
			close(fd);
		return KB_E_DEADLINE;
	}
	for (;;) {
		uint8_t chunk[8192];
		ssize_t got = deadline_set(fd, until_ms) ? recv(fd, chunk, sizeof chunk, 0) : -1;
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		buf_add(&reply, chunk, (size_t)got);
	}
	close(fd);
	buf_add(&reply, "", 1);
	if (buf_ok(&reply) != KB_OK)
		return KB_E_FILE_SIZE;
	const char *text = (const char *)reply.p, *head_end = strstr(text, "\r\n\r\n");
	if (head_end == NULL || strncmp(text, "HTTP/1.1 ", 9) != 0 ||
	    strspn(text + 9, "0123456789") != 3)
		return KB_E_DEADLINE;
	*status = (text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0');
	size_t head = (size_t)(head_end - text) + 4;
	buf_add(body, text + head, reply.len - 1 - head);
	return buf_ok(body);
}

long long ctl_metric(const struct config *cfg, const char *name)
{
	KB_AUTO(buf) struct buf text = {0};
	char want[96];
	int status;
	long long value = -1;

	buf_init(&text, CTL_REPLY_BYTES);
	int len = snprintf(want, sizeof want, "\n%s ", name);
	if (ctl_http_get(cfg->metrics_address, "/metrics", &status, &text) != KB_OK ||
	    status != 200)
		return -1;
	buf_add(&text, "", 1);
	const char *at = buf_ok(&text) == KB_OK ? strstr((const char *)text.p, want) : NULL;
	if (at != NULL)
		value = strtoll(at + len, NULL, 10);
	return value;
}

/* ---- its process ---- */

void ctl_pause(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&t, NULL); /* a signal may end it early */
}

pid_t ctl_broker_pid(const struct config *cfg)
{
	KB_AUTO(cstr) char *path = ctl_path(cfg->state_dir, "keybrokerd.pid");
	char text[32] = "", comm_path[64], comm[32] = "";
	FILE *f = path == NULL ? NULL : fopen(path, "re");

	if (f == NULL)
		return 0;
	bool is_read = fgets(text, sizeof text, f) != NULL;
	fclose(f);
	long pid = is_read ? strtol(text, NULL, 10) : 0;
	if (pid <= 1)
		return 0;
	/* A pid file outlives a crash, and another process may have the number now. */
	snprintf(comm_path, sizeof comm_path, "/proc/%ld/comm", pid);
	if ((f = fopen(comm_path, "re")) == NULL)
		return 0;
	is_read = fgets(comm, sizeof comm, f) != NULL && strncmp(comm, "keybrokerd", 10) == 0;
	fclose(f);
	return is_read ? (pid_t)pid : 0;
}

int ctl_reload(const struct ctl *c, const struct config *cfg)
{
	pid_t pid = ctl_broker_pid(cfg);
	bool has_metrics = cfg->metrics_address != NULL;

	if (pid == 0)
		return ctl_fail(CTL_FAILED,
				"no broker is running from %s; start it with: keybrokerd -c %s",
				cfg->state_dir, c->config_path);
	long long generation = has_metrics ? ctl_metric(cfg, "keybroker_config_generation") : -1;
	long long failed = has_metrics ? ctl_metric(cfg, "keybroker_reloads_failed_total") : -1;
	if (kill(pid, SIGHUP) != 0)
		return ctl_fail(CTL_FAILED, "process %ld: %s", (long)pid, strerror(errno));
	if (generation < 0) {
		ctl_say("SIGHUP sent to process %ld; without \"metrics\" only its log has the "
			"result.",
			(long)pid);
		return CTL_OK;
	}
	for (int64_t until_ms = clock_mono_ms() + RELOAD_MS; clock_mono_ms() < until_ms;
	     ctl_pause(POLL_MS)) {
		long long now = ctl_metric(cfg, "keybroker_config_generation");
		if (now > generation) {
			ctl_say("reloaded: generation %lld accepts", now);
			return CTL_OK;
		}
		if (now >= 0 && ctl_metric(cfg, "keybroker_reloads_failed_total") > failed)
			return ctl_fail(CTL_NO, "the broker refused the new configuration and "
						"keeps the old one; its log has the reason");
		if (ctl_broker_pid(cfg) != pid)
			return ctl_fail(CTL_NO, "the broker is gone");
	}
	return ctl_fail(CTL_NO,
			"no new generation within %d s; the old one serves. The broker's log has "
			"the reason",
			RELOAD_MS / 1000);
}
