/* broker/ctl/status.c — `keybrokerctl status` and `reload`: is the running broker ready, and have
 * it load its configuration again. */
#include <stdio.h>

#include "base/json.h"
#include "ctl/broker.h"
#include "ctl/open.h"
#include "ctl/output.h"

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

	if (status != 0 && json_load_strict(buf_span(body), CTL_REPLY_BYTES, &ready, NULL) != KB_OK)
		return ctl_fail(CTL_FAILED, "http://%s/readyz does not answer as a broker does",
				cfg->metrics_address);
	buf_init(&out, CTL_MAX_OUTPUT);
	ctl_table_init(&t, 3);
	snprintf(text, sizeof text, pid != 0 ? "pid %ld" : "no pid file, or its process has ended",
		 (long)pid);
	row(&t, "broker",
	    status == 200             ? "ready"
	    : pid == 0 && status == 0 ? "NOT RUNNING"
				      : "NOT READY",
	    text);
	if (status != 0) {
		long long generation = ctl_metric(cfg, "keybroker_config_generation");
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

	buf_init(&body, CTL_REPLY_BYTES);
	if (ctl_config_open(c, CONFIG_LEDGER, false, &cc) != KB_OK)
		return CTL_FAILED;
	pid_t pid = ctl_broker_pid(cc.config);
	if (cc.config->metrics_address == NULL)
		ctl_say("The configuration has no \"metrics\": only the pid can be checked.");
	else if (ctl_http_get(cc.config->metrics_address, "/readyz", &status, &body) != KB_OK)
		status = 0;
	if (!c->is_json)
		return status_text(cc.config, pid, status, &body);
	buf_init(&out, CTL_MAX_OUTPUT);
	buf_add_str(&out, "{");
	json_add_int(&out, "pid", pid);
	json_add_int(&out, "generation",
		     status == 0 ? -1 : ctl_metric(cc.config, "keybroker_config_generation"));
	json_add_int(&out, "status", status);
	KB_AUTO(json) struct json_t *ready = NULL;
	if (status != 0 &&
	    json_load_strict(buf_span(&body), CTL_REPLY_BYTES, &ready, NULL) == KB_OK) {
		json_add_name(&out, "readyz");
		json_write(&out, ready);
	}
	buf_add_str(&out, "}\n");
	return ctl_put(&out, status == 200 ? CTL_OK : CTL_NO);
}

static int reload_run(struct ctl *c)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};

	/* The supervisor checks the same, but its faults go to the log. */
	if (ctl_config_open(c, CONFIG_ALL, false, &cc) != KB_OK)
		return ctl_fail(CTL_NO, "not reloaded: the old configuration stays in force");
	return ctl_reload(c, cc.config);
}

const struct ctl_command ctl_status_commands[] = {
	{"status", NULL, "Is the broker ready, and if not, which part of it is not.", NULL,
	 status_run, "Exit: 0 ready, 1 not, 2 unknown.\n"},
	{"reload", NULL,
	 "Check the configuration, have the broker take it up, wait until it accepts.", NULL,
	 reload_run,
	 "Nothing in flight is dropped; a configuration with a fault changes nothing.  Exit: 0 "
	 "taken up, 1 refused, 2 not tried.\n"},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
