/* tests/unit/policy/test_token.c — attacks on tokens, each against the error code that must stop
 * it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

#include "base/json.h"
#include "policy/token_note.h"
#include "tests/unit/mint.h"

#define ASSERT_ERR(want, call) assert_string_equal(kb_err_name(call), kb_err_name(want))
#define CLAIMS                 "{\"iss\":\"" MINT_ISS "\",\"x-ms-attestation-type\":\"sgx\"}"
#define ALL_ALGS               ((1u << KB_ALG_COUNT) - 2)

/* Open and verify as the vault does; claims come out exactly when it is KB_OK. */
static enum kb_err judge_with(const char *compact, const struct issuer_rules *issuer,
			      const struct jwks *keys)
{
	struct token *t = NULL;
	enum kb_err err = token_open(span_str(compact), &t);

	if (err == KB_OK) {
		assert_null(token_claims(t));
		err = token_verify(t, issuer, keys);
		assert_true((token_claims(t) != NULL) == (err == KB_OK));
	} else {
		assert_null(t);
	}
	token_free(t);
	return err;
}

/* By an issuer that allows every algorithm and owns `key` as kid "k". */
static enum kb_err judge_by(const char *compact, EVP_PKEY *key)
{
	struct issuer_rules issuer = mint_issuer();
	struct jwks *keys = mint_jwks(key, "k");

	issuer.algorithms = ALL_ALGS;
	enum kb_err err = judge_with(compact, &issuer, keys);
	jwks_free(keys);
	return err;
}

static enum kb_err judge(const char *compact)
{
	return judge_by(compact, mint_rsa(0));
}

static enum kb_err judge_header(const char *header)
{
	return judge(mint_jws(mint_rsa(0), "RS256", header, span_str(CLAIMS)));
}

static enum kb_err judge_payload(struct span payload)
{
	return judge(mint_jws(mint_rsa(0), "RS256", "{\"alg\":\"RS256\",\"kid\":\"k\"}", payload));
}

/* Profile "maa": a name without a value names nothing. */
static void test_a47_attestation_types_that_name_nothing(void **state)
{
	static const struct {
		const char *member;
		enum kb_err want;
	} cases[] = {{"\"x-ms-attestation-type\":null", KB_E_TOKEN_TYPE},
		     {"\"x-ms-attestation-type\":[]", KB_E_TOKEN_TYPE},
		     {"\"x-ms-attestation-type\":[\"sgx\"]", KB_E_TOKEN_TYPE},
		     {"\"x-ms-attestation-type\":{}", KB_E_TOKEN_TYPE},
		     {"\"x-ms-attestation-type\":\"\"", KB_E_TOKEN_TYPE},
		     {"\"x-ms-attestation-type\":0", KB_E_TOKEN_TYPE},
		     {"\"x-ms-attestation-type\":1.5", KB_E_TOKEN_TYPE},
		     {"\"x-ms-attestation-type\":true", KB_E_TOKEN_TYPE},
		     {"\"tee\":null", KB_E_TOKEN_TYPE},
		     {"\"tee\":\"\"", KB_E_TOKEN_TYPE},
		     {"\"x-ms-sgx-is-debuggable\":null", KB_E_TOKEN_TYPE},
		     {"\"x-ms-sgx-is-debuggable\":\"true\"", KB_E_TOKEN_TYPE},
		     {"\"x-ms-attestation-type\":\"sgx\"", KB_OK},
		     {"\"tee\":\"sgx\"", KB_OK},
		     {"\"x-ms-sgx-is-debuggable\":false", KB_OK}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		enum kb_err err = judge(
			mint_token(mint_rsa(0), "RS256", "k",
				   mint_text("{\"iss\":\"" MINT_ISS "\",%s}", cases[i].member)));
		if (err != cases[i].want)
			fail_msg("%s: %s", cases[i].member, kb_err_name(err));
	}
}

/* A random 64-bit number as a nonce, as the container sidecar sends: a claim that nobody asks for
 * does not spoil the token. */
static void test_a41_numbers_beyond_64_bits_in_claims(void **state)
{
	(void)state;
	ASSERT_ERR(KB_OK,
		   judge(mint_token(
			   mint_rsa(0), "RS256", "k",
			   "{\"iss\":\"" MINT_ISS
			   "\",\"tee\":\"sgx\",\"nonce\":18446744073709551615,\"x\":1e999}")));
	ASSERT_ERR(KB_E_JSON_SYNTAX, judge_payload(span_str("\xef\xbb\xbf" CLAIMS)));
	ASSERT_ERR(KB_E_JSON_SYNTAX, judge_header("\xef\xbb\xbf{\"alg\":\"RS256\",\"kid\":\"k\"}"));
}

static const char *note_of(const char *compact, enum kb_err want)
{
	struct token *t = NULL;
	struct buf note;

	enum kb_err err = token_open(span_str(compact), &t);
	ASSERT_ERR(want, err);
	buf_init(&note, 1024);
	token_note(span_str(compact), err, &note);
	buf_add(&note, "", 1);
	ASSERT_ERR(KB_OK, buf_ok(&note));
	return mint_keep(note.p);
}

