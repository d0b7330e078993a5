/* broker/ctl/broker.c — the running broker: its pid, what its metrics address says, a reload.
 * Trusts the metrics address for what it shows and for nothing else; every read has a deadline and
 * a bound. */
#include "ctl/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "ctl/files.h"
#include "ctl/output.h"

enum {
	HTTP_MS = 3000,
	POLL_MS = 100,
	/* The supervisor's START_MS and KB_HANDOVER_MS, twice: for a reload that is under way, and
	 * for ours. */
	RELOAD_MS = 60000,
	OLD_END_MS = KB_DRAIN_MS + KB_EMPTY_MS + 2 * KB_HANDOVER_MS,
	SAY_MS = 5000,
	STATE_BYTES = 8192,
};

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
	size_t head = (size_t)(head_end - text) + 4, len = reply.len - 1 - head;
	const char *length = strcasestr(text, "\r\nContent-Length: ");
	if (length == NULL || length > head_end || strtoull(length + 18, NULL, 10) != len) {
		*status = 0;
		return KB_E_DEADLINE; /* a part of it says nothing about the rest */
	}
	buf_add(body, text + head, len);
	return buf_ok(body);
}

bool ctl_metric(const struct config *cfg, const char *name, int64_t *out)
{
	KB_AUTO(buf) struct buf text = {0};
	char want[96];
	char *end = NULL;
	int status;

	*out = 0;
	buf_init(&text, CTL_REPLY_BYTES);
	int len = snprintf(want, sizeof want, "\n%s ", name);
	if (ctl_http_get(cfg->metrics_address, "/metrics", &status, &text) != KB_OK ||
	    status != 200)
		return false;
	buf_add(&text, "", 1);
	const char *at = buf_ok(&text) == KB_OK ? strstr((const char *)text.p, want) : NULL;
	if (at == NULL)
		return false;
	*out = strtoll(at + len, &end, 10);
	return end > at + len && *end == '\n';
}

/* ---- its process ---- */

void ctl_pause(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&t, NULL); /* a signal may end it early */
}

/* A small file of the state directory.  KB_E_FILE: errno says why; out->why is filled in. */
static enum kb_err read_state(const struct config *cfg, const char *name, struct broker_state *out,
			      char text[static STATE_BYTES + 1])
{
	KB_AUTO(cstr) char *path = ctl_path(cfg->state_dir, name);
	size_t len = 0;

	if (path == NULL)
		return KB_E_NOMEM;
	KB_AUTO(fd) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	enum kb_err err = fd < 0 ? KB_E_FILE : file_read(fd, (uint8_t *)text, STATE_BYTES, &len);
	text[len] = '\0';
	const int fault = errno;
	if (err != KB_OK)
		snprintf(out->why, sizeof out->why, "%s: %s", path, strerror(fault));
	errno = fault;
	return err;
}

/* KB_E_JSON_… when it is not there whole: another version's, or met while it was written. */
static enum kb_err read_report(const char *text, struct broker_state *out)
{
	KB_AUTO(json) struct json_t *j = NULL;
	const struct json_t *ending;
	struct span why;
	int64_t serial, end, pid;
	enum kb_err err = json_load_strict(span_str(text), STATE_BYTES, &j, NULL);

	if (err != KB_OK || (err = json_get_int(j, "pid", &pid)) != KB_OK ||
	    (err = json_get_int(j, "serial", &serial)) != KB_OK ||
	    (err = json_get_int(j, "generation", &out->generation)) != KB_OK ||
	    (err = json_get_int(j, "begun", &out->begun)) != KB_OK ||
	    (err = json_get_int(j, "taken", &out->taken)) != KB_OK ||
	    (err = json_get_int(j, "refused", &out->refused)) != KB_OK ||
	    (err = json_get_arr(j, "ending", &ending)) != KB_OK ||
	    (err = json_get_int(j, "end", &end)) != KB_OK)
		return err;
	if (json_get_str(j, "why", sizeof out->why - 1, &why) == KB_OK)
		snprintf(out->why, sizeof out->why, "%.*s", (int)why.len, (const char *)why.p);
	for (size_t i = 0; i < json_len(ending) && i < BROKER_ENDING; i++) {
		struct broker_ending *e = &out->ending[out->n_ending++];
		if ((err = json_get_int(json_at(ending, i), "generation", &e->generation)) !=
			    KB_OK ||
		    (err = json_get_int(json_at(ending, i), "connections", &e->connections)) !=
			    KB_OK)
			return err;
	}
	return serial == end && pid == out->pid ? KB_OK : KB_E_JSON_SYNTAX;
}

/* A pid file outlives a crash, and another process may have the number now. */
static enum broker_look look_at_process(pid_t pid, const char **why)
{
	char path[64], comm[32] = "";

	if (kill(pid, 0) != 0 && errno == ESRCH)
		return BROKER_ENDED;
	snprintf(path, sizeof path, "/proc/%ld/comm", (long)pid);
	FILE *f = fopen(path, "re");
	bool is_read = f != NULL && fgets(comm, sizeof comm, f) != NULL;
	*why = strerror(errno);
	if (f != NULL)
		fclose(f);
	if (!is_read) /* it has ended just now, or we may not see it */
		return kill(pid, 0) != 0 && errno == ESRCH ? BROKER_ENDED : BROKER_UNKNOWN;
	return strncmp(comm, "keybrokerd", 10) == 0 ? BROKER_RUNS : BROKER_ENDED;
}

enum broker_look ctl_broker_look(const struct config *cfg, struct broker_state *out)
{
	static char text[STATE_BYTES + 1];
	const char *why = "";

