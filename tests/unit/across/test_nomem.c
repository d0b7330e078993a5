/* tests/unit/across/test_nomem.c — memory runs out at the n-th allocation, for every n of a
 * judgement. Each time there must be a clean end: what was asked for, or KB_E_NOMEM and nothing;
 * never a grant that a check did not see, never another code (the client would take it for a final
 * refusal), no leak. What memory is short for: short_memory.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/x509.h>

#include "base/json.h"
#include "base/secret.h"
#include "keystore/kwp.h"
#include "keystore/record.h"
#include "policy/explain.h"
#include "policy/pubkey.h"
#include "tests/unit/mint.h"
#include "tests/unit/short_sweep.h"

/* ---- a judgement ---- */

static struct {
	struct issuer_rules issuer;
	struct jwks *keys;
	struct rules *rules;
	struct explain *ex;
	const char *token;
} world;

static const char policy[] = "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" MINT_ISS
			     "\",\"allOf\":[{\"claim\":\"x-ms-attestation-type\",\"equals\":"
			     "\"sevsnpvm\"},{\"anyOf\":[{\"claim\":\"x-ms-sevsnpvm-vmpl\","
			     "\"lessOrEquals\":0},{\"claim\":\"a.b\",\"exists\":true}]}]}]}";

static enum kb_err decide_once(void)
{
	KB_AUTO(token) struct token *token = NULL;
	KB_AUTO(grant) struct grant *grant = NULL;

	explain_reset(world.ex);
	enum kb_err err = token_open(span_str(world.token), &token);
	assert_true((err == KB_OK) == (token != NULL));
	if (err != KB_OK)
		return err;
	struct release_case c = {.token = token,
				 .issuer = &world.issuer,
				 .keys = world.keys,
				 .policy = world.rules,
				 .key_name = span_str("k"),
				 .key_version = span_str("v"),
				 .nonce = span_str("nonce"),
				 .now_s = MINT_NOW};
	err = decide(&c, world.ex, &grant);
	assert_true((err == KB_OK) == (grant != NULL));
	if (grant != NULL) {
		assert_true(span_eq_cstr(grant_key_name(grant), "k") &&
			    span_eq_cstr(grant_key_version(grant), "v"));
		assert_int_equal(grant_expires(grant), MINT_NOW + 28800);
		static uint8_t first[32]; /* of the run that has memory */
		if (first[0] == 0 && first[31] == 0)
			memcpy(first, grant_kek(grant)->thumbprint, sizeof first);
		assert_memory_equal(grant_kek(grant)->thumbprint, first, sizeof first);
	}
	return err;
}

static void decide_with(EVP_PKEY *key, const char *alg, enum kb_alg allowed, unsigned deaths)
{
	const struct trial t = {alg, decide_once, deaths, 1, 0, false};

	world.issuer = mint_issuer();
	world.issuer.algorithms = 1u << allowed;
	world.issuer.nonce = NONCE_REQUEST;
	world.keys = mint_jwks(key, "k");
	world.token = mint_token(key, alg, "k", mint_claims(mint_rsa(1), ",\"nonce\":\"nonce\""));
	assert_int_equal(rules_compile(span_str(policy), &world.rules, NULL), KB_OK);
	assert_non_null(world.ex = explain_new());
	sweep_all(&t, 1);
	explain_free(world.ex);
	rules_free(world.rules);
	jwks_free(world.keys);
}

static void test_g02_decide_without_memory(void **state)
{
	(void)state;
	decide_with(mint_rsa(0), "RS256", KB_RS256, 0);
	decide_with(mint_rsa(0), "PS384", KB_PS384, 0);
	decide_with(
		mint_ec("P-256"), "ES256", KB_ES256,
		3); /* cjose 0.6.2 does not look at what ECDSA_SIG_new() and BN_bin2bn() give it */
}

/* ---- what is loaded beforehand ---- */

static struct span document;
static unsigned keys_in_document;
static const char *signed_by_first; /* a token of the document's first key */

static enum kb_err jwks_once(void)
{
	struct jwks *set = NULL;
	struct jwks_report report;