/* What is shown of a token without the form of one: the value that is wrong. */
static void test_token_note_shows_what_is_wrong(void **state)
{
	static const char good[] = "{\"alg\":\"RS256\",\"kid\":\"k\"}";
	char *long_one = mint_keep(calloc(1, KB_MAX_TOKEN + 2));

	(void)state;
	memset(long_one, 'a', KB_MAX_TOKEN + 1);
	assert_string_equal(note_of(long_one, KB_E_TOKEN_SIZE), "196609 bytes in 1 parts");
	assert_string_equal(note_of("a.b", KB_E_TOKEN_FORMAT),
			    "3 bytes in 2 parts; the header: no base64url");
	assert_string_equal(note_of("", KB_E_TOKEN_FORMAT),
			    "0 bytes in 1 parts; the header:  (JSON_SYNTAX in line 1 of it)");
	assert_non_null(strstr(
		note_of(mint_jws(mint_rsa(0), "RS256", "{\"alg\":\"none\"}", span_str(CLAIMS)),
			KB_E_TOKEN_ALG),
		" in 3 parts; the header: {\"alg\":\"none\"}; the claims: {\"iss\":"));
	assert_non_null(strstr(
		note_of(mint_jws(mint_rsa(0), "RS256", "{\"alg\":\"RS256\"}", span_str(CLAIMS)),
			KB_E_KID_MISSING),
		"; the header: {\"alg\":\"RS256\"}; "));
	assert_non_null(strstr(
		note_of(mint_jws(mint_rsa(0), "RS256", good, span_str("{\"a\":1,\n\"a\":2}")),
			KB_E_JSON_DUPLICATE),
		"; the claims: {\"a\":1,\n\"a\":2} (JSON_DUPLICATE in line 2 of it)"));
	memset(long_one, 'x', 3000);
	long_one[3000] = '\0';
	const char *cut = note_of(mint_jws(mint_rsa(0), "RS256", good,
					   span_str(mint_text("{\"iss\":\"%s\"}", long_one))),
				  KB_E_CLAIM_TYPE);
	assert_non_null(strstr(cut, "xxx…"));
	assert_true(strlen(cut) < 400);
}

static void test_token_accepts_a_good_one(void **state)
{
	struct token *t = NULL;
	uint8_t digest[32], again[32];

	(void)state;
	const char *text = mint_token(mint_rsa(0), "RS256", "k", CLAIMS);
	ASSERT_ERR(KB_OK, judge(text));
	ASSERT_ERR(KB_OK, token_open(span_str(text), &t));
	assert_true(span_eq_cstr(token_unverified_iss(t), MINT_ISS));
	assert_true(span_eq_cstr(token_kid(t), "k"));
	assert_int_equal(token_alg(t), KB_RS256);
	token_digest(t, digest);
	token_replay_id(t, again);
	assert_memory_not_equal(digest, again, 32);
	token_free(t);
}

static void test_a01_alg_none(void **state)
{
	static const char *const names[] = {"none", "None", "NONE", "nOnE", "noNE"};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const char *header =
			mint_text("{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"k\"}", names[i]);
		ASSERT_ERR(KB_E_TOKEN_ALG, judge(mint_jws(NULL, "", header, span_str(CLAIMS))));
		ASSERT_ERR(KB_E_TOKEN_ALG,
			   judge(mint_jws(mint_rsa(0), "RS256", header, span_str(CLAIMS))));
	}
	ASSERT_ERR(KB_E_TOKEN_ALG,
		   judge(mint_jws(NULL, "", "{\"alg\":\"none\"}", span_str(CLAIMS))));
}

static void test_token_rejects_alg_absent_or_no_string(void **state)
{
	(void)state;
	ASSERT_ERR(KB_E_TOKEN_ALG, judge_header("{\"kid\":\"k\"}"));
	ASSERT_ERR(KB_E_TOKEN_ALG, judge_header("{\"kid\":\"k\",\"alg\":null}"));
	ASSERT_ERR(KB_E_TOKEN_ALG, judge_header("{\"kid\":\"k\",\"alg\":[\"RS256\"]}"));
	ASSERT_ERR(KB_E_TOKEN_ALG, judge_header("{\"kid\":\"k\",\"alg\":\"\"}"));
}

/* HMAC with a public value: the issuer's public key in three spellings. */
static void test_a02_hs256_by_the_public_key(void **state)
{
	BIO *pem = BIO_new(BIO_s_mem());
	uint8_t *der = NULL, mac[64];
	char *pem_text;
	unsigned mac_len = sizeof mac;

	(void)state;
	assert_int_equal(PEM_write_bio_PUBKEY(pem, mint_rsa(0)), 1);
	long pem_len = BIO_get_mem_data(pem, &pem_text);
	int der_len = i2d_PUBKEY(mint_rsa(0), &der);
	char *n = mint_number(mint_rsa(0), OSSL_PKEY_PARAM_RSA_N, 0);
	struct span secrets[] = {span_of(pem_text, (size_t)pem_len), span_of(der, (size_t)der_len),
				 span_str(n)};
	for (size_t i = 0; i < 3; i++) {
		char *header = "{\"alg\":\"HS256\",\"kid\":\"k\"}";
		char *input = mint_text("%s.%s", mint_b64(header, strlen(header)),
					mint_b64(CLAIMS, sizeof CLAIMS - 1));
		assert_non_null(HMAC(EVP_sha256(), secrets[i].p, (int)secrets[i].len,
				     (uint8_t *)input, strlen(input), mac, &mac_len));
		ASSERT_ERR(KB_E_TOKEN_ALG,
			   judge(mint_text("%s.%s", input, mint_b64(mac, mac_len))));
	}
	OPENSSL_free(der);
	BIO_free(pem);
}

