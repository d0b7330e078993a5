/* policy/jwks.c — an issuer's key set: which of its keys may verify tokens?  Trusts that the
 * document is the issuer's, and nothing in it. An entry that is weak, of another kind or without
 * kid is dropped, with its reason; so are different keys of one kid. Must never guess a key. */
#include "policy/jwks.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "policy/jws.h"
#include "policy/pubkey.h"

struct jwk {
	struct pubkey *pub;
	struct jws_key *verifier;
	unsigned algs; /* bits 1 << enum kb_alg of its `alg`; 0: any that fits */
	unsigned entry;
	bool is_ambiguous;
};

struct jwks {
	size_t n;
	struct jwk keys[KB_MAX_JWKS_KEYS];
};

static enum kb_err jwk_read(const struct json_t *entry, struct jwk *out)
{
	struct span alg;

	enum kb_err err = pubkey_from_jwk(entry, PUBKEY_VERIFY, &out->pub);
	if (err != KB_OK)
		return err;
	if (pubkey_kid(out->pub).len == 0)
		return KB_E_KID_MISSING;
	if (json_get_str(entry, "alg", KB_MAX_KID, &alg) == KB_OK)
		out->algs = 1u << alg_from_name(alg);
	return jws_key_new(out->pub, &out->verifier);
}

static void jwk_clear(struct jwk *k)
{
	pubkey_free(k->pub);
	jws_key_free(k->verifier);
	*k = (struct jwk){0};
}

static void move(struct jwk *to, struct jwk *from)
{
	struct jwk k = *from;

	*from = (struct jwk){0};
	*to = k;
}

static void drop(struct jwks_report *report, unsigned entry, struct span kid, enum kb_err why)
{
	if (report->dropped++ == 0)
		report->first_drop = why;
	if (report->n_drops == KB_MAX_JWKS_DROPS)
		return;
	struct jwks_drop *d = &report->drops[report->n_drops++];
	*d = (struct jwks_drop){.entry = entry, .why = why};
	d->kid_len = span_sub(kid, 0, sizeof d->kid).len;
	if (d->kid_len > 0)
		memcpy(d->kid, kid.p, d->kid_len);
}

/* Every entry into `s`, or dropped. */
static enum kb_err read_keys(const struct json_t *keys, struct jwks *s, struct jwks_report *report)
{
	for (unsigned i = 0; i < json_len(keys); i++) {
		struct jwk *k = &s->keys[s->n];
		enum kb_err err = jwk_read(json_at(keys, i), k);
		k->entry = i;
		if (err == KB_OK) {
			s->n++;
			continue;
		}
		jwk_clear(k);
		/* An issuer that publishes a private key has lost control of its keys. */
		if (err == KB_E_KEY_PRIVATE || err == KB_E_NOMEM)
			return err;
		struct span kid;
		if (json_get_str(json_at(keys, i), "kid", KB_MAX_JWKS, &kid) != KB_OK)
			kid = span_of(NULL, 0);
		drop(report, i, kid, err);
	}
	return KB_OK;
}

/* A key that stands there twice is one key, for the algorithms of both entries.  Different keys of
 * one kid (RFC 7517 section 4.5 allows them): which one is meant would be a guess. */
static void join_or_mark(struct jwk *a, struct jwk *b, bool *is_same)
{
	*is_same = pubkey_equal(a->pub, b->pub);
	if (*is_same)
		a->algs = a->algs == 0 || b->algs == 0 ? 0 : a->algs | b->algs;
	else
		a->is_ambiguous = b->is_ambiguous = true;
}

static void sort_out_kids(struct jwks *s, struct jwks_report *report)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) { /* without repetitions */
		bool is_same = false;
		for (size_t j = 0; j < n && !is_same; j++)
			if (span_eq(jwk_kid(&s->keys[j]), jwk_kid(&s->keys[i])))
				join_or_mark(&s->keys[j], &s->keys[i], &is_same);
		if (is_same) {
			report->repeated++;
			jwk_clear(&s->keys[i]);
			continue;
		}
		move(&s->keys[n++], &s->keys[i]);
	}
	s->n = n;
	n = 0;
	for (size_t i = 0; i < s->n; i++) {
		if (!s->keys[i].is_ambiguous) {
			move(&s->keys[n++], &s->keys[i]);
			continue;
		}
		drop(report, s->keys[i].entry, jwk_kid(&s->keys[i]), KB_E_JWKS_DUPLICATE);
		jwk_clear(&s->keys[i]);
	}
	s->n = n;
}

void jwks_report_text(const struct jwks_report *report, struct buf *out)
{
	for (unsigned i = 0; i < report->n_drops; i++) {
		const struct jwks_drop *d = &report->drops[i];
		buf_addf(out, "%s%s of ", i == 0 ? "" : ", ", kb_err_name(d->why));
		if (d->kid_len == 0)
			buf_addf(out, "entry %u", d->entry + 1);
		else
			json_add_str(out, span_of(d->kid, d->kid_len));
	}
	if (report->dropped > report->n_drops)
		buf_addf(out, " and %u more", report->dropped - report->n_drops);
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
	struct jwks *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KB_E_NOMEM;
	if ((err = read_keys(keys, s, &count)) == KB_OK) {
		sort_out_kids(s, &count);
		count.kept = (unsigned)s->n;
		err = s->n == 0 ? KB_E_JWKS_EMPTY : KB_OK;
	}
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

bool jwk_allows(const struct jwk *k, enum kb_alg alg)
{
	return k->algs == 0 || (k->algs & 1u << alg) != 0;
}

struct span jwk_kid(const struct jwk *k)
{
	return pubkey_kid(k->pub);
}

struct jws_key *jwk_verifier(const struct jwk *k)
{
	return k->verifier;
}
