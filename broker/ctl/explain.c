/* broker/ctl/explain.c — `keybrokerctl explain`: would this token release this key, and if not,
 * why.  Uses decide(), as the vault does, so that the explanation is what is enforced.  Makes no
 * record, opens no HSM, releases nothing: a grant made here is freed. */
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctl/files.h"
#include "ctl/open.h"
#include "ctl/output.h"
#include "policy/decide.h"
#include "policy/explain.h"
#include "policy/jwks.h"
#include "policy/token.h"
#include "policy/token_note.h"
#include "process/keyset.h"

enum { OPT_KEY, OPT_TOKEN, OPT_VERSION, OPT_AT, OPT_NONCE, OPT_KEYS };
static const struct ctl_opt explain_opts[] = {
	[OPT_KEY] = {"key", 'k', "NAME", "the key that is asked for"},
	[OPT_TOKEN] = {"token", 't', "FILE", "the attestation token (JWT); -: standard input"},
	[OPT_VERSION] = {"version", 'V', "HEX", "a version of the key (the current one)"},
	[OPT_AT] = {"at", 'a', "TIME", "judge as if it were then"},
	[OPT_NONCE] = {"nonce", 'n', "TEXT", "the nonce that the call would carry"},
	[OPT_KEYS] = {"keys", 0, "FILE", "the issuer's key set from this file instead"},
	{NULL, 0, NULL, NULL},
};

struct question { /* what a release needs */
	const struct config *config;
	const struct key_config *key;
	const struct issuer_config *issuer;
	struct buf token_text, keys_text;
	struct keyset keyset;
	struct token *token;
	struct jwks *keys;
	struct explain *ex;
	int64_t now_s;
	bool is_rehearsal; /* --at: another time than now */
	struct span version, nonce;
	const char *keys_from; /* as text */
	struct jwks_report report;
};

static void question_cleanup(struct question *q)
{
	explain_free(q->ex);
	token_free(q->token);
	jwks_free(q->keys);
	keyset_free(&q->keyset);
	buf_free(&q->token_text);
	buf_free(&q->keys_text);
}

/* A token file usually ends in a newline; the token has none. */
static struct span trimmed(struct span s)
{
	while (s.len > 0 &&
	       (s.p[s.len - 1] == '\n' || s.p[s.len - 1] == '\r' || s.p[s.len - 1] == ' '))
		s.len--;
	return s;
}

/* The issuer's keys as a vault would have them at that time.  No keys are an outcome
 * (ISSUER_UNAVAILABLE), a broken file is an error. */
static enum kb_err keys_find(struct question *q, const char *file)
{
	struct span document = span_of(NULL, 0);
	enum kb_err err = KB_OK;

	q->keys_from = "none";
	if (file != NULL) {
		q->keys_from = file;
		if ((err = ctl_read(file, KB_MAX_JWKS, &q->keys_text)) != KB_OK)
			return err;
		document = buf_span(&q->keys_text);
	} else if (q->issuer != NULL && q->issuer->source == KEYS_JWKS_FILE) {
		q->keys_from = "the issuer's jwks_file";
		document = q->issuer->jwks_file;
	} else if (q->issuer != NULL) {
		struct keyset_origin origin;
		config_origin(q->issuer, &origin);
		err = keyset_read(q->config->state_dir, q->issuer->rules.name, &origin, &q->keyset);
		if (err != KB_OK) {
			ctl_say("There is no fetched key set of %s, as it is configured now, in "
				"%s/issuers (%s): is a broker running? Or name a file "
				"with --keys.",
				q->issuer->rules.name, q->config->state_dir, kb_err_name(err));
			return KB_OK;
		}
		int64_t age_s;
		err = keyset_age(q->keyset.fetched_s, q->now_s, q->issuer->max_stale_s, &age_s);
		if (err == KB_E_KEYSET_AHEAD && q->now_s < clock_wall_s() &&
		    (err = keyset_age(q->keyset.fetched_s, clock_wall_s(), q->issuer->max_stale_s,
				      &age_s)) == KB_OK)
			ctl_say("The key set of %s was fetched after the time of --at.",
				q->issuer->rules.name);
		if (err != KB_OK) {
			ctl_say("The fetched key set of %s is as good as none (%s): %s",
				q->issuer->rules.name, kb_err_name(err), kb_err_text(err));
			return KB_OK;
		}
		q->keys_from = "fetched";
		document = q->keyset.document;
	}
	if (document.len == 0)
		return KB_OK;
	if ((err = jwks_parse(document, &q->keys, &q->report)) != KB_OK)
		ctl_fail(CTL_FAILED, "the key set (%s) is refused: %s. %s", q->keys_from,
			 kb_err_name(err), kb_err_text(err));
	return err;
}

/* In the order of a release: the key, the token's form, then all that decide() checks. */
static enum kb_err judge(struct question *q, const char *version, const char *keys_file,
			 bool *is_judged)
{
	struct grant *grant = NULL;
	enum kb_err err = key_record_usable(q->key->record, q->now_s);

	*is_judged = true;
	if (err != KB_OK)
		return err;
	const struct key_version *v = key_record_version(q->key->record, span_str(version));
	if (v == NULL)
		return KB_E_KEY_NOT_FOUND;
	q->version = span_str(v->version);
	err = token_open(trimmed(buf_span(&q->token_text)), &q->token);
	if (err != KB_OK) {
		KB_AUTO(buf) struct buf note;
		buf_init(&note, 1024);
		token_note(trimmed(buf_span(&q->token_text)), err, &note);
		buf_add(&note, "", 1);
		explain_step(q->ex, STEP_FORMAT, err,
			     buf_ok(&note) == KB_OK ? (const char *)note.p : NULL);
		return err;
	}
	q->issuer = config_issuer(q->config, token_unverified_iss(q->token));
	if ((err = keys_find(q, keys_file)) != KB_OK) {
		*is_judged = false;
		return err;
	}
	const struct release_case rc = {
		.token = q->token,
		.issuer = q->issuer == NULL ? NULL : &q->issuer->rules,
		.keys = q->keys,
		.policy = q->key->policy,
		.key_name = span_str(q->key->record->name),
		.key_version = q->version,
		.nonce = q->nonce,
		.now_s = q->now_s,
		.is_rehearsal = q->is_rehearsal,
	};
	err = decide(&rc, q->ex, &grant);
	grant_free(grant);
	return err;
}