static void test_a03_alg_not_the_issuers(void **state)
{
	struct issuer_rules issuer = mint_issuer(); /* RS256 alone */
	struct jwks *keys = mint_jwks(mint_rsa(0), "k");

	(void)state;
	ASSERT_ERR(KB_OK, judge_with(mint_token(mint_rsa(0), "RS256", "k", CLAIMS), &issuer, keys));
	ASSERT_ERR(KB_E_TOKEN_ALG,
		   judge_with(mint_token(mint_rsa(0), "PS256", "k", CLAIMS), &issuer, keys));
	ASSERT_ERR(KB_E_TOKEN_ALG,
		   judge_with(mint_token(mint_rsa(0), "RS512", "k", CLAIMS), &issuer, keys));
	issuer.algorithms = 0;
	ASSERT_ERR(KB_E_TOKEN_ALG,
		   judge_with(mint_token(mint_rsa(0), "RS256", "k", CLAIMS), &issuer, keys));
	jwks_free(keys);
	/* An ES256 token for an RSA key, and the reverse. */
	ASSERT_ERR(KB_E_TOKEN_ALG,
		   judge_by(mint_token(mint_ec("P-256"), "ES256", "k", CLAIMS), mint_rsa(0)));
	ASSERT_ERR(KB_E_TOKEN_ALG,
		   judge_by(mint_token(mint_rsa(0), "RS256", "k", CLAIMS), mint_ec("P-256")));
}

static void test_a03_alg_not_the_keys(void **state)
{
	struct issuer_rules issuer = mint_issuer();
	struct jwks *keys = NULL;

	(void)state;
	issuer.algorithms = ALL_ALGS;
	ASSERT_ERR(KB_OK,
		   jwks_parse(span_str(mint_text("{\"keys\":[%s]}",
						 mint_jwk(mint_rsa(0), "k", ",\"alg\":\"PS256\""))),
			      &keys, NULL));
	ASSERT_ERR(KB_OK, judge_with(mint_token(mint_rsa(0), "PS256", "k", CLAIMS), &issuer, keys));
	ASSERT_ERR(KB_E_TOKEN_ALG,
		   judge_with(mint_token(mint_rsa(0), "RS256", "k", CLAIMS), &issuer, keys));
	jwks_free(keys);
}

static void test_a04_es256_with_p384_and_p521_key(void **state)
{
	(void)state;
	ASSERT_ERR(KB_OK,
		   judge_by(mint_token(mint_ec("P-256"), "ES256", "k", CLAIMS), mint_ec("P-256")));
	ASSERT_ERR(KB_E_TOKEN_CURVE,
		   judge_by(mint_token(mint_ec("P-384"), "ES256", "k", CLAIMS), mint_ec("P-384")));
	ASSERT_ERR(KB_E_TOKEN_CURVE,
		   judge_by(mint_token(mint_ec("P-521"), "ES256", "k", CLAIMS), mint_ec("P-521")));
	ASSERT_ERR(KB_E_TOKEN_CURVE,
		   judge_by(mint_token(mint_ec("P-256"), "ES512", "k", CLAIMS), mint_ec("P-256")));
	ASSERT_ERR(KB_E_TOKEN_CURVE,
		   judge_by(mint_token(mint_ec("P-256"), "ES384", "k", CLAIMS), mint_ec("P-256")));
}

/* header.claims of an ES256 token, without signature. */
static char *es256_input(void)
{
	static const char header[] = "{\"alg\":\"ES256\",\"kid\":\"k\"}";

	return mint_text("%s.%s", mint_b64(header, sizeof header - 1),
			 mint_b64(CLAIMS, sizeof CLAIMS - 1));
}

static enum kb_err judge_es256(const uint8_t *sig, size_t len)
{
	return judge_by(mint_text("%s.%s", es256_input(), mint_b64(sig, len)), mint_ec("P-256"));
}

static void test_a05_ecdsa_signature_lengths(void **state)
{
	static const size_t lengths[] = {0, 1, 63, 65, 96, 128, 132, 136};
	uint8_t sig[136] = {0}, der[80], *end = der;
	size_t len;

	(void)state;
	memcpy(sig, mint_sign(mint_ec("P-256"), "ES256", span_str(es256_input()), &len), 64);
	ASSERT_ERR(KB_OK, judge_es256(sig, 64));
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		ASSERT_ERR(KB_E_TOKEN_SIG_LENGTH, judge_es256(sig, lengths[i]));
	ECDSA_SIG *pair = ECDSA_SIG_new();
	assert_int_equal(
		ECDSA_SIG_set0(pair, BN_bin2bn(sig, 32, NULL), BN_bin2bn(sig + 32, 32, NULL)), 1);
	ASSERT_ERR(KB_E_TOKEN_SIG_LENGTH, judge_es256(der, (size_t)i2d_ECDSA_SIG(pair, &end)));
	ECDSA_SIG_free(pair);
}

static void test_a05_rsa_signature_lengths(void **state)
{
	static const char header[] = "{\"alg\":\"RS256\",\"kid\":\"k\"}";
	uint8_t sig[512] = {0};
	size_t len;

	(void)state;
	char *input = mint_text("%s.%s", mint_b64(header, sizeof header - 1),
				mint_b64(CLAIMS, sizeof CLAIMS - 1));
	memcpy(sig + 1, mint_sign(mint_rsa(0), "RS256", span_str(input), &len), 256);
	ASSERT_ERR(KB_OK, judge(mint_text("%s.%s", input, mint_b64(sig + 1, 256))));
	ASSERT_ERR(KB_E_TOKEN_SIG_LENGTH, judge(mint_text("%s.%s", input, mint_b64(sig, 257))));
	ASSERT_ERR(KB_E_TOKEN_SIG_LENGTH, judge(mint_text("%s.%s", input, mint_b64(sig + 1, 255))));
	ASSERT_ERR(KB_E_TOKEN_SIG_LENGTH, judge(mint_text("%s.%s", input, mint_b64(sig + 1, 257))));
	ASSERT_ERR(KB_E_TOKEN_SIG_LENGTH, judge(mint_text("%s.", input)));
}