	memset(out, 0, sizeof *out);
	if (read_state(cfg, "keybrokerd.pid", out, text) != KB_OK)
		return errno == ENOENT ? BROKER_ENDED : BROKER_UNKNOWN;
	long pid = strtol(text, NULL, 10);
	enum broker_look look = pid <= 1 ? BROKER_ENDED : look_at_process((pid_t)pid, &why);
	if (look == BROKER_UNKNOWN)
		snprintf(out->why, sizeof out->why, "process %ld: %s", pid, why);
	if (look != BROKER_RUNS)
		return look;
	out->pid = (pid_t)pid;
	if (read_state(cfg, "keybrokerd.report", out, text) != KB_OK)
		return BROKER_RUNS; /* `why` is filled in */
	out->has_report = read_report(text, out) == KB_OK;
	if (!out->has_report)
		*out = (struct broker_state){.pid = (pid_t)pid};
	return BROKER_RUNS;
}

/* ---- reload ---- */

static int fail_unknown(const char *what, const char *why)
{
	return ctl_fail(CTL_FAILED, "%s: it is unknown whether the configuration was taken up (%s)",
			what, why[0] == '\0' ? "the broker's report cannot be read" : why);
}

/* The state with a report, if there is one within a moment: a read may meet a write. */
static enum broker_look look_again(const struct config *cfg, struct broker_state *out)
{
	enum broker_look look = ctl_broker_look(cfg, out);

	for (unsigned i = 0; i < 10 && look == BROKER_RUNS && !out->has_report; i++) {
		ctl_pause(POLL_MS);
		look = ctl_broker_look(cfg, out);
	}
	return look;
}

static int await_outcome(const struct config *cfg, const struct broker_state *before,
			 int64_t *generation)
{
	struct broker_state now = {0};

	for (int64_t until_ms = clock_mono_ms() + RELOAD_MS; clock_mono_ms() < until_ms;
	     ctl_pause(POLL_MS)) {
		enum broker_look look = ctl_broker_look(cfg, &now);
		if (look == BROKER_ENDED || (look == BROKER_RUNS && now.pid != before->pid))
			return fail_unknown("the broker has ended meanwhile", "see its log");
		if (look != BROKER_RUNS || !now.has_report)
			continue;
		*generation = now.generation;
		if (now.taken > before->begun)
			return CTL_OK;
		if (now.refused > before->begun)
			return ctl_fail(
				CTL_NO,
				"the broker refused the new configuration and keeps the old "
				"one: %s",
				now.why);
	}
	char limit[64];
	snprintf(limit, sizeof limit, "no outcome within %d s", RELOAD_MS / 1000);
	return fail_unknown(limit, now.why[0] != '\0' && !now.has_report ? now.why
									 : "see the broker's log");
}

/* What generations older than `generation` still have; false: nothing. */
static bool is_ending(const struct broker_state *s, int64_t generation, char text[static 160])
{
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < s->n_ending; i++)
		if (s->ending[i].generation < generation && len < 160)
			len += (size_t)snprintf(
				text + len, 160 - len, "%sgeneration %lld (%lld connections)",
				len == 0 ? "" : ", ", (long long)s->ending[i].generation,
				(long long)s->ending[i].connections);
	return len > 0;
}

static int await_end(const struct config *cfg, const struct broker_state *before,
		     int64_t generation)
{
	struct broker_state now;
	char text[160] = "";
	int64_t said_ms = 0;

	for (int64_t until_ms = clock_mono_ms() + OLD_END_MS; clock_mono_ms() < until_ms;
	     ctl_pause(POLL_MS)) {
		enum broker_look look = ctl_broker_look(cfg, &now);
		if (look == BROKER_ENDED || (look == BROKER_RUNS && now.pid != before->pid))
			return ctl_fail(CTL_FAILED, "the broker has ended meanwhile; see its log");
		if (look != BROKER_RUNS || !now.has_report)
			continue;
		if (!is_ending(&now, generation, text)) {
			ctl_say("every older generation is over");
			return CTL_OK;
		}
		if (said_ms == 0 || clock_mono_ms() - said_ms >= SAY_MS) {
			ctl_say("waiting for %s", text);
			said_ms = clock_mono_ms();
		}
	}
	return ctl_fail(CTL_FAILED, "still not over after %d s: %s", OLD_END_MS / 1000,
			text[0] == '\0' ? "the broker's report cannot be read" : text);
}

int ctl_reload(const struct ctl *c, const struct config *cfg, bool with_wait, int64_t *generation)
{
	struct broker_state before;

	*generation = 0;
	switch (look_again(cfg, &before)) {
	case BROKER_ENDED:
		return ctl_fail(
			CTL_FAILED,
			"no broker is running from %s; start it with: keybrokerd -c %s.  One that "
			"was started with another \"state\" takes this one up by a restart only",
			cfg->state_dir, c->config_path);
	case BROKER_UNKNOWN:
		return ctl_fail(CTL_FAILED,
				"it is unknown whether a broker runs, nothing was tried: %s",
				before.why);
	case BROKER_RUNS:
		break;
	}
	if (kill(before.pid, SIGHUP) != 0)
		return ctl_fail(CTL_FAILED, "process %ld: %s", (long)before.pid, strerror(errno));
	if (!before.has_report)
		return fail_unknown("SIGHUP was sent",
				    before.why[0] != '\0'
					    ? before.why
					    : "keybrokerd.report is not this version's");
	int code = await_outcome(cfg, &before, generation);
	if (code != CTL_OK)
		return code;
	ctl_say("reloaded: generation %lld accepts", (long long)*generation);
	return with_wait ? await_end(cfg, &before, *generation) : CTL_OK;
}