	enum kb_err err = jwks_parse(document, &set, &report);
	assert_true((err == KB_OK) == (set != NULL));
	/* A set that is taken is whole: a key must not be missing for an hour because memory was
	 * short for a moment. */
	if (err == KB_OK) {
		struct issuer_rules issuer = mint_issuer();
		struct token *token = NULL;
		assert_int_equal(report.kept, keys_in_document);
		fail_at = 0; /* and it works when there is memory again */
		issuer.algorithms = ~0u;
		issuer.is_maa = false;
		assert_int_equal(token_open(span_str(signed_by_first), &token), KB_OK);
		assert_int_equal(token_verify(token, &issuer, set), KB_OK);
		token_free(token);
	}
	jwks_free(set);
	return err;
}

/* A certificate as Azure Attestation's key sets hold: self-signed, the key in x5c alone. */
static const char *x5c_jwk(EVP_PKEY *key, const char *kid, const char *kty)
{
	X509 *x = X509_new();
	uint8_t *der = NULL;
	struct buf b;

	mint_check(x != NULL && X509_set_version(x, 2) == 1 &&
			   ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
			   X509_gmtime_adj(X509_getm_notBefore(x), 0) != NULL &&
			   X509_gmtime_adj(X509_getm_notAfter(x), 3600) != NULL &&
			   X509_set_pubkey(x, key) == 1 && X509_sign(x, key, EVP_sha256()) > 0,
		   "certificate");
	int len = i2d_X509(x, &der);
	mint_check(len > 0, "i2d_X509");
	buf_init(&b, 16384);
	b64_encode(&b, span_of(der, (size_t)len));
	buf_add(&b, "", 1);
	mint_check(buf_ok(&b) == KB_OK, "base64");
	const char *jwk = mint_text("{\"kty\":\"%s\",\"kid\":\"%s\",\"x5c\":[\"%s\"]}", kty, kid,
				    (const char *)b.p);
	buf_free(&b);
	OPENSSL_free(der);
	X509_free(x);
	return jwk;
}

static void test_g02_key_set_without_memory(void **state)
{
	const struct trial t = {"key set", jwks_once, 0, 11, 4, false};

	(void)state;
	const char *const jwk[] = {mint_jwk(mint_rsa(0), "a", ",\"use\":\"sig\",\"alg\":\"RS256\""),
				   mint_jwk(mint_ec("P-256"), "b", ""),
				   x5c_jwk(mint_rsa(1), "c", "RSA"),
				   x5c_jwk(mint_ec("P-256"), "d", "EC")};
	EVP_PKEY *const key[] = {mint_rsa(0), mint_ec("P-256"), mint_rsa(1), mint_ec("P-256")};
	static const char *const kid[] = {"a", "b", "c", "d"};
	keys_in_document = 2;
	for (size_t i = 0; i < sizeof jwk / sizeof *jwk; i++) {
		signed_by_first = mint_token(key[i], i % 2 == 0 ? "RS256" : "ES256", kid[i],
					     "{\"iss\":\"" MINT_ISS "\"}");
		document = span_str(mint_text("{\"keys\":[%s,%s]}", jwk[i],
					      mint_jwk(mint_ec("P-256"), "z", "")));
		sweep_all(&t, 1);
	}
}

/* A signer's key judged for the first time: what could not be judged is no weak key, and is judged
 * again. */
static enum kb_err first_signature_once(void)
{
	KB_AUTO(jwks) struct jwks *set = NULL;
	KB_AUTO(token) struct token *token = NULL;

	spared++;
	assert_int_equal(jwks_parse(document, &set, NULL), KB_OK);
	assert_int_equal(token_open(span_str(world.token), &token), KB_OK);
	spared--;
	enum kb_err err = token_verify(token, &world.issuer, set);
	spared++;
	assert_int_equal(token_verify(token, &world.issuer, set), KB_OK);
	spared--;
	return err;
}

static struct pubkey *unproven;

static enum kb_err validate_once(void)
{
	return pubkey_validate(unproven);
}

