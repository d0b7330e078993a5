/* policy/decide.c — may this key be released to this guest?  The coordinator: every check of
 * policy/ in one order, one result, and the only place where a struct grant is made.  Trusts: the
 * vault has filled the case from its own configuration; only the token comes from outside. Must
 * never make a grant on a path that leaves out a check: there is one path. */
#include "policy/decide.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "policy/claims.h"
#include "policy/debug.h"
#include "policy/explain.h"
#include "policy/jwks.h"
#include "policy/pointer.h"
#include "policy/pubkey.h"
#include "policy/rules.h"
#include "policy/token.h"

/* ---- grant ---- */

struct grant {
	char *key_name, *key_version;
	struct pubkey *pub; /* owns what `kek` borrows */
	struct wrapping_key kek;
	int64_t issued_s, expires_s;
};

struct span grant_key_name(const struct grant *g)
{
	return span_str(g->key_name);
}

struct span grant_key_version(const struct grant *g)
{
	return span_str(g->key_version);
}

const struct wrapping_key *grant_kek(const struct grant *g)
{
	return &g->kek;
}

int64_t grant_issued(const struct grant *g)
{
	return g->issued_s;
}

int64_t grant_expires(const struct grant *g)
{
	return g->expires_s;
}

void grant_free(struct grant *g)
{
	if (g == NULL)
		return;
	pubkey_free(g->pub);
	free(g->key_name);
	free(g->key_version);
	free(g);
}

/* Takes the wrapping key over: *kek is NULL afterwards. */
static enum kb_err grant_new(const struct release_case *c, struct pubkey **kek, struct grant **out)
{
	enum kb_err err = KB_E_NOMEM;
	struct claim_time issued, expires;
	struct grant *g = calloc(1, sizeof *g);

	if (g == NULL)
		return KB_E_NOMEM;
	g->pub = *kek;
	*kek = NULL;
	g->key_name = span_dup(c->key_name);
	g->key_version = span_dup(c->key_version);
	if (g->key_name == NULL || g->key_version == NULL)
		goto out;
	if ((err = pubkey_wrapping(g->pub, &g->kek)) != KB_OK ||
	    (err = claims_time(token_claims(c->token), "iat", &issued)) != KB_OK ||
	    (err = claims_time(token_claims(c->token), "exp", &expires)) != KB_OK)
		goto out;
	g->issued_s = issued.s;
	g->expires_s = expires.s + (expires.ns > 0); /* a used token is remembered until then */
	*out = g;
	g = NULL;
	err = KB_OK;
out:
	grant_free(g);
	return err;
}

/* bytes of a token's value that a note shows, and of the text with the mark that it was cut */
enum { VALUE_CUT = 160, VALUE_TEXT = VALUE_CUT + 4 };

/* ---- the checks, each with its line in the explanation ---- */

static enum kb_err note(struct explain *ex, enum explain_step step, enum kb_err err,
			const char *text)
{
	explain_step(ex, step, err, text);
	return err;
}

/* What the token has, as JSON, cut; "absent" when `j` is NULL. */
static void value_text(const struct json_t *j, char out[static VALUE_TEXT])
{
	KB_AUTO(buf) struct buf text;

	buf_init(&text, KB_MAX_TOKEN * 6);
	if (j != NULL)
		json_write(&text, j);
	struct span shown = j == NULL ? span_str("absent") : buf_span(&text);
	(void)snprintf(
		out, VALUE_TEXT, "%.*s%s", (int)(shown.len < VALUE_CUT ? shown.len : VALUE_CUT),
		shown.len == 0 ? "" : (const char *)shown.p, shown.len > VALUE_CUT ? "…" : "");
}

static enum kb_err check_origin(const struct release_case *c, struct explain *ex)
{
	struct span iss = token_unverified_iss(c->token), kid = token_kid(c->token);
	char text[KB_MAX_KID + KB_MAX_ISS], value[VALUE_TEXT];

	enum kb_err err = token_verify(c->token, c->issuer, c->keys);
	(void)snprintf(text, sizeof text, "%.*s", (int)iss.len, (const char *)iss.p);
	if (err == KB_E_ISSUER || err == KB_E_ISSUER_UNAVAILABLE)
		return note(ex, STEP_ISSUER, err, text);
	explain_step(ex, STEP_ISSUER, KB_OK, text);
	if (err == KB_E_TOKEN_TYPE) {
		value_text(token_unverified_claim(c->token, "x-ms-attestation-type"), value);
		(void)snprintf(text, sizeof text, "x-ms-attestation-type is %s", value);
		return note(ex, STEP_SIGNATURE, err, text);
	}
	(void)snprintf(text, sizeof text, "%s, kid %.*s", alg_name(token_alg(c->token)),
		       (int)kid.len, (const char *)kid.p);
	return note(ex, STEP_SIGNATURE, err, text);
}

static void claim_time_text(const struct json_t *claims, const char *name,
			    char out[static KB_TIME_TEXT])
{
	struct claim_time t;

	clock_text_s(claims_time(claims, name, &t) == KB_OK ? t.s : -1, out);
}

static enum kb_err check_time(const struct release_case *c, struct explain *ex)
{
	const struct json_t *claims = token_claims(c->token);
	char issued[KB_TIME_TEXT], expires[KB_TIME_TEXT], now[KB_TIME_TEXT], text[VALUE_TEXT + 64],
		value[VALUE_TEXT];
	const char *claim;

