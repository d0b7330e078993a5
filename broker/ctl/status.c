/* broker/ctl/status.c — `keybrokerctl status` and `reload`: asks the running broker how it is, and
 * makes it take up its configuration. Trusts the metrics address for what it shows and for nothing
 * else; every read has a deadline and a bound. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctl/ctl.h"

enum { HTTP_MS = 3000, REPLY_BYTES = 4 * 1024 * 1024, RELOAD_MS = 30000, POLL_MS = 100 };

/* ---- one small HTTP client ---- */

static bool deadline_set(int fd, int64_t until_ms)
{
	int64_t left = until_ms - clock_mono_ms();
	struct timeval t = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};

	return left > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t) == 0;
}

/* "127.0.0.1:9464" or "[::1]:9464", as the configuration holds it; never looked up in DNS. */
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

/* The body of GET `path`; *status 0 when nobody answered in time. */
static enum kb_err http_get(const char *address, const char *path, int *status, struct buf *body)
{
	char request[256];
	int64_t until_ms = clock_mono_ms() + HTTP_MS;
	KB_AUTO(buf) struct buf reply = {0};

	*status = 0;
	buf_init(&reply, REPLY_BYTES);
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

/* The value of a metric without labels in /metrics; −1 when it is not there. */
static long long metric(const struct config *cfg, const char *name)
{
	KB_AUTO(buf) struct buf text = {0};
	char want[96];
	int status;
	long long value = -1;

	buf_init(&text, REPLY_BYTES);
	int len = snprintf(want, sizeof want, "\n%s ", name);
	if (http_get(cfg->metrics_address, "/metrics", &status, &text) != KB_OK || status != 200)
		return -1;
	buf_add(&text, "", 1);
	const char *at = buf_ok(&text) == KB_OK ? strstr((const char *)text.p, want) : NULL;
	if (at != NULL)
		value = strtoll(at + len, NULL, 10);
	return value;
}

/* ---- the broker's process ---- */

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
	/* A pid file outlives a crash, and the number may be somebody else's by now. */
	snprintf(comm_path, sizeof comm_path, "/proc/%ld/comm", pid);
	if ((f = fopen(comm_path, "re")) == NULL)
		return 0;
	is_read = fgets(comm, sizeof comm, f) != NULL && strncmp(comm, "keybrokerd", 10) == 0;
	fclose(f);
	return is_read ? (pid_t)pid : 0;
}

/* ---- status ---- */

static void row(struct ctl_table *t, const char *what, const char *state, const char *more)
{
	ctl_table_add(t, what);
	ctl_table_add(t, state);
	ctl_table_add(t, more);
}

/* A member {"ready":…,"reason":…} as a row. */
static void row_part(struct ctl_table *t, const struct json_t *part, const char *what)
{
	struct span reason = span_of(NULL, 0);
	bool is_ready = false;
	char text[80];
	int64_t age;

	if (json_get_bool(part, "ready", &is_ready) != KB_OK)
		return;
	(void)(json_get_str(part, "reason", 64, &reason) == KB_OK);
	snprintf(text, sizeof text, "%.*s", (int)reason.len,
		 reason.len > 0 ? (const char *)reason.p : "");
	if (json_get_int(part, "age", &age) == KB_OK)
		snprintf(text, sizeof text, "%.*s%skeys fetched %lld s ago", (int)reason.len,
			 reason.len > 0 ? (const char *)reason.p : "", reason.len > 0 ? ", " : "",
			 (long long)age);
	row(t, what, is_ready ? "ready" : "NOT READY", text);
}

static void ready_rows(struct ctl_table *t, const struct json_t *ready)
{
	static const char *const parts[] = {"hsm", "ledger", "clock"};
	const struct json_t *part, *list;
	int64_t serving, configured;
	char text[160];

	for (size_t i = 0; i < 3; i++)
		if (json_get_obj(ready, parts[i], &part) == KB_OK)
			row_part(t, part, parts[i]);
	if (json_get_obj(ready, "workers", &part) == KB_OK &&
	    json_get_int(part, "serving", &serving) == KB_OK &&
	    json_get_int(part, "configured", &configured) == KB_OK) {
		snprintf(text, sizeof text, "%lld of %lld serve", (long long)serving,
			 (long long)configured);
		row(t, "workers",
		    serving == configured ? "ready"
		    : serving > 0         ? "DEGRADED"
					  : "NOT READY",
		    text);
	}
	for (size_t i = 0; json_get_arr(ready, "issuers", &list) == KB_OK && i < json_len(list);
	     i++) {
		struct span name = span_of(NULL, 0);
		if (json_get_str(json_at(list, i), "name", 128, &name) != KB_OK)
			continue;
		snprintf(text, sizeof text, "issuer %.*s", (int)name.len, (const char *)name.p);
		row_part(t, json_at(list, i), text);
	}
}

