/* broker/ctl/issuer.c — `keybrokerctl issuer refresh`, and the text of what the fetcher told of its
 * attempts.  Asks the fetcher by a file in the state directory, and reads its answer there: it
 * needs the rights of who owns that directory, and no address of the broker. */
#include "ctl/issuer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctl/broker.h"
#include "ctl/open.h"
#include "ctl/output.h"
#include "ctl/user.h"

enum {
	/* It takes the question within a second, and two documents have KB_FETCH_MS each. */
	WAIT_S = 2 * KB_FETCH_MS / 1000 + 10,
	WAIT_MOST_S = 600,
	POLL_MS = 100,
};

/* ---- what the fetcher told ---- */

bool ctl_attempt(const struct config *cfg, const struct issuer_config *issuer, struct attempt *out)
{
	struct keyset_origin origin;

	if (issuer->source == KEYS_JWKS_FILE)
		return false;
	config_origin(issuer, &origin);
	return attempt_read(cfg->state_dir, issuer->rules.name, &origin, out) == KB_OK;
}

bool ctl_attempt_text(const struct attempt *a, char out[static CTL_ATTEMPT_TEXT])
{
	char at[KB_TIME_TEXT];

	out[0] = '\0';
	if (a->outcome == KB_OK) {
		snprintf(out, CTL_ATTEMPT_TEXT, "%s", a->note);
		return a->note[0] != '\0';
	}
	clock_text_s(a->at_s, at);
	snprintf(out, CTL_ATTEMPT_TEXT, "the fetch at %.19sZ failed: %s: %s%s%s", at,
		 kb_err_name(a->outcome), kb_err_text(a->outcome), a->detail[0] == '\0' ? "" : " ",
		 a->detail);
	return true;
}

void ctl_attempt_json(struct buf *out, const char *issuer, const struct attempt *a)
{
	buf_add_str(out, "{");
	json_add_member(out, "issuer", span_str(issuer));
	json_add_bool(out, "fetched", a->outcome == KB_OK);
	json_add_member(out, "outcome", span_str(kb_err_name(a->outcome)));
	json_add_member(out, "detail", span_str(a->detail));
	json_add_member(out, "note", span_str(a->note));
	json_add_int(out, "keys", a->keys);
	json_add_int(out, "at", a->at_s);
	buf_add_str(out, "}");
}

/* ---- issuer refresh ---- */

enum { OPT_TIMEOUT };
static const struct ctl_opt refresh_opts[] = {
	[OPT_TIMEOUT] = {"timeout", 't', "SECONDS", "wait at most so long (20)"},
	{NULL, 0, NULL, NULL},
};

struct refresh {
	const struct issuer_config *issuer;
	struct keyset_origin origin;
	uint64_t asked;
	bool is_answered;
	struct attempt answer;
};

static int ask(const struct config *cfg, struct refresh *q)
{
	config_origin(q->issuer, &q->origin);
	if (attempt_ask(cfg->state_dir, q->issuer->rules.name, &q->origin, &q->asked) == KB_OK)
		return CTL_OK;
	return ctl_fail(CTL_FAILED, "%s/issuers: the fetcher cannot be asked: %s", cfg->state_dir,
			errno == ENOENT ? "no broker has run with this state directory yet"
					: strerror(errno));
}

/* Until all are answered; false: some are not. */
static bool await(const struct config *cfg, struct refresh *q, size_t n, int64_t until_ms)
{
	for (;; ctl_pause(POLL_MS)) {
		size_t open = 0;
		for (size_t i = 0; i < n; i++) {
			if (q[i].is_answered)
				continue;
			q[i].is_answered = attempt_read(cfg->state_dir, q[i].issuer->rules.name,
							&q[i].origin, &q[i].answer) == KB_OK &&
					   q[i].answer.asked == q[i].asked;
			open += !q[i].is_answered;
		}
		if (open == 0)
			return true;
		if (clock_mono_ms() >= until_ms)
			return false;
	}
}

