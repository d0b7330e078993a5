/* tests/unit/policy/test_jws.c — names of algorithms, the strict checks of a JWS, and the signature
 * against Wycheproof. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/param_build.h>

#include "base/json.h"
#include "policy/jws.h"
#include "tests/unit/mint.h"

#define ASSERT_ERR(want, call) assert_string_equal(kb_err_name(call), kb_err_name(want))

static void test_alg_names(void **state)
{
	static const char *const bad[] = {"",      "none",   "None",     "nOnE", "HS256", "HS384",
					  "HS512", "rs256",  "RS256 ",   "RS1",  "RS257", "ES256K",
					  "EdDSA", "RSA1_5", "RSA-OAEP", "RS",   "PS",    "ES"};

	(void)state;
	for (unsigned a = KB_RS256; a < KB_ALG_COUNT; a++)
		assert_int_equal(alg_from_name(span_str(alg_name((enum kb_alg)a))), a);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(alg_from_name(span_str(bad[i])), KB_ALG_NONE);
	assert_int_equal(alg_from_name(span_of("RS256\0", 6)), KB_ALG_NONE);
	assert_string_equal(alg_name(KB_ALG_NONE), "");
	assert_string_equal(alg_name(KB_ALG_COUNT), "");
}

static void test_alg_fits_its_own_keys_only(void **state)
{
	(void)state;
	for (unsigned a = KB_ALG_NONE; a <= KB_ALG_COUNT; a++) {
		for (unsigned kind = PUBKEY_RSA; kind <= PUBKEY_P521; kind++) {
			bool is_rsa = kind == PUBKEY_RSA,
			     wants_rsa = a >= KB_RS256 && a <= KB_PS512,
			     wants_ec = a >= KB_ES256 && a <= KB_ES512;
			enum kb_err want =
				(wants_rsa && is_rsa) ||
						(wants_ec && kind - PUBKEY_P256 == a - KB_ES256)
					? KB_OK
				: wants_ec && !is_rsa ? KB_E_TOKEN_CURVE
						      : KB_E_TOKEN_ALG;
			ASSERT_ERR(want, alg_fits((enum kb_alg)a, (enum pubkey_kind)kind));
		}
	}
}

/* ---- the token sets ---- */

/* The whole way a token goes, but for its claims: gate, key set, key by kid, signature, the key's
 * own algorithm. */
static enum kb_err judge(struct span compact, const json_t *group)
{
	const json_t *pub = json_object_get(group, "public") != NULL
				    ? json_object_get(group, "public")
				    : json_object_get(group, "private");
	char *text = json_dumps(pub, JSON_COMPACT);
	struct jwks *keys = NULL;
	struct jws jws;

	if (json_object_get(pub, "keys") == NULL) {
		char *one = text;
		text = strdup(mint_text("{\"keys\":[%s]}", one));
		free(one);
	}
	enum kb_err err = jws_open(compact, &jws);
	if (err == KB_OK)
		err = jwks_parse(span_str(text), &keys, NULL);
	const struct jwk *key = keys == NULL ? NULL : jwks_find(keys, jws.kid);
	if (err == KB_OK)
		err = key == NULL ? KB_E_KID_UNKNOWN : jws_verify(&jws, jwk_verifier(key));
	if (err == KB_OK && !jwk_allows(key, jws.alg))
		err = KB_E_TOKEN_ALG;
	jws_close(&jws);
	jwks_free(keys);
	free(text);
	return err;
}

/* Valid there, refused here, and why. */
static const char *why_refused(enum kb_err err, struct span compact, const char *comment,
			       const json_t *group)
{
	const char *key_alg =
		json_string_value(json_object_get(json_object_get(group, "public"), "alg"));

	if (json_object_get(group, "public") == NULL)
		return "HMAC: an issuer's key is never a secret of ours";
	if (strcmp(comment, "emptyPayload") == 0)
		return err == KB_E_TOKEN_FORMAT ? "a token without claims" : NULL;
	if (key_alg != NULL && strcmp(key_alg, "ES521") == 0)
		return err == KB_E_JWKS_EMPTY ? "a key for \"ES521\", which RFC 7518 does not know"
					      : NULL;
	if (key_alg != NULL && strcmp(key_alg, "PS256") == 0 &&
	    span_eq_cstr(span_sub(compact, 0, 13), "eyJhbGciOiJQU"))
		return err == KB_E_TOKEN_ALG ? "a PS384 token by a key that says it is for PS256"
					     : NULL;
	return NULL;
}