static void answer_json(const struct question *q, enum kb_err outcome, struct buf *out)
{
	KB_AUTO(buf) struct buf why;

	buf_init(&why, JWKS_REPORT_BYTES);
	jwks_report_text(&q->report, &why);
	buf_add_str(out, "{");
	json_add_bool(out, "released", outcome == KB_OK);
	json_add_member(out, "code", span_str(kb_err_name(outcome)));
	json_add_member(out, "key", span_str(q->key->record->name));
	json_add_member(out, "version", q->version);
	json_add_member(out, "issuer",
			q->issuer == NULL ? span_of("", 0) : span_str(q->issuer->rules.name));
	json_add_int(out, "at", q->now_s);
	json_add_int(out, "keys_used", q->report.kept);
	json_add_int(out, "keys_dropped", q->report.dropped);
	json_add_member(out, "dropped", buf_span(&why));
	json_add_name(out, "explain");
	explain_json(q->ex, out);
	buf_add_str(out, "}\n");
}

static void answer_text(const struct question *q, enum kb_err outcome, struct buf *out)
{
	char at[KB_TIME_TEXT];

	clock_text_s(q->now_s, at);
	buf_addf(out, "key      %s\n", q->key->record->name);
	if (q->version.len > 0)
		buf_addf(out, "version  %.*s\n", (int)q->version.len, (const char *)q->version.p);
	buf_addf(out, "time     %.19sZ\n", at);
	if (q->issuer != NULL)
		buf_addf(out, "issuer   %s (keys: %.200s)\n", q->issuer->rules.name, q->keys_from);
	if (q->report.dropped > 0) {
		buf_addf(out, "dropped  of %u keys, not used: ",
			 q->report.kept + q->report.dropped + q->report.repeated);
		jwks_report_text(&q->report, out);
		buf_add_str(out, "\n");
	}
	buf_add_str(out, "\n");
	if (q->version.len > 0)
		explain_text(q->ex, out);
	else /* refused because of the key: the token was not checked */
		buf_addf(out, "REFUSE %s: %s\n", kb_err_name(outcome), kb_err_text(outcome));
	if (outcome == KB_OK && q->issuer != NULL && q->issuer->rules.is_single_use)
		buf_add_str(out, "The issuer is configured for single use: the ledger lets it "
				 "happen once, and again only within single_use_grace.\n");
}

static int explain_run(struct ctl *c)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(question) struct question q = {.now_s = clock_wall_s()};
	const char *name = ctl_value(c, OPT_KEY), *token = ctl_value(c, OPT_TOKEN),
		   *at = ctl_value(c, OPT_AT), *version = ctl_value(c, OPT_VERSION);
	bool is_judged;
	struct buf out;

	if (name == NULL || token == NULL)
		return ctl_fail(CTL_FAILED, "explain needs --key NAME and --token FILE");
	if (at != NULL && !ctl_time("--at", at, &q.now_s))
		return CTL_FAILED;
	q.is_rehearsal = at != NULL;
	if (ctl_config_open(c, CONFIG_VAULT, false, &cc) != KB_OK)
		return CTL_FAILED;
	q.config = cc.config;
	q.nonce = ctl_has(c, OPT_NONCE) ? span_str(ctl_value(c, OPT_NONCE)) : span_of(NULL, 0);
	if ((q.key = config_key(cc.config, span_str(name))) == NULL)
		return ctl_fail(CTL_FAILED,
				"there is no key '%s'; `keybrokerctl key list` shows what there is",
				name);
	/* More than a token may have, so that one that is too long is an outcome, not an error. */
	if (ctl_read(token, 2 * KB_MAX_TOKEN, &q.token_text) != KB_OK)
		return CTL_FAILED;
	if ((q.ex = explain_new()) == NULL)
		return ctl_fail(CTL_FAILED, "no memory");
	enum kb_err outcome =
		judge(&q, version == NULL ? "" : version, ctl_value(c, OPT_KEYS), &is_judged);
	if (!is_judged)
		return CTL_FAILED;
	if (outcome == KB_E_NOMEM)
		return ctl_fail(CTL_FAILED, "there is not enough memory to judge it");
	buf_init(&out, CTL_MAX_OUTPUT);
	if (c->is_json)
		answer_json(&q, outcome, &out);
	else
		answer_text(&q, outcome, &out);
	return ctl_put(&out, outcome == KB_OK ? CTL_OK : CTL_NO);
}

const struct ctl_command ctl_explain_commands[] = {
	{"explain", NULL, "Would this token release this key, and if not, why.", explain_opts,
	 explain_run,
	 "Example:\n  keybrokerctl explain --key disk-key --token token.jwt --at "
	 "2026-11-21T17:10:11Z\n\n"
	 "Exit: 0 it would be released, 1 it would be refused, 2 it cannot be judged.\n"},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