static const uint8_t p256_order[32] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
				       0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
				       0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
				       0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};

static void test_a06_psychic_signatures(void **state)
{
	static const uint8_t zero[32];
	uint8_t good[64], one[32] = {[31] = 1}, sig[64], most[32];
	size_t len;

	(void)state;
	memcpy(good, mint_sign(mint_ec("P-256"), "ES256", span_str(es256_input()), &len), 64);
	memset(most, 0xff, sizeof most);
	const uint8_t *const bad[] = {zero, p256_order, most};
	for (size_t i = 0; i < 3; i++) {
		memcpy(sig, good, 64);
		memcpy(sig, bad[i], 32);
		ASSERT_ERR(KB_E_TOKEN_SIGNATURE, judge_es256(sig, 64));
		memcpy(sig, good, 64);
		memcpy(sig + 32, bad[i], 32);
		ASSERT_ERR(KB_E_TOKEN_SIGNATURE, judge_es256(sig, 64));
		for (size_t j = 0; j < 3; j++) {
			memcpy(sig, bad[i], 32);
			memcpy(sig + 32, bad[j], 32);
			ASSERT_ERR(KB_E_TOKEN_SIGNATURE, judge_es256(sig, 64));
		}
	}
	memcpy(sig, one, 32);
	memcpy(sig + 32, one, 32);
	ASSERT_ERR(KB_E_TOKEN_SIGNATURE, judge_es256(sig, 64));
}

/* Zero is refused as a number, not as a byte of one: one good signature in 128 ends r or s with
 * it. */
static void test_token_accepts_numbers_that_end_in_zero(void **state)
{
	bool seen[2] = {false, false};
	const char *header = "{\"alg\":\"ES256\",\"kid\":\"k\"}";
	char *input = mint_text("%s.%s", mint_b64(header, strlen(header)),
				mint_b64(CLAIMS, sizeof CLAIMS - 1));

	(void)state;
	for (unsigned i = 0; i < 8000 && !(seen[0] && seen[1]); i++) {
		size_t len = 0;
		uint8_t *sig = mint_sign(mint_ec("P-256"), "ES256", span_str(input), &len);
		if (sig[31] != 0 && sig[63] != 0)
			continue;
		seen[0] |= sig[31] == 0;
		seen[1] |= sig[63] == 0;
		ASSERT_ERR(KB_OK, judge_by(mint_text("%s.%s", input, mint_b64(sig, len)),
					   mint_ec("P-256")));
	}
	assert_true(seen[0] && seen[1]);
}

/* The twin is valid mathematics; what single use remembers must be the same for both. */
static void test_a07_signature_twin(void **state)
{
	BIGNUM *n = BN_bin2bn(p256_order, 32, NULL), *s;
	uint8_t sig[64], id[2][32], digest[2][32];
	size_t len;

	(void)state;
	memcpy(sig, mint_sign(mint_ec("P-256"), "ES256", span_str(es256_input()), &len), 64);
	for (unsigned i = 0; i < 2; i++) {
		struct token *t = NULL;
		ASSERT_ERR(KB_OK, judge_es256(sig, 64));
		ASSERT_ERR(KB_OK, token_open(span_str(mint_text("%s.%s", es256_input(),
								mint_b64(sig, 64))),
					     &t));
		token_replay_id(t, id[i]);
		token_digest(t, digest[i]);
		token_free(t);
		s = BN_bin2bn(sig + 32, 32, NULL);
		assert_int_equal(BN_sub(s, n, s), 1);
		assert_int_equal(BN_bn2binpad(s, sig + 32, 32), 32);
		BN_free(s);
	}
	assert_memory_equal(id[0], id[1], 32);
	assert_memory_not_equal(digest[0], digest[1], 32);
	BN_free(n);
}

static void test_a08_kid(void **state)
{
	static const char *const unknown[] = {
		"x",           "K",  "kk",           "../../etc/passwd",
		"' OR 1=1 --", "k ", "http://evil/", "\\u006b\\u200b"};
	char *long_kid = mint_keep(calloc(1, 10 * 1024 + 1));

	(void)state;
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
		ASSERT_ERR(KB_E_KID_UNKNOWN,
			   judge(mint_token(mint_rsa(0), "RS256", unknown[i], CLAIMS)));
	ASSERT_ERR(KB_E_KID_MISSING, judge_header("{\"alg\":\"RS256\"}"));
	ASSERT_ERR(KB_E_TOKEN_HEADER, judge_header("{\"alg\":\"RS256\",\"kid\":1}"));
	ASSERT_ERR(KB_E_TOKEN_HEADER, judge_header("{\"alg\":\"RS256\",\"kid\":null}"));
	ASSERT_ERR(KB_E_KID_LENGTH, judge_header("{\"alg\":\"RS256\",\"kid\":\"\"}"));
	/* A13: no NUL in any string */
	ASSERT_ERR(KB_E_JSON_SYNTAX, judge_header("{\"alg\":\"RS256\",\"kid\":\"k\\u0000\"}"));
	memset(long_kid, 'k', 10 * 1024);
	ASSERT_ERR(KB_E_KID_LENGTH, judge(mint_token(mint_rsa(0), "RS256", long_kid, CLAIMS)));
	long_kid[10 * KB_MAX_KID] = '\0';
	ASSERT_ERR(KB_E_KID_LENGTH, judge(mint_token(mint_rsa(0), "RS256", long_kid, CLAIMS)));
	long_kid[KB_MAX_KID + 1] = '\0';
	ASSERT_ERR(KB_E_KID_LENGTH, judge(mint_token(mint_rsa(0), "RS256", long_kid, CLAIMS)));
	long_kid[KB_MAX_KID] = '\0';
	ASSERT_ERR(KB_E_KID_UNKNOWN, judge(mint_token(mint_rsa(0), "RS256", long_kid, CLAIMS)));
}