struct tally {
	unsigned valid, accepted, refused_with_reason, invalid;
};

static struct tally run_jose_file(const char *path)
{
	struct tally t = {0};
	json_t *doc = json_loads((const char *)mint_file(path).p, 0, NULL), *group, *test;
	size_t i, j;

	assert_non_null(doc);
	json_array_foreach(json_object_get(doc, "testGroups"), i, group)
	{
		json_array_foreach(json_object_get(group, "tests"), j, test)
		{
			const json_t *jws = json_object_get(test, "jws");
			bool is_valid = strcmp(json_string_value(json_object_get(test, "result")),
					       "valid") == 0;
			if (jws == NULL) /* JWE groups: is_jwe() must know them */
				continue;
			char *dumped = json_is_string(jws) ? NULL : json_dumps(jws, JSON_COMPACT);
			struct span compact = dumped != NULL ? span_str(dumped)
							     : span_str(json_string_value(jws));
			enum kb_err err = judge(compact, group);
			const char *comment = json_string_value(json_object_get(test, "comment"));
			if (!is_valid && err == KB_OK)
				fail_msg("%s %lld %s: accepted", path,
					 json_integer_value(json_object_get(test, "tcId")),
					 comment);
			if (is_valid && err != KB_OK &&
			    why_refused(err, compact, comment, group) == NULL)
				fail_msg("%s %lld %s: refused with %s", path,
					 json_integer_value(json_object_get(test, "tcId")), comment,
					 kb_err_name(err));
			t.valid += is_valid;
			t.invalid += !is_valid;
			t.accepted += is_valid && err == KB_OK;
			t.refused_with_reason += is_valid && err != KB_OK;
			free(dumped);
		}
	}
	json_decref(doc);
	return t;
}

static void test_a33_wycheproof_signatures(void **state)
{
	struct tally t = run_jose_file("tests/vectors/wycheproof/json_web_signature_test.json");

	(void)state;
	assert_int_equal(t.invalid, 355);
	assert_int_equal(t.valid, 46);
	assert_int_equal(t.accepted, 26);
	assert_int_equal(t.refused_with_reason, 20);
}

static void test_a33_wycheproof_keys(void **state)
{
	struct tally t = run_jose_file("tests/vectors/wycheproof/json_web_key_test.json");

	(void)state;
	assert_int_equal(t.invalid, 21);
	assert_int_equal(t.accepted, 1);
	assert_int_equal(t.refused_with_reason, 4); /* HMAC */
}

static void test_a33_wycheproof_crypto(void **state)
{
	struct tally t = run_jose_file("tests/vectors/wycheproof/json_web_crypto_test.json");

	(void)state;
	assert_true(t.invalid > 40);
	assert_int_equal(t.accepted, 2);
}

static void test_a31_wycheproof_encrypted_tokens(void **state)
{
	json_t *doc = json_loads(
		       (const char *)mint_file("tests/vectors/wycheproof/json_web_crypto_test.json")
			       .p,
		       0, NULL),
	       *group, *test;
	unsigned n = 0, of_type = 0;
	size_t i, j;

	(void)state;
	assert_non_null(doc);
	json_array_foreach(json_object_get(doc, "testGroups"), i, group)
	{
		json_array_foreach(json_object_get(group, "tests"), j, test)
		{
			const json_t *jwe = json_object_get(test, "jwe");
			struct jws jws;
			if (!json_is_string(jwe))
				continue;
			enum kb_err err = jws_open(span_str(json_string_value(jwe)), &jws);
			assert_true(err == KB_E_TOKEN_TYPE || err == KB_E_TOKEN_FORMAT);
			if (strcmp(json_string_value(json_object_get(test, "result")), "valid") ==
			    0)
				ASSERT_ERR(KB_E_TOKEN_TYPE, err);
			of_type += err == KB_E_TOKEN_TYPE;
			n++;
			jws_close(&jws);
		}
	}
	assert_true(n > 20 && of_type > 0);
	json_decref(doc);
}

