/* policy/jws.c — the strict check of form and header, then cjose for the signature. cjose alone
 * accepts `=` and anything after the signature, unknown `crit`, ECDSA signatures with extra bytes
 * and ES256 with any curve, and lets the token choose the algorithm: so all of that is refused here
 * first. Trusts: the key (checked by pubkey.c, and validated once it has verified a signature).
 * Must never follow a URL of the header or use a key in it. */
#include "policy/jws.h"

#include <cjose/cjose.h>
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "base/b64url.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/reserve.h"
#include "policy/pubkey_priv.h"

struct jws_key {
	const struct pubkey *pub;
	bool is_validated;
	enum kb_err verdict;    /* of the validation, once there was one */
	size_t signature_bytes; /* exactly */
	uint8_t order[66];      /* of the curve, big-endian */
	size_t order_bytes;     /* 0 for RSA */
	cjose_jwk_t *jwk;
};

/* cjose does not look at what it allocates (base/reserve.h); OpenSSL below it does, and sets
 * errno. */
static void cjose_begin(void)
{
	cjose_set_alloc_funcs(reserve_malloc, reserve_realloc, reserve_free);
	reserve_begin();
	errno = 0;
}

/* An allocation of cjose failed since cjose_begin(): release what it made, and do not use it. */
static bool cjose_was_short(void)
{
	return reserve_was_used() || errno == ENOMEM;
}

/* ---- the gate ---- */

/* A token is no file: what would be passed over there (base/text.h) is refused here, because cjose
 * and other readers refuse it. */
static bool has_mark(const struct buf *part)
{
	return part->len >= 3 && memcmp(part->p, "\xef\xbb\xbf", 3) == 0;
}

static enum kb_err decode_part(struct span text, struct buf *out)
{
	buf_init(out, text.len);
	enum kb_err err = b64url_decode(text, out);
	return err == KB_E_B64 ? KB_E_TOKEN_FORMAT : err;
}

/* Five parts whose header names a content encryption are a JWE (RFC 7516 §9): another type of
 * token, not a broken one. */
static bool is_jwe(struct span first_part)
{
	KB_AUTO(buf) struct buf text;
	KB_AUTO(json) struct json_t *header = NULL;

	if (decode_part(first_part, &text) != KB_OK)
		return false;
	return json_load_strict(buf_span(&text), KB_MAX_TOKEN, &header, NULL) == KB_OK &&
	       json_has(header, "enc");
}

static enum kb_err split(struct span compact, struct span part[static 3])
{
	size_t n = 0;

	if (compact.len > 0 && compact.p[0] == '{') /* RFC 7515 §7.2: JSON serialisation */
		return KB_E_TOKEN_TYPE;
	for (size_t from = 0; from <= compact.len; n++) {
		size_t dot = span_find(compact, from, '.');
		if (n < 3)
			part[n] = span_sub(compact, from, dot - from);
		from = dot + 1;
	}
	if (n == 5 && is_jwe(part[0]))
		return KB_E_TOKEN_TYPE;
	/* The third part may be empty here: it is the signature, and its length is judged with the
	 * key. */
	return n == 3 && part[0].len > 0 && part[1].len > 0 ? KB_OK : KB_E_TOKEN_FORMAT;
}

static enum kb_err check_header(struct jws *j)
{
	/* Members that change the meaning of the bytes or choose the key.  jku, x5u, x5t are hints,
	 * and not followed; undefined members are ignored (RFC 7515 section 4), unless `crit` lists
	 * them, and `crit` is refused. */
	static const char *const refused[] = {"crit", "b64", "zip", "cty", "jwk", "x5c", "enc",
					      "epk",  "apu", "apv", "iv",  "tag", "p2s", "p2c"};
	struct span text;

	if (!json_isa_obj(j->header))
		return KB_E_TOKEN_HEADER;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		if (json_has(j->header, refused[i]))
			return KB_E_TOKEN_HEADER;
	if (json_has(j->header, "typ") &&
	    (json_get_str(j->header, "typ", KB_MAX_KID, &text) != KB_OK ||
	     !span_eq_cstr(text, "JWT")))
		return KB_E_TOKEN_TYPE;
	if (json_get_str(j->header, "alg", KB_MAX_KID, &text) != KB_OK ||
	    (j->alg = alg_from_name(text)) == KB_ALG_NONE)
		return KB_E_TOKEN_ALG;
	enum kb_err err = json_get_str(j->header, "kid", KB_MAX_KID, &j->kid);
	if (err == KB_E_JSON_TYPE)
		return KB_E_TOKEN_HEADER;
	if (err != KB_OK)
		return err == KB_E_JSON_MISSING ? KB_E_KID_MISSING : KB_E_KID_LENGTH;
	/* Last, so that a kid of 10 kB gets its own error code. */
	return j->header_text.len <= KB_MAX_TOKEN_HEADER ? KB_OK : KB_E_TOKEN_HEADER;
}

enum kb_err jws_open(struct span compact, struct jws *out)
{
	enum kb_err err = KB_E_BUG;
	struct span part[3] = {{0}};

