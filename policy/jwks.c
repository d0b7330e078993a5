/* policy/jwks.c — an issuer's key set: which of its keys may verify tokens?  Trusts that the
 * document is the issuer's, and nothing in it. A key that is weak, of another kind or without kid
 * is dropped and counted; an ambiguous set is refused whole. Must never guess a key. */
#include "policy/jwks.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "policy/jws.h"
#include "policy/pubkey.h"

struct jwk {
	struct pubkey *pub;
	struct jws_key *verifier;
	enum kb_alg alg;
};

struct jwks {
	size_t n;
	struct jwk keys[KB_MAX_JWKS_KEYS];
};

/* Two entries of one kid, usable or not: which one is meant would be a guess. RFC 7517 section 4.5
 * allows it; refuse it. */
static bool has_duplicate_kid(const struct json_t *keys)
{
	struct span a, b;

	for (size_t i = 1; i < json_len(keys); i++) {
		if (json_get_str(json_at(keys, i), "kid", KB_MAX_JWKS, &a) != KB_OK)
			continue;
		for (size_t j = 0; j < i; j++)
			if (json_get_str(json_at(keys, j), "kid", KB_MAX_JWKS, &b) == KB_OK &&
			    span_eq(a, b))
				return true;
	}
	return false;
}

static enum kb_err jwk_read(const struct json_t *entry, struct jwk *out)
{
	struct span alg;

	enum kb_err err = pubkey_from_jwk(entry, PUBKEY_VERIFY, &out->pub);
	if (err != KB_OK)
		return err;
	if (pubkey_kid(out->pub).len == 0)
		return KB_E_KID_MISSING;
	if (json_get_str(entry, "alg", KB_MAX_KID, &alg) == KB_OK)
		out->alg = alg_from_name(alg);
	return jws_key_new(out->pub, &out->verifier);
}

static void jwk_clear(struct jwk *k)
{
	pubkey_free(k->pub);
	jws_key_free(k->verifier);
	*k = (struct jwk){0};
}

/* Every entry into `s`, or counted as dropped. */
static enum kb_err read_keys(const struct json_t *keys, struct jwks *s, struct jwks_report *count)
{
	for (size_t i = 0; i < json_len(keys); i++) {
		if (!json_isa_obj(json_at(keys, i)))
			return KB_E_JWKS_FORMAT;
		enum kb_err err = jwk_read(json_at(keys, i), &s->keys[s->n]);
		if (err == KB_OK) {
			s->n++;
			continue;
		}
		jwk_clear(&s->keys[s->n]);
		/* An issuer that publishes a private key has lost control of its keys. */
		if (err == KB_E_KEY_PRIVATE || err == KB_E_NOMEM)
			return err;
		if (count->dropped++ == 0)
			count->first_drop = err;
	}
	count->kept = (unsigned)s->n;
	return s->n == 0 ? KB_E_JWKS_EMPTY : KB_OK;
}

enum kb_err jwks_parse(struct span document, struct jwks **out, struct jwks_report *report)
{
	KB_AUTO(json) struct json_t *doc = NULL;
	struct jwks_report count = {.first_drop = KB_OK};
	const struct json_t *keys;

	*out = NULL;
	if (report != NULL)
		*report = count;
	enum kb_err err = json_load_strict(document, KB_MAX_JWKS, &doc, NULL);
	if (err != KB_OK)
		return err;
	if (!json_isa_obj(doc) || json_get_arr(doc, "keys", &keys) != KB_OK)
		return KB_E_JWKS_FORMAT;
	if (json_len(keys) > KB_MAX_JWKS_KEYS)
		return KB_E_JWKS_COUNT;
	if (has_duplicate_kid(keys))
		return KB_E_JWKS_DUPLICATE;
	struct jwks *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KB_E_NOMEM;
	err = read_keys(keys, s, &count);
	if (report != NULL)
		*report = count;
	if (err != KB_OK) {
		jwks_free(s);
		return err;
	}
	*out = s;
	return KB_OK;
}

void jwks_free(struct jwks *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n; i++)
		jwk_clear(&s->keys[i]);
	free(s);
}

size_t jwks_count(const struct jwks *s)
{
	return s->n;
}

const struct jwk *jwks_find(const struct jwks *s, struct span kid)
{
	for (size_t i = 0; i < s->n; i++)
		if (span_eq(pubkey_kid(s->keys[i].pub), kid))
			return &s->keys[i];
	return NULL;
}

const struct pubkey *jwk_pubkey(const struct jwk *k)
{
	return k->pub;
}

enum kb_alg jwk_alg(const struct jwk *k)
{
	return k->alg;
}

struct span jwk_kid(const struct jwk *k)
{
	return pubkey_kid(k->pub);
}

struct jws_key *jwk_verifier(const struct jwk *k)
{
	return k->verifier;
}