static int report(const struct ctl *c, const struct config *cfg, const struct refresh *q, size_t n)
{
	struct buf out;
	char text[CTL_ATTEMPT_TEXT];
	int code = CTL_OK;

	buf_init(&out, CTL_MAX_OUTPUT);
	buf_add_str(&out, c->is_json ? "[" : "");
	for (size_t i = 0; i < n; i++) {
		const char *name = q[i].issuer->rules.name;
		if (!q[i].is_answered) {
			/* Nobody shall do it later, when nobody expects it any more. */
			bool is_taken =
				attempt_take(cfg->state_dir, name, &q[i].origin) != q[i].asked;
			code = ctl_fail(
				CTL_FAILED,
				is_taken
					? "%s: asked, but there is no outcome in time: see "
					  "`keybrokerctl status`"
					: "%s: no broker has taken the question: does one run with "
					  "this configuration (`keybrokerctl status`, reload)?",
				name);
			continue;
		}
		if (q[i].answer.outcome != KB_OK && code == CTL_OK)
			code = CTL_NO;
		if (c->is_json) {
			buf_add_str(&out, out.len > 1 ? "," : "");
			ctl_attempt_json(&out, name, &q[i].answer);
			continue;
		}
		bool has_text = ctl_attempt_text(&q[i].answer, text);
		if (q[i].answer.outcome == KB_OK)
			buf_addf(&out, "%s: fetched, %lld key%s%s%s\n", name,
				 (long long)q[i].answer.keys, q[i].answer.keys == 1 ? "" : "s",
				 has_text ? "; " : "", text);
		else
			buf_addf(&out, "%s: %s\n", name, text);
	}
	buf_add_str(&out, c->is_json ? "]\n" : "");
	return ctl_put(&out, code);
}

static int refresh_run(struct ctl *c)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	static struct refresh question[KB_MAX_ISSUERS];
	long long wait_s = WAIT_S;
	bool is_named = false;
	size_t n = 0;
	int code = CTL_OK;

	if (ctl_has(c, OPT_TIMEOUT) &&
	    !ctl_number("--timeout", ctl_value(c, OPT_TIMEOUT), 1, WAIT_MOST_S, &wait_s))
		return CTL_FAILED;
	if (ctl_config_open(c, CONFIG_FETCHER, false, &cc) != KB_OK)
		return CTL_FAILED;
	for (size_t i = 0; i < cc.config->n_issuers; i++) {
		const struct issuer_config *issuer = &cc.config->issuers[i];
		if (c->arg != NULL && strcmp(issuer->rules.name, c->arg) != 0)
			continue;
		is_named = true;
		if (issuer->source != KEYS_JWKS_FILE)
			question[n++].issuer = issuer;
	}
	if (c->arg != NULL && !is_named)
		return ctl_fail(CTL_FAILED, "%s has no issuer %s.json", cc.config->issuers_dir,
				c->arg);
	if (n == 0)
		return ctl_fail(CTL_FAILED, "nothing is fetched: the keys are a file of the "
					    "configuration (\"jwks_file\"); change it and reload");
	/* The directory is that user's, who may make a link of it. */
	if (geteuid() == 0 && ctl_user_enter(&cc.config->service) != KB_OK)
		return CTL_FAILED;
	for (size_t i = 0; i < n && code == CTL_OK; i++)
		code = ask(cc.config, &question[i]);
	if (code != CTL_OK)
		return code;
	(void)await(cc.config, question, n, clock_mono_ms() + wait_s * 1000);
	return report(c, cc.config, question, n);
}

const struct ctl_command ctl_issuer_commands[] = {
	{"issuer refresh", "[NAME]",
	 "Have the running broker fetch the keys of an issuer, or of all, now; tell what came.",
	 refresh_opts, refresh_run,
	 "It does not wait for the issuer's min_interval.  A fetch that fails changes nothing: the "
	 "last good keys stay in use.\n"
	 "Exit: 0 all were fetched, 1 a fetch failed, 2 not tried, or no outcome in time.\n"},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