	enum kb_err err = claims_check_time(claims, c->issuer, c->now_s, &claim);
	if (err == KB_E_CLAIM_MISSING || err == KB_E_CLAIM_TYPE) {
		value_text(json_member(claims, claim), value);
		(void)snprintf(text, sizeof text, "`%s` is %s", claim, value);
		return note(ex, STEP_TIME, err, text);
	}
	claim_time_text(claims, "iat", issued);
	claim_time_text(claims, "exp", expires);
	clock_text_s(c->now_s, now);
	(void)snprintf(text, sizeof text, "issued %.19sZ, expires %.19sZ, judged at %.19sZ", issued,
		       expires, now);
	return note(ex, STEP_TIME, err, text);
}

static enum kb_err check_audience(const struct release_case *c, struct explain *ex)
{
	char value[VALUE_TEXT], text[VALUE_TEXT + KB_MAX_AUD + 64];

	enum kb_err err = claims_check_audience(token_claims(c->token), c->issuer);
	if (err == KB_OK)
		return note(ex, STEP_AUDIENCE, KB_OK,
			    c->issuer->audience == NULL ? "any" : c->issuer->audience);
	value_text(json_member(token_claims(c->token), "aud"), value);
	(void)snprintf(text, sizeof text, "the token's is %s; \"%s\" is wanted", value,
		       c->issuer->audience);
	return note(ex, STEP_AUDIENCE, err, text);
}

static enum kb_err check_nonce(const struct release_case *c, struct explain *ex)
{
	KB_AUTO(buf) struct buf nonce;
	char text[2 * KB_MAX_NONCE + 64];

	buf_init(&nonce, KB_MAX_NONCE + 4);
	enum kb_err err = claims_check_nonce(token_claims(c->token), c->issuer, c->nonce);
	if (err == KB_OK)
		return note(ex, STEP_NONCE, KB_OK,
			    c->issuer->nonce == NONCE_IGNORED ? "left to the policy" : NULL);
	struct span sent = span_str("absent"), wanted = span_str("absent, or not one of ours");
	if (claims_nonce(token_claims(c->token), &nonce) == KB_OK)
		sent = buf_span(&nonce);
	if (c->nonce.len > 0)
		wanted = c->nonce;
	(void)snprintf(text, sizeof text, "the token's is %.*s; the call's is %.*s", (int)sent.len,
		       (const char *)sent.p, (int)wanted.len, (const char *)wanted.p);
	return note(ex, STEP_NONCE, err, text);
}

static enum kb_err check_policy(const struct release_case *c, struct explain *ex)
{
	struct span iss = token_unverified_iss(c->token);
	const struct json_t *claims = token_claims(c->token);
	char text[KB_DEBUG_NOTE];

	if (c->policy == NULL)
		return note(ex, STEP_POLICY, KB_E_NO_POLICY, NULL);
	enum kb_err err = note(ex, STEP_POLICY, rules_evaluate(c->policy, iss, claims, ex), NULL);
	if (err != KB_OK)
		return err;
	err = debug_check(c->policy, iss, claims, text);
	return err == KB_OK ? KB_OK : note(ex, STEP_POLICY, err, text);
}

static enum kb_err check_wrapping_key(const struct release_case *c, struct explain *ex,
				      struct pubkey **kek)
{
	const char *pointer = c->issuer->wrapping_key;
	char text[KB_MAX_KID + KB_MAX_CLAIM_PATH + VALUE_TEXT], value[VALUE_TEXT];

	enum kb_err err = claims_wrapping_key(token_claims(c->token), c->issuer, kek);
	if (err != KB_OK) {
		value_text(pointer_find(token_claims(c->token), span_str(pointer)), value);
		(void)snprintf(text, sizeof text, "%s is %s", pointer == NULL ? "" : pointer,
			       value);
		return note(ex, STEP_WRAPPING_KEY, err, text);
	}
	struct span kid = pubkey_kid(*kek);
	(void)snprintf(text, sizeof text, "RSA-%u, kid %.*s", pubkey_bits(*kek), (int)kid.len,
		       (const char *)kid.p);
	return note(ex, STEP_WRAPPING_KEY, KB_OK, text);
}

enum kb_err decide(const struct release_case *c, struct explain *ex, struct grant **out)
{
	enum kb_err err = KB_E_BUG;
	KB_AUTO(pubkey) struct pubkey *kek = NULL;
	char now[KB_TIME_TEXT];

	*out = NULL;
	if (c->token == NULL || c->key_name.len == 0 || c->key_version.len == 0)
		return KB_E_BUG;
	explain_step(ex, STEP_FORMAT, KB_OK, NULL);
	if (!c->is_rehearsal && !clock_is_set(c->now_s)) {
		clock_text_s(c->now_s, now);
		return note(ex, STEP_TIME, KB_E_CLOCK_UNSET, now);
	}
	if ((err = check_origin(c, ex)) != KB_OK)
		return err;
	if ((err = check_time(c, ex)) != KB_OK)
		return err;
	if ((err = check_audience(c, ex)) != KB_OK)
		return err;
	if ((err = check_nonce(c, ex)) != KB_OK)
		return err;
	if ((err = check_policy(c, ex)) != KB_OK)
		return err;
	if ((err = check_wrapping_key(c, ex, &kek)) != KB_OK)
		return err;
	return c->is_rehearsal ? KB_OK : grant_new(c, &kek, out);
}