static void test_token_header_size(void **state)
{
	char *filler = mint_keep(calloc(1, 64 * 1024));
	static const char frame[] = "{\"alg\":\"RS256\",\"kid\":\"k\",\"x\":\"%s\"}";
	size_t space = KB_MAX_TOKEN_HEADER - (sizeof frame - 1 - 2);

	(void)state;
	memset(filler, 'x', 10 * KB_MAX_TOKEN_HEADER);
	ASSERT_ERR(KB_E_TOKEN_HEADER, judge_header(mint_text(frame, filler)));
	filler[space + 1] = '\0';
	ASSERT_ERR(KB_E_TOKEN_HEADER, judge_header(mint_text(frame, filler)));
	filler[space] = '\0';
	ASSERT_ERR(KB_OK, judge_header(mint_text(frame, filler)));
}

static void test_a09_header_members(void **state)
{
	static const char *const refused[] = {
		"\"crit\":[\"exp\"]",  "\"crit\":[]",        "\"crit\":[\"x\"],\"x\":1",
		"\"b64\":false",       "\"b64\":true",       "\"zip\":\"DEF\"",
		"\"cty\":\"JWT\"",     "\"x5c\":[\"MIIB\"]", "\"jwk\":{}",
		"\"enc\":\"A256GCM\"", "\"epk\":{}",         "\"apu\":\"\"",
		"\"apv\":\"\"",        "\"iv\":\"\"",        "\"tag\":\"\"",
		"\"p2s\":\"\"",        "\"p2c\":1",
	};
	static const char *const ignored[] = {
		"\"jku\":\"https://evil.test/certs\"",
		"\"x5u\":\"file:///etc/passwd\"",
		"\"x5t\":\"AAAA\"",
		"\"x5t#S256\":\"AAAA\"",
		"\"jku\":7",
		"\"nobody\":{\"knows\":[1]}",
		"\"typ\":\"JWT\"",
	};

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		ASSERT_ERR(KB_E_TOKEN_HEADER,
			   judge_header(
				   mint_text("{\"alg\":\"RS256\",\"kid\":\"k\",%s}", refused[i])));
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		ASSERT_ERR(KB_OK, judge_header(mint_text("{\"alg\":\"RS256\",\"kid\":\"k\",%s}",
							 ignored[i])));
	ASSERT_ERR(KB_E_TOKEN_HEADER, judge_header("[\"RS256\"]"));
}

static void test_a10_key_in_the_tokens_own_header(void **state)
{
	const char *header = mint_text("{\"alg\":\"RS256\",\"kid\":\"k\",\"jwk\":%s}",
				       mint_jwk(mint_rsa(2), "k", ""));

	(void)state;
	ASSERT_ERR(KB_E_TOKEN_HEADER,
		   judge(mint_jws(mint_rsa(2), "RS256", header, span_str(CLAIMS))));
	/* And by the other key under a kid of the issuer's. */
	ASSERT_ERR(KB_E_TOKEN_SIGNATURE, judge(mint_token(mint_rsa(2), "RS256", "k", CLAIMS)));
}

static void test_a11_duplicate_members(void **state)
{
	(void)state;
	ASSERT_ERR(KB_E_JSON_DUPLICATE,
		   judge_header("{\"alg\":\"RS256\",\"alg\":\"RS256\",\"kid\":\"k\"}"));
	ASSERT_ERR(KB_E_JSON_DUPLICATE,
		   judge_header("{\"alg\":\"none\",\"kid\":\"k\",\"\\u0061lg\":\"RS256\"}"));
	ASSERT_ERR(KB_E_JSON_DUPLICATE,
		   judge_payload(span_str("{\"iss\":\"a\",\"iss\":\"" MINT_ISS "\"}")));
	ASSERT_ERR(KB_E_JSON_DUPLICATE,
		   judge_payload(span_str("{\"iss\":\"" MINT_ISS "\",\"\\u0069ss\":\"b\"}")));
	ASSERT_ERR(KB_E_JSON_DUPLICATE,
		   judge_payload(span_str("{\"iss\":\"" MINT_ISS "\",\"a\":[{\"b\":1,\"b\":2}]}")));
}

static void test_a12_depth(void **state)
{
	static const size_t depths[] = {KB_MAX_JSON_DEPTH + 1, 2048, 100000};

	(void)state;
	for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
		char *text = mint_keep(calloc(1, depths[i] + 1));
		memset(text, '[', depths[i]);
		ASSERT_ERR(KB_E_JSON_DEPTH, judge_payload(span_str(text)));
		ASSERT_ERR(KB_E_JSON_DEPTH, judge_header(text));
	}
}

