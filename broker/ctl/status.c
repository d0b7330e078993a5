/* broker/ctl/status.c — `keybrokerctl status` and `reload`: is the running broker ready, and have
 * it load its configuration again. */
#include <stdio.h>

#include "base/json.h"
#include "ctl/broker.h"
#include "ctl/issuer.h"
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
	struct span reason = span_of(NULL, 0), fetch = span_of(NULL, 0);
	bool is_ready = false;
	char text[160];
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
	if (json_get_str(part, "fetch", 64, &fetch) == KB_OK && is_ready) {
		size_t len = strlen(text);
		snprintf(text + len, sizeof text - len, "%sthe last fetch failed: %.*s",
			 len > 0 ? ", " : "", (int)fetch.len, (const char *)fetch.p);
	}
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

/* What the fetcher told of its last attempts, for issuers as they are configured now.  Nothing
 * where its files may not be read. */
static void add_attempts(const char *config_path, struct buf *out, bool is_json)
{
	struct config_faults faults = {0};
	KB_AUTO(snapshot) struct snapshot *source = NULL;
	KB_AUTO(config) struct config *cfg = NULL;
	struct attempt last;
	char text[CTL_ATTEMPT_TEXT];
	bool is_first = true;

	if (snapshot_files(&source) != KB_OK)
		return;
	snapshot_as_service(source);
	enum kb_err err = config_load(source, config_path, CONFIG_FETCHER, &cfg, &faults);
	config_faults_free(&faults); /* those of what it needs were reported by the caller */
	for (size_t i = 0; err == KB_OK && i < cfg->n_issuers; i++) {
		const struct issuer_config *issuer = &cfg->issuers[i];
		if (!ctl_attempt(cfg, issuer, &last))
			continue;
		if (is_json) {
			buf_add_str(out, is_first ? "" : ",");
			ctl_attempt_json(out, issuer->rules.name, &last);
			is_first = false;
		} else if (ctl_attempt_text(&last, text)) {
			buf_addf(out, "issuer %s: %s\n", issuer->rules.name, text);
		}
	}
}

/* 0 ready, 1 not, 2 unknown: no answer came, and no broker was seen to have ended. */
static int status_code(enum broker_look look, int status)
{
	return status == 200 ? CTL_OK : status == 0 && look != BROKER_ENDED ? CTL_FAILED : CTL_NO;
}

static int status_text(const struct ctl *c, const struct config *cfg, enum broker_look look,
		       const struct broker_state *state, int status, const struct buf *body)
{
	struct ctl_table t;
	struct buf out;
	char text[600];
	int64_t generation;
	const int code = status_code(look, status);
	KB_AUTO(json) struct json_t *ready = NULL;

	if (status != 0 && json_load_strict(buf_span(body), CTL_REPLY_BYTES, &ready, NULL) != KB_OK)
		return ctl_fail(CTL_FAILED, "http://%s/readyz does not answer as a broker does",
				cfg->metrics_address);
	buf_init(&out, CTL_MAX_OUTPUT);
	ctl_table_init(&t, 3);
	if (look == BROKER_RUNS)
		snprintf(text, sizeof text, "pid %ld", (long)state->pid);
	else
		snprintf(text, sizeof text, "%s",
			 look == BROKER_ENDED ? "no pid file, or its process has ended"
					      : state->why);
	row(&t, "broker",
	    status == 200        ? "ready"
	    : code == CTL_FAILED ? "UNKNOWN"
	    : status == 0        ? "NOT RUNNING"
				 : "NOT READY",
	    text);
	if (status == 0 && code == CTL_FAILED && cfg->metrics_address != NULL) {
		snprintf(text, sizeof text, "http://%s/readyz gave no whole answer",
			 cfg->metrics_address);
		row(&t, "metrics", "UNKNOWN", text);
	}
	if (status != 0) {
		bool is_seen = ctl_metric(cfg, "keybroker_config_generation", &generation);
		snprintf(text, sizeof text, "generation %lld", (long long)generation);
		row(&t, "configuration", is_seen ? "in force" : "UNKNOWN",
		    is_seen ? text : "/metrics gave no whole answer");
		ready_rows(&t, ready);
	}
	ctl_table_write(&t, &out);
	add_attempts(c->config_path, &out, false);
	return ctl_put(&out, code);
}