static int status_text(const struct config *cfg, pid_t pid, int status, const struct buf *body)
{
	struct ctl_table t;
	struct buf out;
	char text[64];
	KB_AUTO(json) struct json_t *ready = NULL;

	if (status != 0 && json_load_strict(buf_span(body), REPLY_BYTES, &ready, NULL) != KB_OK)
		return ctl_fail(CTL_FAILED, "http://%s/readyz does not answer like a broker",
				cfg->metrics_address);
	buf_init(&out, CTL_MAX_OUTPUT);
	ctl_table_init(&t, 3);
	snprintf(text, sizeof text, pid != 0 ? "pid %ld" : "no pid file, or its process is gone",
		 (long)pid);
	row(&t, "broker",
	    status == 200             ? "ready"
	    : pid == 0 && status == 0 ? "NOT RUNNING"
				      : "NOT READY",
	    text);
	if (status != 0) {
		long long generation = metric(cfg, "keybroker_config_generation");
		snprintf(text, sizeof text, "generation %lld", generation);
		if (generation >= 0)
			row(&t, "configuration", "in force", text);
		ready_rows(&t, ready);
	}
	ctl_table_write(&t, &out);
	return ctl_put(&out, status == 200 ? CTL_OK : CTL_NO);
}

static int status_run(struct ctl *c)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(buf) struct buf body = {0};
	struct buf out;
	int status = 0;

	buf_init(&body, REPLY_BYTES);
	if (ctl_config_open(c, CONFIG_LEDGER, false, &cc) != KB_OK)
		return CTL_FAILED;
	pid_t pid = ctl_broker_pid(cc.config);
	if (cc.config->metrics_address == NULL)
		ctl_say("The configuration has no \"metrics\": only the process can be looked at.");
	else if (http_get(cc.config->metrics_address, "/readyz", &status, &body) != KB_OK)
		status = 0;
	if (!c->is_json)
		return status_text(cc.config, pid, status, &body);
	buf_init(&out, CTL_MAX_OUTPUT);
	buf_add_str(&out, "{");
	json_add_int(&out, "pid", pid);
	json_add_int(&out, "generation",
		     status == 0 ? -1 : metric(cc.config, "keybroker_config_generation"));
	json_add_int(&out, "status", status);
	KB_AUTO(json) struct json_t *ready = NULL;
	if (status != 0 && json_load_strict(buf_span(&body), REPLY_BYTES, &ready, NULL) == KB_OK) {
		json_add_name(&out, "readyz");
		json_write(&out, ready);
	}
	buf_add_str(&out, "}\n");
	return ctl_put(&out, status == 200 ? CTL_OK : CTL_NO);
}

/* ---- reload ---- */

int ctl_reload(const struct ctl *c, const struct config *cfg)
{
	pid_t pid = ctl_broker_pid(cfg);
	bool has_metrics = cfg->metrics_address != NULL;

	if (pid == 0)
		return ctl_fail(CTL_FAILED,
				"no broker is running from %s; start it with: keybrokerd -c %s",
				cfg->state_dir, c->config_path);
	long long generation = has_metrics ? metric(cfg, "keybroker_config_generation") : -1;
	long long failed = has_metrics ? metric(cfg, "keybroker_reloads_failed_total") : -1;
	if (kill(pid, SIGHUP) != 0)
		return ctl_fail(CTL_FAILED, "process %ld: %s", (long)pid, strerror(errno));
	if (generation < 0) {
		ctl_say("SIGHUP sent to process %ld; without \"metrics\" its log tells what came "
			"of it.",
			(long)pid);
		return CTL_OK;
	}
	for (int64_t until_ms = clock_mono_ms() + RELOAD_MS; clock_mono_ms() < until_ms;
	     ctl_pause(POLL_MS)) {
		long long now = metric(cfg, "keybroker_config_generation");
		if (now > generation) {
			ctl_say("reloaded: generation %lld accepts", now);
			return CTL_OK;
		}
		if (now >= 0 && metric(cfg, "keybroker_reloads_failed_total") > failed)
			return ctl_fail(CTL_NO, "the broker refused the new configuration and "
						"keeps the old one; its log says why");
		if (ctl_broker_pid(cfg) != pid)
			return ctl_fail(CTL_NO, "the broker is gone");
	}
	return ctl_fail(
		CTL_NO,
		"no new generation within %d s; the old one serves. The broker's log says why",
		RELOAD_MS / 1000);
}

static int reload_run(struct ctl *c)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};

	/* The same check as the supervisor's, here, where someone reads the faults. */
	if (ctl_config_open(c, CONFIG_ALL, false, &cc) != KB_OK)
		return ctl_fail(CTL_NO, "not reloaded: the broker keeps what it has");
	return ctl_reload(c, cc.config);
}

const struct ctl_command ctl_status_commands[] = {
	{"status", NULL, "Is the broker ready, and if not, which part of it is not.", NULL,
	 status_run, "Exit: 0 ready, 1 not, 2 it cannot be told.\n"},
	{"reload", NULL,
	 "Check the configuration, have the broker take it up, wait until it accepts.", NULL,
	 reload_run,
	 "Nothing in flight is dropped; a configuration with a fault changes nothing.  Exit: 0 "
	 "taken up, 1 refused, 2 not tried.\n"},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
