/* broker/ctl/check_warn.c — policies with paths that find nothing, and issuers' key sets with
 * entries that are not used.  Reads the fetcher's files; changes nothing. */
#include "ctl/check_warn.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "ctl/issuer.h"
#include "policy/jwks.h"
#include "policy/rules.h"
#include "process/keyset.h"

/* ---- policies ---- */

struct policy_user { /* a policy, and one of the keys that have it */
	const struct rules *policy;
	const char *key;
};

static int by_policy(const void *a, const void *b)
{
	const struct policy_user *x = a, *y = b;

	if (x->policy != y->policy)
		return (uintptr_t)x->policy < (uintptr_t)y->policy ? -1 : 1;
	return strcmp(x->key, y->key);
}

struct warner {
	check_say *say;
	void *ctx;
	const char *dir, *key;
};

static void warn_of_path(void *ctx, const char *text)
{
	const struct warner *w = ctx;
	KB_AUTO(cstr) char *line = NULL;

	if (asprintf(&line, "%s/%s.json: release policy: %s", w->dir, w->key, text) >= 0)
		w->say(w->ctx, line);
	else
		line = NULL;
}

void check_policies(const struct config *cfg, check_say *say, void *ctx)
{
	struct policy_user *users = calloc(cfg->n_keys + 1, sizeof *users);
	size_t n = 0;

	if (users == NULL)
		return;
	for (size_t i = 0; i < cfg->n_keys; i++)
		if (cfg->keys[i].policy != NULL)
			users[n++] = (struct policy_user){cfg->keys[i].policy,
							  cfg->keys[i].record->name};
	/* A policy that many keys have is named once. */
	qsort(users, n, sizeof *users, by_policy);
	for (size_t i = 0; i < n; i++) {
		struct warner w = {say, ctx, cfg->keys_dir, users[i].key};
		if (i == 0 || users[i].policy != users[i - 1].policy)
			rules_warn(users[i].policy, warn_of_path, &w);
	}
	free(users);
}

/* ---- key sets ---- */

static void say_of_issuer(const struct config *cfg, const struct issuer_config *issuer,
			  const char *text, check_say *say, void *ctx)
{
	KB_AUTO(cstr) char *line = NULL;

	if (asprintf(&line, "%s/%s.json: %s", cfg->issuers_dir, issuer->rules.name, text) >= 0)
		say(ctx, line);
	else
		line = NULL;
}

static void check_attempt(const struct config *cfg, const struct issuer_config *issuer,
			  check_say *say, void *ctx)
{
	struct attempt last;
	char text[CTL_ATTEMPT_TEXT];

	if (ctl_attempt(cfg, issuer, &last) && ctl_attempt_text(&last, text))
		say_of_issuer(cfg, issuer, text, say, ctx);
}

static void check_key_set(const struct config *cfg, const struct issuer_config *issuer,
			  struct span document, check_say *say, void *ctx)
{
	KB_AUTO(jwks) struct jwks *set = NULL;
	KB_AUTO(buf) struct buf why;
	KB_AUTO(cstr) char *line = NULL;
	struct jwks_report report;

	buf_init(&why, JWKS_REPORT_BYTES);
	if (jwks_parse(document, &set, &report) == KB_E_NOMEM || report.dropped == 0)
		return;
	jwks_report_text(&report, &why);
	if (buf_ok(&why) != KB_OK ||
	    asprintf(&line, "%s/%s.json: of %u keys, %u are not used: %.*s", cfg->issuers_dir,
		     issuer->rules.name, report.kept + report.dropped + report.repeated,
		     report.dropped, (int)why.len, (const char *)why.p) < 0) {
		line = NULL;
		return;
	}
	say(ctx, line);
}

void check_key_sets(const struct config *cfg, check_say *say, void *ctx)
{
	for (size_t i = 0; i < cfg->n_issuers; i++) {
		const struct issuer_config *issuer = &cfg->issuers[i];
		struct keyset_origin origin;
		struct keyset fetched;
		int64_t age_s;
		if (issuer->source == KEYS_JWKS_FILE) {
			check_key_set(cfg, issuer, issuer->jwks_file, say, ctx);
			continue;
		}
		check_attempt(cfg, issuer, say, ctx);
		config_origin(issuer, &origin);
		if (keyset_read(cfg->state_dir, issuer->rules.name, &origin, &fetched) != KB_OK)
			continue; /* not fetched yet, or not readable: `status` says why */
		enum kb_err err =
			keyset_age(fetched.fetched_s, clock_wall_s(), issuer->max_stale_s, &age_s);
		if (err != KB_OK)
			say_of_issuer(cfg, issuer, kb_err_text(err), say, ctx);
		check_key_set(cfg, issuer, fetched.document, say, ctx);
		keyset_free(&fetched);
	}
}