static int status_run(struct ctl *c)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(buf) struct buf body = {0};
	struct buf out;
	struct broker_state state;
	int64_t generation = 0;
	int status = 0;

	buf_init(&body, CTL_REPLY_BYTES);
	if (ctl_config_open(c, CONFIG_LEDGER, false, &cc) != KB_OK)
		return CTL_FAILED;
	enum broker_look look = ctl_broker_look(cc.config, &state);
	if (cc.config->metrics_address == NULL)
		ctl_say("The configuration has no \"metrics\": only the pid can be checked.");
	else if (ctl_http_get(cc.config->metrics_address, "/readyz", &status, &body) != KB_OK)
		status = 0;
	if (!c->is_json)
		return status_text(c, cc.config, look, &state, status, &body);
	buf_init(&out, CTL_MAX_OUTPUT);
	buf_add_str(&out, "{");
	json_add_name(&out, "pid"); /* null: unknown */
	buf_addf(&out, look == BROKER_UNKNOWN ? "null" : "%ld", (long)state.pid);
	json_add_name(&out, "generation");
	bool is_seen =
		status != 0 && ctl_metric(cc.config, "keybroker_config_generation", &generation);
	buf_addf(&out, is_seen ? "%lld" : "null", (long long)generation);
	json_add_name(&out, "status");
	buf_addf(&out, status == 0 ? "null" : "%d", status);
	KB_AUTO(json) struct json_t *ready = NULL;
	if (status != 0 &&
	    json_load_strict(buf_span(&body), CTL_REPLY_BYTES, &ready, NULL) == KB_OK) {
		json_add_name(&out, "readyz");
		json_write(&out, ready);
	}
	json_add_name(&out, "fetches");
	buf_add_str(&out, "[");
	add_attempts(c->config_path, &out, true);
	buf_add_str(&out, "]");
	buf_add_str(&out, "}\n");
	return ctl_put(&out, status_code(look, status));
}

enum { OPT_WAIT };
static const struct ctl_opt reload_opts[] = {
	[OPT_WAIT] = {"wait", 'w', NULL, "until every older generation is over"},
	{NULL, 0, NULL, NULL},
};

static int reload_run(struct ctl *c)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	struct buf out;
	int64_t generation;

	/* The supervisor checks the same, but its faults go to the log. */
	if (ctl_config_open(c, CONFIG_ALL, false, &cc) != KB_OK)
		return ctl_fail(CTL_NO, "not reloaded: the old configuration stays in force");
	int code = ctl_reload(c, cc.config, ctl_has(c, OPT_WAIT), &generation);
	if (!c->is_json)
		return code;
	buf_init(&out, CTL_MAX_OUTPUT);
	buf_add_str(&out, "{");
	json_add_name(&out, "taken"); /* null: unknown */
	buf_add_str(&out, code == CTL_NO ? "false" : code == CTL_OK ? "true" : "null");
	json_add_name(&out, "generation"); /* in force; null: unknown */
	buf_addf(&out, generation == 0 ? "null" : "%lld", (long long)generation);
	buf_add_str(&out, "}\n");
	return ctl_put(&out, code);
}

const struct ctl_command ctl_status_commands[] = {
	{"status", NULL, "Is the broker ready, and if not, which part of it is not.", NULL,
	 status_run, "Exit: 0 ready, 1 not, 2 unknown.\n"},
	{"reload", NULL,
	 "Check the configuration, have the broker take it up, wait until nothing new is judged by "
	 "the old one.",
	 reload_opts, reload_run,
	 "A configuration with a fault changes nothing.  What is in flight is answered: by the old "
	 "configuration where the new one judges alike, else with 503 and Retry-After.\n"
	 "Exit: 0 taken up (with --wait: and older generations are over), 1 refused, 2 not tried, "
	 "or unknown.\n"},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