/* ---- the signature sets: their messages are not tokens, so cjose cannot be asked; the key as we
 * import it and the gate can ---- */

static size_t from_hex(const char *hex, uint8_t *out, size_t cap)
{
	size_t n = strlen(hex) / 2;

	assert_true(n <= cap);
	for (size_t i = 0; i < n; i++) {
		unsigned byte;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		out[i] = (uint8_t)byte;
	}
	return n;
}

static bool openssl_verifies(EVP_PKEY *key, struct span sig, struct span msg)
{
	uint8_t der[160], *p = der;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (EVP_PKEY_is_a(key, "EC")) {
		ECDSA_SIG *pair = ECDSA_SIG_new();
		int half = (int)sig.len / 2;
		if (sig.len != 64 || ECDSA_SIG_set0(pair, BN_bin2bn(sig.p, half, NULL),
						    BN_bin2bn(sig.p + half, half, NULL)) != 1) {
			ECDSA_SIG_free(pair);
			EVP_MD_CTX_free(ctx);
			return false;
		}
		sig = span_of(der, (size_t)i2d_ECDSA_SIG(pair, &p));
		ECDSA_SIG_free(pair);
	}
	bool ok = EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", NULL, NULL, key, NULL) == 1 &&
		  EVP_DigestVerify(ctx, sig.p, sig.len, msg.p, msg.len) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

/* Each signature stuck to a token that it does not sign: whatever its form, the gate or cjose
 * refuses it. */
static void refuse_on_a_token(const struct pubkey *pub, const char *alg, struct span sig,
			      size_t want_len)
{
	struct jws_key *key = NULL;
	struct jws jws;
	char *header = mint_text("{\"alg\":\"%s\",\"kid\":\"none\"}", alg);
	char *compact =
		mint_text("%s.e30.%s", mint_b64(header, strlen(header)), mint_b64(sig.p, sig.len));

	ASSERT_ERR(KB_OK, jws_key_new(pub, &key));
	ASSERT_ERR(KB_OK, jws_open(span_str(compact), &jws));
	ASSERT_ERR(sig.len == want_len ? KB_E_TOKEN_SIGNATURE : KB_E_TOKEN_SIG_LENGTH,
		   jws_verify(&jws, key));
	jws_close(&jws);
	jws_key_free(key);
}

static unsigned run_signature_file(const char *path, const char *jwk_member, const char *alg)
{
	json_t *doc = json_loads((const char *)mint_file(path).p, 0, NULL), *group, *test;
	uint8_t msg[1024], sig[1024];
	unsigned n_valid = 0;
	size_t i, j;

	assert_non_null(doc);
	json_array_foreach(json_object_get(doc, "testGroups"), i, group)
	{
		struct pubkey *pub = NULL;
		const json_t *jwk = json_object_get(group, jwk_member);
		if (jwk == NULL) /* keys that a JWK cannot express */
			continue;
		ASSERT_ERR(KB_OK, pubkey_from_jwk(jwk, PUBKEY_VERIFY, &pub));
		json_array_foreach(json_object_get(group, "tests"), j, test)
		{
			struct span m = span_of(
				msg, from_hex(json_string_value(json_object_get(test, "msg")), msg,
					      sizeof msg));
			struct span s = span_of(
				sig, from_hex(json_string_value(json_object_get(test, "sig")), sig,
					      sizeof sig));
			bool is_valid = strcmp(json_string_value(json_object_get(test, "result")),
					       "valid") == 0;
			bool is_right = openssl_verifies(pubkey_evp(pub), s, m);
			if (is_valid != is_right)
				fail_msg("%s %lld", path,
					 json_integer_value(json_object_get(test, "tcId")));
			n_valid += is_valid;
			refuse_on_a_token(pub, alg, s, pubkey_kind(pub) == PUBKEY_RSA ? 256 : 64);
		}
		pubkey_free(pub);
	}
	json_decref(doc);
	return n_valid;
}

static void test_a33_wycheproof_p1363(void **state)
{
	(void)state;
	assert_true(run_signature_file(
			    "tests/vectors/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json",
			    "publicKeyJwk", "ES256") > 100);
}

static void test_a33_wycheproof_rsa(void **state)
{
	(void)state;
	assert_true(
		run_signature_file("tests/vectors/wycheproof/rsa_signature_2048_sha256_test.json",
				   "keyJwk", "RS256") == 9);
}

/* A private key that anyone can compute for a modulus that is one prime: d is the inverse of e
 * modulo n − 1. */
static EVP_PKEY *key_of_a_prime(void)
{
	BIGNUM *n = BN_get_rfc3526_prime_2048(NULL), *e = BN_new(), *d = BN_dup(n);
	BN_CTX *ctx = BN_CTX_new();
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;

	assert_true(BN_set_word(e, 65537) == 1 && BN_sub_word(d, 1) == 1 &&
		    BN_mod_inverse(d, e, d, ctx) != NULL);
	assert_true(OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
		    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) == 1 &&
		    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_D, d) == 1);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
	assert_true(EVP_PKEY_fromdata_init(make) == 1 &&
		    EVP_PKEY_fromdata(make, &key, EVP_PKEY_KEYPAIR, params) == 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	EVP_PKEY_CTX_free(make);
	BN_CTX_free(ctx);
	BN_free(n);
	BN_free(e);
	BN_free(d);
	return key;
}