	*out = (struct jws){.compact = compact};
	if (compact.len > KB_MAX_TOKEN)
		return KB_E_TOKEN_SIZE;
	if ((err = split(compact, part)) != KB_OK)
		return err;
	if ((err = decode_part(part[0], &out->header_text)) != KB_OK ||
	    (err = decode_part(part[1], &out->payload)) != KB_OK ||
	    (err = decode_part(part[2], &out->signature)) != KB_OK)
		return err;
	if (has_mark(&out->header_text) || has_mark(&out->payload))
		return KB_E_JSON_SYNTAX;
	if ((err = json_load_strict(buf_span(&out->header_text), KB_MAX_TOKEN, &out->header,
				    NULL)) != KB_OK)
		return err;
	if ((err = check_header(out)) != KB_OK)
		return err;
	out->signing_input = span_sub(compact, 0, part[0].len + 1 + part[1].len);
	return KB_OK;
}

void jws_close(struct jws *j)
{
	buf_free(&j->header_text);
	buf_free(&j->payload);
	buf_free(&j->signature);
	json_free(j->header);
	*j = (struct jws){0};
}

/* ---- the signature ---- */

static bool read_order(const struct curve *curve, uint8_t *out)
{
	EC_GROUP *group = EC_GROUP_new_by_curve_name(curve->nid);
	bool ok = group != NULL &&
		  BN_bn2binpad(EC_GROUP_get0_order(group), out, (int)curve->bytes) > 0;

	EC_GROUP_free(group);
	return ok;
}

enum kb_err jws_key_new(const struct pubkey *pub, struct jws_key **out)
{
	const struct key_numbers *num = pubkey_numbers(pub);
	const struct curve *curve = pubkey_curve(num->kind);
	struct jws_key *k = calloc(1, sizeof *k);

	*out = NULL;
	if (k == NULL)
		return KB_E_NOMEM;
	cjose_begin();
	k->pub = pub;
	if (curve == NULL) {
		struct key_numbers copy = *num; /* cjose's specs are not const */
		cjose_jwk_rsa_keyspec spec = {
			.n = copy.n, .nlen = copy.n_len, .e = copy.e, .elen = copy.e_len};
		k->signature_bytes = num->n_len;
		k->jwk = cjose_jwk_create_RSA_spec(&spec, NULL);
	} else {
		struct key_numbers copy = *num;
		cjose_jwk_ec_keyspec spec = {.crv = (cjose_jwk_ec_curve)curve->nid,
					     .x = copy.x,
					     .xlen = copy.xy_len,
					     .y = copy.y,
					     .ylen = copy.xy_len};
		k->signature_bytes = 2 * curve->bytes;
		k->order_bytes = curve->bytes;
		if (read_order(curve, k->order))
			k->jwk = cjose_jwk_create_EC_spec(&spec, NULL);
	}
	if (k->jwk == NULL || cjose_was_short()) {
		ERR_clear_error();
		jws_key_free(k);
		return KB_E_NOMEM;
	}
	*out = k;
	return KB_OK;
}

void jws_key_free(struct jws_key *k)
{
	if (k == NULL)
		return;
	cjose_jwk_release(k->jwk);
	free(k);
}

/* 0 < v < order, both as wide as the order.  FIPS 186-5 section 6.4.2 step 1; without this check:
 * CVE-2022-21449. */
static bool is_in_range(const uint8_t *v, const struct jws_key *key)
{
	uint8_t any = 0;

	for (size_t i = 0; i < key->order_bytes; i++)
		any |= v[i];
	return any != 0 && memcmp(v, key->order, key->order_bytes) < 0;
}

/* A validation that failed for lack of memory is repeated. */
static enum kb_err validate_once(struct jws_key *key)
{
	if (!key->is_validated) {
		key->verdict = pubkey_validate(key->pub);
		key->is_validated = key->verdict != KB_E_NOMEM;
	}
	return key->verdict;
}

enum kb_err jws_verify(const struct jws *j, struct jws_key *key)
{
	enum kb_err err = alg_fits(j->alg, pubkey_kind(key->pub));

	if (err != KB_OK)
		return err;
	if (j->signature.len != key->signature_bytes)
		return KB_E_TOKEN_SIG_LENGTH;
	if (key->order_bytes > 0 && (!is_in_range(j->signature.p, key) ||
				     !is_in_range(j->signature.p + key->order_bytes, key)))
		return KB_E_TOKEN_SIGNATURE;
	/* cjose decodes the text and reads the header a second time, which costs 4 µs of 28 for a
	 * token of 4 KiB.  It reads the same as the checks above: the text is canonical and has no
	 * duplicate member, so its `alg` is ours. */
	cjose_begin();
	cjose_jws_t *jws = cjose_jws_import((const char *)j->compact.p, j->compact.len, NULL);
	bool is_right = jws != NULL && cjose_jws_verify(jws, key->jwk, NULL);
	cjose_jws_release(jws);
	if (is_right && !cjose_was_short())
		return validate_once(key);
	ERR_clear_error();
	return cjose_was_short() ? KB_E_NOMEM : KB_E_TOKEN_SIGNATURE;
}