static void test_a13_payload_syntax(void **state)
{
#define BAD(s)                                                                                     \
	{                                                                                          \
		(const uint8_t *)(s), sizeof s - 1                                                 \
	}
	static const struct span bad[] = {
		BAD("{\"iss\":\"a\0\"}"),
		BAD("{\"iss\":\"\\u0000\"}"),
		BAD("{\"iss\":\"\\ud800\"}"),
		BAD("{\"iss\":\"\xc0\xaf\"}"),
		BAD("\xef\xbb\xbf{}"),
		BAD("{\"iss\":\"a\",\"x\":NaN}"),
		BAD("{}{}"),
		BAD("{}//"),
		BAD("/**/{}"),
		BAD(" "),
	};
#undef BAD

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_JSON_SYNTAX, judge_payload(bad[i]));
	ASSERT_ERR(KB_E_TOKEN_FORMAT, judge_payload(span_str("[]")));
}

static void test_a20_iss_byte_for_byte(void **state)
{
	static const char *const others[] = {
		"https://issuer.test.evil.com", "https://issuer.test/",
		"HTTPS://issuer.test",          "https://Issuer.test",
		"https://issuer.test@evil.com", "https://good@issuer.test",
		"https://\\u0456ssuer.test",    "https://issuer%2etest",
		"http://issuer.test",           "https://issuer.test:443",
		"https://issuer.tes",           "https://issuer.test ",
	};

	(void)state;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		ASSERT_ERR(KB_E_ISSUER, judge_payload(span_str(mint_text(
						"{\"iss\":\"%s\",\"tee\":\"sgx\"}", others[i]))));
	ASSERT_ERR(KB_E_CLAIM_MISSING, judge_payload(span_str("{\"x\":1}")));
	ASSERT_ERR(KB_E_CLAIM_TYPE, judge_payload(span_str("{\"iss\":1}")));
	ASSERT_ERR(KB_E_CLAIM_TYPE, judge_payload(span_str("{\"iss\":[\"" MINT_ISS "\"]}")));
	ASSERT_ERR(KB_E_CLAIM_TYPE, judge_payload(span_str("{\"iss\":\"\"}")));
	char *iss = mint_keep(calloc(1, KB_MAX_ISS + 2));
	memset(iss, 'i', KB_MAX_ISS + 1);
	ASSERT_ERR(KB_E_CLAIM_TYPE, judge_payload(span_str(mint_text("{\"iss\":\"%s\"}", iss))));
	iss[KB_MAX_ISS] = '\0';
	ASSERT_ERR(KB_E_ISSUER, judge_payload(span_str(mint_text("{\"iss\":\"%s\"}", iss))));
}

static void test_token_rejects_without_issuer_or_keys(void **state)
{
	struct issuer_rules issuer = mint_issuer();
	const char *token = mint_token(mint_rsa(0), "RS256", "k", CLAIMS);

	(void)state;
	ASSERT_ERR(KB_E_ISSUER, judge_with(token, NULL, NULL));
	ASSERT_ERR(KB_E_ISSUER_UNAVAILABLE, judge_with(token, &issuer, NULL));
}

static void test_a21_issuer_signs_for_another(void **state)
{
	struct issuer_rules b = mint_issuer();
	struct jwks *keys_b = mint_jwks(mint_rsa(0), "b");

	(void)state;
	/* Issuer A has key 2, kid "a"; it claims B's iss, once by its own kid and once by B's. */
	ASSERT_ERR(KB_E_KID_UNKNOWN,
		   judge_with(mint_token(mint_rsa(2), "RS256", "a", CLAIMS), &b, keys_b));
	ASSERT_ERR(KB_E_TOKEN_SIGNATURE,
		   judge_with(mint_token(mint_rsa(2), "RS256", "b", CLAIMS), &b, keys_b));
	jwks_free(keys_b);
}

static void test_a28_form(void **state)
{
	char *good = mint_token(mint_rsa(0), "RS256", "k", CLAIMS);
	char *dot1 = strchr(good, '.'), *dot2 = strchr(dot1 + 1, '.');
	int h = (int)(dot1 - good), p = (int)(dot2 - dot1 - 1);
	const char *header = mint_text("%.*s", h, good), *payload = mint_text("%.*s", p, dot1 + 1),
		   *sig = dot2 + 1;
	char *loose = mint_text("%s", good);

	(void)state;
	ASSERT_ERR(KB_OK, judge(mint_text("%s.%s.%s", header, payload, sig)));
	const char *const bad[] = {
		"",
		".",
		"..",
		"...",
		"....",
		mint_text("%s", header),
		mint_text("%s.%s", header, payload),
		mint_text("%s.%s.%s.", header, payload, sig),
		mint_text("%s.%s.%s.%s", header, payload, sig, sig),
		mint_text("%s.%s.%s.%s.%s", header, payload, sig, sig, sig),
		mint_text(".%s.%s", payload, sig),
		mint_text("%s..%s", header, sig),
		mint_text("%s.%s.%s=", header, payload, sig),
		mint_text("%s.%s.%s==x", header, payload, sig),
		mint_text("%s=.%s.%s", header, payload, sig),
		mint_text("%s.%s=.%s", header, payload, sig),
		mint_text(" %s.%s.%s", header, payload, sig),
		mint_text("%s.%s.%s ", header, payload, sig),
		mint_text("%s.%s.%s\n", header, payload, sig),
		mint_text("%s. %s.%s", header, payload, sig),
		mint_text("%s.%s.+/%s", header, payload, sig + 2),
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_TOKEN_FORMAT, judge(bad[i]));
	char *last = loose + strlen(loose) - 1; /* 4 bits unused: A, Q, g, w alone are canonical */
	*last = (char)(*last + 1);
	ASSERT_ERR(KB_E_TOKEN_FORMAT, judge(loose));
	struct token *t = NULL;
	ASSERT_ERR(KB_E_TOKEN_FORMAT,
		   token_open(span_of(good, strlen(good) + 1), &t)); /* a NUL at the end */
	ASSERT_ERR(KB_E_TOKEN_FORMAT, token_open(span_of(NULL, 0), &t));
}