static void test_g02_first_signature_without_memory(void **state)
{
	const struct trial t = {"first signature", first_signature_once, 0, 1, 0, false},
			   ec = {"EC key", validate_once, 0, 1, 0, false};

	(void)state;
	world.issuer = mint_issuer();
	world.issuer.algorithms = ~0u;
	world.token = mint_token(mint_rsa(0), "RS256", "k", mint_claims(mint_rsa(1), ""));
	document = span_str(mint_text("{\"keys\":[%s]}", mint_jwk(mint_rsa(0), "k", "")));
	sweep_all(&t, 1);
	/* An EC key by itself: cjose follows a NULL when it verifies with one
	 * (test_g02_decide_without_memory). */
	KB_AUTO(json) struct json_t *jwk = NULL;
	assert_int_equal(json_load_strict(span_str(mint_jwk(mint_ec("P-256"), "k", "")),
					  KB_MAX_JWKS, &jwk, NULL),
			 KB_OK);
	assert_int_equal(pubkey_from_jwk(jwk, PUBKEY_VERIFY, &unproven), KB_OK);
	sweep_all(&ec, 1);
	pubkey_free(unproven);
}

static enum kb_err policy_once(void)
{
	struct rules *r = NULL;
	struct policy_fault fault;

	enum kb_err err = rules_compile(span_str(policy), &r, &fault);
	assert_true((err == KB_OK) == (r != NULL));
	rules_free(r);
	return err;
}

static enum kb_err explain_once(void)
{
	struct explain *ex = explain_new();

	explain_free(ex);
	return ex == NULL ? KB_E_NOMEM : KB_OK;
}

static enum kb_err base64_once(void)
{
	KB_AUTO(buf) struct buf b;

	buf_init(&b, 64);
	return b64url_decode(span_str("Zm9vYmFy"), &b);
}

static void test_g02_small_parts_without_memory(void **state)
{
	const struct trial t[] = {{"policy", policy_once, 0, 1, 0, false},
				  {"explanation", explain_once, 0, 1, 0, false},
				  {"base64", base64_once, 0, 1, 0, false}};

	(void)state;
	sweep_all(t, sizeof t / sizeof *t);
}

static enum kb_err record_once(void)
{
	struct key_record *r = NULL;
	struct record_fault fault;
	KB_AUTO(buf) struct buf text;

	buf_init(&text, KB_MAX_CONFIG);
	enum kb_err err = key_record_parse(span_str("full"), document, &r, &fault);
	assert_true((err == KB_OK) == (r != NULL));
	if (err == KB_OK) {
		key_record_write(r, &text);
		err = buf_ok(&text);
	}
	key_record_free(r);
	return err;
}

static void test_g02_key_records_without_memory(void **state)
{
	const struct trial t = {"key record", record_once, 8, 1, 2,
				true}; /* p11-kit 0.24 follows NULLs when it reads a URI */

	(void)state;
	document = mint_file("tests/fuzz/seeds/record/full.json");
	sweep_all(&t, 1);
	document = mint_file("tests/fuzz/seeds/record/file.json");
	sweep_all(&t, 1);
}

static enum kb_err kwp_once(void)
{
	static const uint8_t kek[32] = {1}, plain[20] = {2};
	uint8_t back[24];
	size_t len = 0;
	KB_AUTO(buf) struct buf wrapped;

	buf_init(&wrapped, 64);
	if (secret_arena_init() != KB_OK)
		return KB_E_SYS;
	enum kb_err err = kwp_wrap(kek, span_of(plain, sizeof plain), &wrapped);
	if (err != KB_OK) {
		assert_int_equal(wrapped.len, 0); /* the plaintext was there: it is gone */
		return err;
	}
	err = kwp_unwrap(kek, buf_span(&wrapped), back, sizeof back, &len);
	if (err == KB_OK)
		assert_true(len == sizeof plain && memcmp(back, plain, len) == 0);
	else
		assert_int_equal(len, 0);
	return err;
}

static void test_g02_key_wrap_without_memory(void **state)
{
	const struct trial t = {"key wrap", kwp_once, 0, 1, 0, false};

	(void)state;
	sweep_all(&t, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_g02_small_parts_without_memory),
		cmocka_unit_test(test_g02_key_wrap_without_memory),
		cmocka_unit_test(test_g02_key_records_without_memory),
		cmocka_unit_test(test_g02_decide_without_memory),
		cmocka_unit_test(test_g02_key_set_without_memory),
		cmocka_unit_test(test_g02_first_signature_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