/* The signature is right and counts for nothing, the second time too; one that is wrong is called
 * that, before and after. */
static void test_a22_signature_of_a_weak_key(void **state)
{
	EVP_PKEY *weak = key_of_a_prime();
	struct jwks *set = mint_jwks(weak, "k");
	struct jws_key *key = jwk_verifier(jwks_find(set, span_str("k")));
	struct jws right, wrong;

	(void)state;
	ASSERT_ERR(KB_OK, jws_open(span_str(mint_token(weak, "RS256", "k", "{}")), &right));
	ASSERT_ERR(KB_OK, jws_open(span_str(mint_token(mint_rsa(0), "RS256", "k", "{}")), &wrong));
	ASSERT_ERR(KB_E_TOKEN_SIGNATURE, jws_verify(&wrong, key));
	ASSERT_ERR(KB_E_KEY_WEAK, jws_verify(&right, key));
	ASSERT_ERR(KB_E_TOKEN_SIGNATURE, jws_verify(&wrong, key));
	ASSERT_ERR(KB_E_KEY_WEAK, jws_verify(&right, key));
	jws_close(&right);
	jws_close(&wrong);
	jwks_free(set);
	EVP_PKEY_free(weak);
}

/* Every algorithm we name, signed by OpenSSL and verified by cjose behind the gate. */
static void test_jws_verifies_every_algorithm(void **state)
{
	static const char *const names[] = {"RS256", "RS384", "RS512", "PS256", "PS384",
					    "PS512", "ES256", "ES384", "ES512"};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		EVP_PKEY *key = names[i][0] != 'E' ? mint_rsa(0)
						   : mint_ec(names[i][2] == '2'   ? "P-256"
							     : names[i][2] == '3' ? "P-384"
										  : "P-521");
		struct jwks *set = mint_jwks(key, "k");
		struct jws jws;
		ASSERT_ERR(KB_OK, jws_open(span_str(mint_token(key, names[i], "k", "{}")), &jws));
		ASSERT_ERR(KB_OK, jws_verify(&jws, jwk_verifier(jwks_find(set, span_str("k")))));
		jws_close(&jws);
		jwks_free(set);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alg_names),
		cmocka_unit_test(test_alg_fits_its_own_keys_only),
		cmocka_unit_test(test_a33_wycheproof_keys),
		cmocka_unit_test(test_a33_wycheproof_crypto),
		cmocka_unit_test(test_a31_wycheproof_encrypted_tokens),
		cmocka_unit_test(test_a33_wycheproof_p1363),
		cmocka_unit_test(test_a33_wycheproof_rsa),
		cmocka_unit_test(test_jws_verifies_every_algorithm),
		cmocka_unit_test(test_a22_signature_of_a_weak_key),
		cmocka_unit_test(test_a33_wycheproof_signatures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