/* A good token of the largest length ≤ want: the payload is what base64 leaves for it. */
static char *token_of_length(size_t want)
{
	static const char header[] = "{\"alg\":\"RS256\",\"kid\":\"k\"}",
			  frame[] = "{\"iss\":\"" MINT_ISS "\",\"tee\":\"sgx\",\"f\":\"\"}";
	size_t others = strlen(mint_b64(header, sizeof header - 1)) + 1 + 1 + 342;
	size_t filler_len = (want - others) / 4 * 3 - (sizeof frame - 1);
	char *filler = mint_keep(calloc(1, filler_len + 1));

	memset(filler, 'f', filler_len);
	char *claims = mint_text("{\"iss\":\"" MINT_ISS "\",\"tee\":\"sgx\",\"f\":\"%s\"}", filler);
	return mint_jws(mint_rsa(0), "RS256", header, span_str(claims));
}

static void test_a29_size(void **state)
{
	char *at_limit = token_of_length(KB_MAX_TOKEN);
	struct token *t = NULL;

	(void)state;
	assert_in_range(strlen(at_limit), KB_MAX_TOKEN - 3, KB_MAX_TOKEN);
	ASSERT_ERR(KB_OK, judge(at_limit));
	char *ten = mint_keep(calloc(1, 10 * 1024 * 1024));
	memset(ten, '=', 10 * 1024 * 1024 - 1); /* not even base64: the size is judged first */
	ASSERT_ERR(KB_E_TOKEN_SIZE, token_open(span_of(ten, KB_MAX_TOKEN + 1), &t));
	ASSERT_ERR(KB_E_TOKEN_SIZE, token_open(span_of(ten, 10 * KB_MAX_TOKEN), &t));
	ASSERT_ERR(KB_E_TOKEN_SIZE, token_open(span_of(ten, 10 * 1024 * 1024), &t));
	ASSERT_ERR(KB_E_TOKEN_FORMAT, token_open(span_of(ten, KB_MAX_TOKEN), &t));
}

static void test_a31_other_types_of_token(void **state)
{
	static const char jwe[] = "{\"alg\":\"RSA-OAEP\",\"enc\":\"A256GCM\"}";
	static const char *const types[] = {"jwt",     "at+jwt", "JWS", "JOSE", "application/jwt",
					    "EAT+JWT", ""};

	(void)state;
	ASSERT_ERR(KB_E_TOKEN_TYPE,
		   judge(mint_text("%s.AA.AA.AA.AA", mint_b64(jwe, sizeof jwe - 1))));
	ASSERT_ERR(KB_E_TOKEN_FORMAT, judge("AA.AA.AA.AA.AA"));
	ASSERT_ERR(KB_E_TOKEN_FORMAT, judge("e30.AA.AA.AA.AA"));
	ASSERT_ERR(KB_E_TOKEN_FORMAT, judge("!.AA.AA.AA.AA"));
	ASSERT_ERR(KB_E_TOKEN_TYPE, judge("{\"payload\":\"e30\",\"signatures\":[]}"));
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		ASSERT_ERR(KB_E_TOKEN_TYPE,
			   judge_header(mint_text(
				   "{\"alg\":\"RS256\",\"kid\":\"k\",\"typ\":\"%s\"}", types[i])));
	ASSERT_ERR(KB_E_TOKEN_TYPE, judge_header("{\"alg\":\"RS256\",\"kid\":\"k\",\"typ\":null}"));
	ASSERT_ERR(KB_E_TOKEN_TYPE, judge_payload(span_str(mint_token(mint_rsa(0), "RS256", "k",
								      CLAIMS)))); /* nested */
}

static void test_a31_id_token_of_the_same_issuer(void **state)
{
	struct issuer_rules issuer = mint_issuer();
	struct jwks *keys = mint_jwks(mint_rsa(0), "k");
	char *id_token =
		mint_token(mint_rsa(0), "RS256", "k",
			   "{\"iss\":\"" MINT_ISS "\",\"sub\":\"somebody\",\"aud\":\"an app\"}");

	(void)state;
	ASSERT_ERR(KB_E_TOKEN_TYPE, judge_with(id_token, &issuer, keys));
	ASSERT_ERR(KB_OK, judge_with(mint_token(mint_rsa(0), "RS256", "k",
						"{\"iss\":\"" MINT_ISS "\",\"tee\":\"sgx\"}"),
				     &issuer, keys));
	ASSERT_ERR(KB_OK, judge_with(mint_token(mint_rsa(0), "RS256", "k",
						"{\"iss\":\"" MINT_ISS
						"\",\"x-ms-sgx-is-debuggable\":false}"),
				     &issuer, keys));
	issuer.is_maa = false;
	ASSERT_ERR(KB_OK, judge_with(id_token, &issuer, keys));
	jwks_free(keys);
}

/* Every bit of a whole token: nothing changed is ever accepted. */
static void flip_every_bit(char *text, size_t from, size_t to, const struct issuer_rules *issuer,
			   const struct jwks *keys)
{
	for (size_t i = from; i < to; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			struct token *t = NULL;
			text[i] = (char)(text[i] ^ 1 << bit);
			enum kb_err err = token_open(span_of(text, to), &t);
			if (err == KB_OK)
				err = token_verify(t, issuer, keys);
			token_free(t);
			text[i] = (char)(text[i] ^ 1 << bit);
			if (err == KB_OK)
				fail_msg("bit %u of byte %zu: accepted", bit, i);
			if (kb_err_class(err) != KB_CLASS_DENY)
				fail_msg("bit %u of byte %zu: %s", bit, i, kb_err_name(err));
		}
	}
}

static void test_a32_every_bit_of_minted_tokens(void **state)
{
	static const char *const algs[] = {"RS256", "PS256", "ES256"};
	struct issuer_rules issuer = mint_issuer();

	(void)state;
	issuer.algorithms = ALL_ALGS;
	for (size_t i = 0; i < sizeof algs / sizeof *algs; i++) {
		EVP_PKEY *key = algs[i][0] == 'E' ? mint_ec("P-256") : mint_rsa(0);
		struct jwks *keys = mint_jwks(key, "k");
		char *text = mint_token(key, algs[i], "k", CLAIMS);
		ASSERT_ERR(KB_OK, judge_with(text, &issuer, keys));
		flip_every_bit(text, 0, strlen(text), &issuer, keys);
		jwks_free(keys);
	}
}

/* ---- a token of the real service ---- */

struct real {
	char *text;
	size_t len;
	struct issuer_rules issuer;
	struct jwks *keys;
};

static struct real real_token(void)
{
	static char iss[] = "https://cplarryoattestationaad.wus.attest.azure.net";
	struct real r = {.issuer = mint_issuer()};
	struct span file = mint_file("tests/vectors/maa/sgx-2022.jwt");

	r.len = file.len;
	while (r.len > 0 && (file.p[r.len - 1] == '\n' || file.p[r.len - 1] == '\r'))
		r.len--;
	r.text = mint_text("%.*s", (int)r.len, (const char *)file.p);
	r.issuer.issuer = iss;
	ASSERT_ERR(KB_OK,
		   jwks_parse(mint_file("tests/vectors/maa/sgx-2022.certs.json"), &r.keys, NULL));
	return r;
}

static void test_token_accepts_a_real_one(void **state)
{
	struct real r = real_token();
	struct token *t = NULL;
	struct span mrsigner;

	(void)state;
	ASSERT_ERR(KB_OK, token_open(span_of(r.text, r.len), &t));
	ASSERT_ERR(KB_OK, token_verify(t, &r.issuer, r.keys));
	ASSERT_ERR(KB_OK, json_get_str(token_claims(t), "x-ms-sgx-mrsigner", 64, &mrsigner));
	assert_true(span_eq_cstr(
		mrsigner, "4aea5f9a0ed04b11f889aadfe6a1d376213a29a95a85ce7337ae6f7fece6610c"));
	token_free(t);
	jwks_free(r.keys);
}

static void test_a32_every_bit_of_a_real_header_and_signature(void **state)
{
	struct real r = real_token();
	size_t header = (size_t)(strchr(r.text, '.') - r.text),
	       signature = (size_t)(strrchr(r.text, '.') - r.text);

	(void)state;
	char *short_text = mint_text("%s", r.text);
	flip_every_bit(short_text, signature, r.len, &r.issuer, r.keys);
	for (size_t i = 0; i <= header; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			short_text[i] = (char)(short_text[i] ^ 1 << bit);
			assert_int_not_equal(judge_with(short_text, &r.issuer, r.keys), KB_OK);
			short_text[i] = (char)(short_text[i] ^ 1 << bit);
		}
	}
	jwks_free(r.keys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_token_accepts_a_good_one),
		cmocka_unit_test(test_token_note_shows_what_is_wrong),
		cmocka_unit_test(test_a47_attestation_types_that_name_nothing),
		cmocka_unit_test(test_a41_numbers_beyond_64_bits_in_claims),
		cmocka_unit_test(test_a01_alg_none),
		cmocka_unit_test(test_token_rejects_alg_absent_or_no_string),
		cmocka_unit_test(test_a02_hs256_by_the_public_key),
		cmocka_unit_test(test_a03_alg_not_the_issuers),
		cmocka_unit_test(test_a03_alg_not_the_keys),
		cmocka_unit_test(test_a04_es256_with_p384_and_p521_key),
		cmocka_unit_test(test_a05_ecdsa_signature_lengths),
		cmocka_unit_test(test_a05_rsa_signature_lengths),
		cmocka_unit_test(test_a06_psychic_signatures),
		cmocka_unit_test(test_token_accepts_numbers_that_end_in_zero),
		cmocka_unit_test(test_a07_signature_twin),
		cmocka_unit_test(test_a08_kid),
		cmocka_unit_test(test_token_header_size),
		cmocka_unit_test(test_a09_header_members),
		cmocka_unit_test(test_a10_key_in_the_tokens_own_header),
		cmocka_unit_test(test_a11_duplicate_members),
		cmocka_unit_test(test_a12_depth),
		cmocka_unit_test(test_a13_payload_syntax),
		cmocka_unit_test(test_a20_iss_byte_for_byte),
		cmocka_unit_test(test_token_rejects_without_issuer_or_keys),
		cmocka_unit_test(test_a21_issuer_signs_for_another),
		cmocka_unit_test(test_a28_form),
		cmocka_unit_test(test_a29_size),
		cmocka_unit_test(test_a31_other_types_of_token),
		cmocka_unit_test(test_a31_id_token_of_the_same_issuer),
		cmocka_unit_test(test_a32_every_bit_of_minted_tokens),
		cmocka_unit_test(test_token_accepts_a_real_one),
		cmocka_unit_test(test_a32_every_bit_of_a_real_header_and_signature),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
