/* tests/unit/guest/test_guest_reply.c — the checks of a release: a reply made here by hand, and
 * every way in which it can be another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "base/b64url.h"
#include "base/json.h"
#include "guest/output.h"
#include "guest/reply.h"
#include "keystore/kwp.h"

enum { NOW = 1800000000, DAY = 86400 };
#define SIGNER X509_SIGNER_USAGE

static EVP_PKEY *root_key, *leaf_key, *ec_leaf_key, *small_leaf_key, *rsa, *ec;
static X509 *root, *other_root;
static EVP_PKEY *server_ca_key;
static struct ephemeral *eph;
static EVP_PKEY *eph_public;

/* What is in the reply; the zero value of a member is the right one. */
struct made {
	const char *alg, *host, *request_kid, *key_kid, *nonce, *enc, *hsm_kid, *hsm_enc, *kty;
	const char *header, *payload,
		*blob;        /* instead of what is made: in clear, for the signature covers them */
	const char *usage;    /* the leaf's extended key usages; "": none */
	const char *digital;  /* its key usage; NULL: none */
	const char *ca_usage; /* issued by a CA below the root, with these */
	bool peer_is_signer, no_peer, right_pin, wrong_pin;
	bool leaf_is_ec, leaf_is_small, is_expired, no_root, reversed, crit, bad_signature,
		bad_oaep, bad_kwp, short_aes, wrong_public;
	EVP_PKEY *key;
	const void *plain;
	size_t plain_len;
};

static void extend(X509 *x, X509V3_CTX *ctx, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, ctx, nid, value);

	assert_non_null(e);
	assert_int_equal(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

/* `is_ca`: without a name for hosts. */
static X509 *certificate_with(EVP_PKEY *key, const char *name, bool is_ca, const char *usage,
			      const char *digital, X509 *issuer, EVP_PKEY *issuer_key, long from,
			      long until)
{
	char text[128];
	X509 *x = X509_new();
	X509V3_CTX ctx;
	static long serial;

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	ASN1_TIME_set(X509_getm_notBefore(x), NOW + from);
	ASN1_TIME_set(X509_getm_notAfter(x), NOW + until);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
				   (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer == NULL ? x : issuer));
	X509_set_pubkey(x, key);
	X509V3_set_ctx(&ctx, issuer == NULL ? x : issuer, x, NULL, NULL, 0);
	snprintf(text, sizeof text, "DNS:%s", name);
	extend(x, &ctx, is_ca ? NID_basic_constraints : NID_subject_alt_name,
	       is_ca ? "critical,CA:TRUE" : text);
	if (usage[0] != '\0')
		extend(x, &ctx, NID_ext_key_usage, usage);
	if (digital != NULL)
		extend(x, &ctx, NID_key_usage, digital);
	assert_true(X509_sign(x, issuer_key, EVP_sha256()) > 0);
	return x;
}

static EVP_PKEY *public_of(const struct ephemeral *e)
{
	EVP_PKEY *key = NULL;
	BIGNUM *n = BN_bin2bn(ephemeral_n(e).p, (int)ephemeral_n(e).len, NULL),
	       *exp = BN_bin2bn(ephemeral_e(e).p, (int)ephemeral_e(e).len, NULL);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);

	OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n);
	OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, exp);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
	EVP_PKEY_fromdata_init(ctx);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	EVP_PKEY_CTX_free(ctx);
	BN_free(n);
	BN_free(exp);
	return key;
}

static int setup(void **state)
{
	(void)state;
	assert_int_equal(secret_arena_init(), KB_OK);
	root_key = EVP_RSA_gen(2048);
	leaf_key = EVP_RSA_gen(2048);
	ec_leaf_key = EVP_EC_gen("P-256");
	small_leaf_key = EVP_RSA_gen(1024);
	rsa = EVP_RSA_gen(2048);
	ec = EVP_EC_gen("P-521");
	server_ca_key = EVP_EC_gen("P-256");
	root = certificate_with(root_key, "root", true, "", NULL, NULL, root_key, -DAY, DAY);
	other_root =
		certificate_with(leaf_key, "other root", true, "", NULL, NULL, leaf_key, -DAY, DAY);
	assert_int_equal(ephemeral_make(&eph), KB_OK);
	eph_public = public_of(eph);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(root_key);
	EVP_PKEY_free(leaf_key);
	EVP_PKEY_free(ec_leaf_key);
	EVP_PKEY_free(small_leaf_key);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(eph_public);
	X509_free(root);
	X509_free(other_root);
	EVP_PKEY_free(server_ca_key);
	ephemeral_free(eph);
	return 0;
}

static void wrap(const struct made *m, struct span plain, struct buf *out)
{
	uint8_t aes[32], *at = buf_reserve(out, 256);
	size_t len = 256;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(eph_public, NULL);

	RAND_bytes(aes, sizeof aes);
	EVP_PKEY_encrypt_init(ctx);
	EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING);
	EVP_PKEY_CTX_set_rsa_oaep_md(ctx, m->bad_oaep ? EVP_sha1() : EVP_sha256());
	EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, m->bad_oaep ? EVP_sha1() : EVP_sha256());
	assert_int_equal(EVP_PKEY_encrypt(ctx, at, &len, aes, m->short_aes ? 16 : 32), 1);
	EVP_PKEY_CTX_free(ctx);
	assert_int_equal(kwp_wrap(aes, plain, out), KB_OK);
	out->p[out->len - 1] ^= m->bad_kwp;
}

static void add_number(struct buf *b, const char *name, const EVP_PKEY *key, const char *param)
{
	BIGNUM *bn = NULL;
	uint8_t bytes[512];

	assert_int_equal(EVP_PKEY_get_bn_param(key, param, &bn), 1);
	int len = BN_bn2bin(bn, bytes);
	json_add_name(b, name);
	buf_add_str(b, "\"");
	b64url_encode(b, span_of(bytes, (size_t)len));
	buf_add_str(b, "\"");
	BN_free(bn);
}

static const char * or (const char *given, const char *right)
{
	return given == NULL ? right : given;
}

static void make_payload(const struct made *m, struct buf *out)
{
	KB_AUTO(buf) struct buf blob, hsm;
	uint8_t *der = NULL;
	struct span plain = span_of(m->plain == NULL ? "0123456789abcdef" : m->plain,
				    m->plain == NULL ? 16 : m->plain_len);

	buf_init(&blob, 16384);
	buf_init(&hsm, 32768);
	if (m->key != NULL) {
		PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(m->key);
		plain = span_of(NULL, (size_t)i2d_PKCS8_PRIV_KEY_INFO(info, &der));
		plain.p = der;
		PKCS8_PRIV_KEY_INFO_free(info);
	}
	if (m->payload != NULL) {
		buf_add_str(out, m->payload);
		OPENSSL_free(der);
		return;
	}
	wrap(m, plain, &blob);
	if (m->blob != NULL)
		buf_add_str(&hsm, m->blob);
	else
		buf_addf(&hsm,
			 "{\"schema_version\":\"1.0\",\"header\":{\"kid\":\"%s\",\"alg\":\"dir\","
			 "\"enc\":\"%s\"},\"ciphertext\":\"",
			 or (m->hsm_kid, "k"), or (m->hsm_enc, "RSA_AES_KEY_WRAP_256"));
	if (m->blob == NULL) {
		b64url_encode(&hsm, buf_span(&blob));
		buf_add_str(&hsm, "\"}");
	}
	buf_addf(out, "{\"request\":{\"enc\":\"%s\",\"kid\":\"%s\"",
		 or (m->enc, "RSA_AES_KEY_WRAP_256"), or (m->request_kid, "https://v/keys/disk"));
	if (m->nonce == NULL || m->nonce[0] != '\0')
		json_add_member(out, "nonce", span_str(or (m->nonce, "n1")));
	buf_addf(out, "},\"response\":{\"key\":{\"key\":{\"kid\":\"%s\",\"kty\":\"%s\"",
		 or (m->key_kid, "https://v/keys/disk/0123456789abcdef0123456789abcdef"),
		 or (m->kty, "oct-HSM"));
	if (m->key == rsa) {
		add_number(out, "n", m->wrong_public ? root_key : rsa, OSSL_PKEY_PARAM_RSA_N);
		add_number(out, "e", rsa, OSSL_PKEY_PARAM_RSA_E);
	} else if (m->key == ec) {
		json_add_member(out, "crv", span_str(m->wrong_public ? "P-256" : "P-521"));
		add_number(out, "x", ec, OSSL_PKEY_PARAM_EC_PUB_X);
		add_number(out, "y", ec, OSSL_PKEY_PARAM_EC_PUB_Y);
	}
	json_add_name(out, "key_hsm");
	buf_add_str(out, "\"");
	b64url_encode(out, buf_span(&hsm));
	buf_add_str(out, "\"}}}}");
	OPENSSL_free(der);
}

static void add_der(struct buf *b, X509 *x)
{
	uint8_t *der = NULL;
	int len = i2d_X509(x, &der);

	buf_add_str(b, b->p[b->len - 1] == '[' ? "\"" : ",\"");
	b64_encode(b, span_of(der, (size_t)len));
	buf_add_str(b, "\"");
	OPENSSL_free(der);
}

static void make_reply(const struct made *m, struct buf *out)
{
	KB_AUTO(buf) struct buf header, payload;
	EVP_PKEY *key = m->leaf_is_ec ? ec_leaf_key : m->leaf_is_small ? small_leaf_key : leaf_key;
	X509 *ca = m->ca_usage == NULL
			   ? NULL
			   : certificate_with(server_ca_key, "issuing", true, m->ca_usage, NULL,
					      root, root_key, -DAY, DAY);
	X509 *leaf = certificate_with(key, or (m->host, "broker.test"), false,
				      or (m->usage, SIGNER), m->digital, ca == NULL ? root : ca,
				      ca == NULL ? root_key : server_ca_key, -DAY,
				      m->is_expired ? -1 : DAY);
	uint8_t signature[512];
	size_t len = sizeof signature;

	buf_init(&header, 65536);
	buf_init(&payload, 65536);
	buf_init(out, 262144);
	if (m->header != NULL) {
		buf_add_str(&header, m->header);
	} else {
		buf_addf(&header, "{\"alg\":\"%s\",\"x5c\":[", or (m->alg, "RS256"));
		add_der(&header, m->reversed ? root : leaf);
		if (ca != NULL)
			add_der(&header, ca);
		if (!m->no_root)
			add_der(&header, m->reversed ? leaf : root);
		buf_add_str(&header, m->crit ? "],\"crit\":[\"x\"],\"x\":1}" : "]}");
	}
	make_payload(m, &payload);
	buf_add_str(out, "{\"value\":\"");
	size_t from = out->len;
	b64url_encode(out, buf_span(&header));
	buf_add_str(out, ".");
	b64url_encode(out, buf_span(&payload));
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, m->bad_signature ? root_key : key);
	assert_int_equal(EVP_DigestSign(ctx, signature, &len, out->p + from, out->len - from), 1);
	EVP_MD_CTX_free(ctx);
	buf_add_str(out, ".");
	b64url_encode(out, span_of(signature, len));
	buf_add_str(out, "\"}");
	assert_int_equal(buf_ok(out), KB_OK);
	X509_free(leaf);
	X509_free(ca);
}

static const char *hint; /* of the last open_with() */

static enum kb_err open_with(const struct made *m, X509 *trusted, const char *version,
			     struct released *out)
{
	KB_AUTO(buf) struct buf reply;
	X509_STORE *roots = X509_STORE_new();
	uint8_t pins[2][X509_PIN_BYTES] = {{1}, {2}};
	const struct asked asked = {
		.signer = {.roots = roots,
			   .host = "broker.test",
			   .now_s = NOW,
			   .peer = m->no_peer          ? NULL
				   : m->peer_is_signer ? leaf_key
						       : ec,
			   .pins = (const uint8_t(*)[X509_PIN_BYTES])pins,
			   .n_pins = m->right_pin || m->wrong_pin ? 2 : 0},
		.name = span_str("Disk"), /* names have no case */
		.version = span_str(version),
		.scheme = scheme_find(span_str("RSA_AES_KEY_WRAP_256")),
		.nonce = span_str("n1"),
		.kid = span_str("k"),
		.key = eph,
	};

	X509_STORE_add_cert(roots, trusted);
	make_reply(m, &reply);
	if (m->right_pin) /* a certificate's pin is its key's: other_root has the leaf's key */
		assert_int_equal(x509_pin(other_root, pins[1]), KB_OK);
	enum kb_err err = reply_open(buf_span(&reply), &asked, out);
	hint = out->hint;
	X509_STORE_free(roots);
	return err;
}

static void test_reply_opens_every_type(void **state)
{
	struct released got;

	(void)state;
	assert_int_equal(open_with(&(struct made){0}, root, NULL, &got), KB_OK);
	assert_true(secret_equal_span(got.plain, span_str("0123456789abcdef")));
	assert_null(got.key);
	assert_string_equal(got.version, "0123456789abcdef0123456789abcdef");
	released_free(&got);
	assert_int_equal(open_with(&(struct made){.key = rsa, .kty = "RSA"}, root, NULL, &got),
			 KB_OK);
	assert_int_equal(EVP_PKEY_eq(got.key, rsa), 1);
	released_free(&got);
	assert_int_equal(open_with(&(struct made){.key = ec, .kty = "EC-HSM"}, root, NULL, &got),
			 KB_OK);
	assert_int_equal(EVP_PKEY_eq(got.key, ec), 1);
	released_free(&got);
	assert_int_equal(
		open_with(
			&(struct made){
				.request_kid =
					"https://v/keys/disk/0123456789abcdef0123456789abcdef"},
			root, "0123456789abcdef0123456789abcdef", &got),
		KB_OK);
	released_free(&got);
}

static void test_reply_is_not_the_answer(void **state)
{
	static const uint8_t bytes[65] = {1};
	const struct {
		struct made made;
		enum kb_err err;
	} lies[] = {
		{{.alg = "RS384"}, KB_E_TOKEN_ALG},
		{{.alg = "none"}, KB_E_TOKEN_ALG},
		{{.crit = true}, KB_E_TOKEN_HEADER},
		{{.bad_signature = true}, KB_E_TOKEN_SIGNATURE},
		{{.leaf_is_ec = true}, KB_E_KEY_TYPE},
		{{.is_expired = true}, KB_E_EXPIRED},
		{{.host = "other.test"}, KB_E_ISSUER},
		{{.reversed = true}, KB_E_KID_UNKNOWN},
		{{.request_kid = "https://v/keys/other"}, KB_E_PATH},
		{{.request_kid = "https://v/keys/disk/0123456789abcdef0123456789abcdef"},
		 KB_E_PATH}, /* a version that was not asked for */
		{{.key_kid = "https://v/keys/other/0123456789abcdef0123456789abcdef"}, KB_E_PATH},
		{{.key_kid = "https://v/keys/disk/0123456789abcdef0123456789abcdef0"}, KB_E_PATH},
		{{.key_kid = "https://v/keys/disk/0123\\u001b[2J"}, KB_E_PATH},
		{{.key_kid = "https://v/keys/disk/0123\xc2\x9b"
			     "2J"},
		 KB_E_PATH},
		{{.key_kid = "https://v/keys/disk/01 23"}, KB_E_PATH},
		{{.nonce = "n2"}, KB_E_NONCE},
		{{.nonce = ""}, KB_E_NONCE},
		{{.enc = "CKM_RSA_AES_KEY_WRAP"}, KB_E_ENC},
		{{.hsm_enc = "CKM_RSA_AES_KEY_WRAP"}, KB_E_ENC},
		{{.hsm_kid = "another"}, KB_E_KEY_BINDING},
		{{.bad_oaep = true}, KB_E_WRAP},
		{{.bad_kwp = true}, KB_E_WRAP},
		{{.short_aes = true}, KB_E_WRAP},
		{{.kty = "OKP"}, KB_E_KEY_TYPE},
		{{.kty = "a kind with a long name"}, KB_E_KEY_TYPE},
		{{.kty = "RSA"}, KB_E_KEY_FORMAT}, /* the plaintext is no PKCS#8 */
		{{.kty = "RSA", .key = rsa, .wrong_public = true}, KB_E_KEY_FORMAT},
		{{.kty = "EC", .key = ec, .wrong_public = true}, KB_E_KEY_FORMAT},
		{{.kty = "EC", .key = rsa}, KB_E_KEY_FORMAT},
		{{.leaf_is_small = true}, KB_E_KEY_SIZE},
		{{.header = "[]"}, KB_E_TOKEN_FORMAT},
		{{.header = "{\"alg\":\"RS256\""}, KB_E_TOKEN_FORMAT},
		{{.header = "{\"alg\":7}"}, KB_E_TOKEN_ALG},
		{{.header = "{\"alg\":\"RS256\"}"}, KB_E_TOKEN_HEADER},
		{{.header = "{\"alg\":\"RS256\",\"x5c\":[]}"}, KB_E_TOKEN_HEADER},
		{{.header = "{\"alg\":\"RS256\",\"x5c\":[7]}"}, KB_E_TOKEN_HEADER},
		{{.header = "{\"alg\":\"RS256\",\"x5c\":[\"MI-_\"]}"}, KB_E_TOKEN_HEADER},
		{{.header = "{\"alg\":\"RS256\",\"x5c\":[\"MAA=\"]}"},
		 KB_E_TOKEN_HEADER}, /* base64, and no certificate */
		{{.payload = "[]"}, KB_E_TOKEN_FORMAT},
		{{.payload = "{}"}, KB_E_FETCH_CONTENT},
		{{.payload = "{\"request\":{\"kid\":7}}"}, KB_E_FETCH_CONTENT},
		{{.payload = "{\"request\":{\"kid\":\"https://v/keys/"
			     "disk\",\"nonce\":\"n1\",\"enc\":\"RSA_AES_KEY_WRAP_256\"}}"},
		 KB_E_FETCH_CONTENT},
		{{.blob = "{}"}, KB_E_FETCH_CONTENT},
		{{.blob = "no JSON"}, KB_E_FETCH_CONTENT},
		{{.blob = "{\"header\":{\"kid\":\"k\",\"alg\":\"dir\",\"enc\":\"RSA_AES_KEY_WRAP_"
			  "256\"}}"},
		 KB_E_FETCH_CONTENT},
		{{.blob = "{\"header\":{\"kid\":\"k\",\"alg\":\"dir\",\"enc\":\"RSA_AES_KEY_WRAP_"
			  "256\"},\"ciphertext\":\"*\"}"},
		 KB_E_FETCH_CONTENT},
		{{.blob = "{\"header\":{\"kid\":\"k\",\"alg\":\"dir\",\"enc\":\"RSA_AES_KEY_WRAP_"
			  "256\"},\"ciphertext\":\"AAAA\"}"},
		 KB_E_WRAP},
		{{.blob = "{\"header\":{\"kid\":\"k\",\"alg\":\"RSA\",\"enc\":\"RSA_AES_KEY_WRAP_"
			  "256\"},\"ciphertext\":\"AAAA\"}"},
		 KB_E_ENC},
		{{.plain = bytes, .plain_len = 15}, KB_E_KEY_SIZE},
		{{.plain = bytes, .plain_len = 65}, KB_E_KEY_SIZE},
	};
	struct released got;

	(void)state;
	for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
		enum kb_err err = open_with(&lies[i].made, root, NULL, &got);
		if (err != lies[i].err)
			fail_msg("case %u: %s, expected %s", i, kb_err_name(err),
				 kb_err_name(lies[i].err));
		assert_null(got.plain);
		assert_null(got.key);
	}
	assert_int_equal(open_with(&(struct made){0}, other_root, NULL, &got), KB_E_KID_UNKNOWN);
	assert_int_equal(
		open_with(&(struct made){0}, root, "ffffffffffffffffffffffffffffffff", &got),
		KB_E_PATH);
}

/* What is no JWS at all, and no member that could be one. */
static void test_reply_is_no_reply(void **state)
{
	static const struct {
		const char *body;
		enum kb_err err;
	} cases[] = {
		{"", KB_E_FETCH_CONTENT},
		{"[]", KB_E_FETCH_CONTENT},
		{"{}", KB_E_FETCH_CONTENT},
		{"{\"value\":7}", KB_E_FETCH_CONTENT},
		{"{\"value\":\"x\"}", KB_E_TOKEN_FORMAT},
		{"{\"value\":\"e30.e30\"}", KB_E_TOKEN_FORMAT},
		{"{\"value\":\"e30.e30.*\"}", KB_E_TOKEN_FORMAT},
		{"{\"value\":\"*.e30.e30\"}", KB_E_TOKEN_FORMAT},
		{"{\"value\":\"e30.e30.e30\"}", KB_E_TOKEN_ALG},
	};
	const struct asked asked = {.scheme = SCHEME_DEFAULT,
				    .signer = {.host = "broker.test", .now_s = NOW},
				    .name = span_str("disk"),
				    .key = eph};
	struct released got;

	(void)state;
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		enum kb_err err = reply_open(span_str(cases[i].body), &asked, &got);
		if (err != cases[i].err)
			fail_msg("%s: %s, expected %s", cases[i].body, kb_err_name(err),
				 kb_err_name(cases[i].err));
		assert_null(got.plain);
	}
	struct asked unknown = asked;
	unknown.scheme = NULL; /* of a name that is no row of the table */
	assert_int_equal(reply_open(span_str("{}"), &unknown, &got), KB_E_ENC);
	assert_null(got.plain);
}

/* Every certificate here is one of the right root and the right host: only its role differs. */
static void test_b21_reply_signer_has_a_role_of_its_own(void **state)
{
	static const struct {
		struct made made;
		enum kb_err err;
		const char *hint; /* part of it */
	} cases[] = {
		{{.usage = SIGNER}, KB_OK, NULL},
		{{.usage = "serverAuth," SIGNER, .digital = "critical,digitalSignature"},
		 KB_OK,
		 NULL},
		{{.usage = ""}, KB_E_KEY_USE, SIGNER},
		{{.usage = "serverAuth"}, KB_E_KEY_USE, "--signer-pin"},
		{{.usage = "serverAuth,clientAuth"}, KB_E_KEY_USE, SIGNER},
		{{.usage = "anyExtendedKeyUsage"}, KB_E_KEY_USE, SIGNER},
		{{.usage = SIGNER ".1"}, KB_E_KEY_USE, SIGNER},
		{{.digital = "keyEncipherment"}, KB_E_KEY_USE, "key usage"},
		/* The TLS server's own key, whatever the certificate says. */
		{{.peer_is_signer = true}, KB_E_KEY_USE, "own key"},
		{{.peer_is_signer = true, .right_pin = true}, KB_E_KEY_USE, "own key"},
		{{.no_peer = true}, KB_E_KEY_USE, "own key"},
		/* A CA may be limited; what it then certifies beyond that does not count. */
		{{.ca_usage = ""}, KB_OK, NULL},
		{{.ca_usage = "serverAuth," SIGNER}, KB_OK, NULL},
		{{.ca_usage = "anyExtendedKeyUsage"}, KB_OK, NULL},
		{{.ca_usage = "serverAuth"}, KB_E_KEY_USE, SIGNER},
		{{.ca_usage = "serverAuth,clientAuth"}, KB_E_KEY_USE, SIGNER},
		/* A pin stands in place of the usage, and is the only key then. */
		{{.usage = "serverAuth", .right_pin = true}, KB_OK, NULL},
		{{.ca_usage = "serverAuth", .right_pin = true}, KB_OK, NULL},
		{{.wrong_pin = true}, KB_E_KEY_USE, "--signer-pin"},
		{{.right_pin = true, .host = "other.test"}, KB_E_ISSUER, NULL},
		{{.right_pin = true, .is_expired = true}, KB_E_EXPIRED, NULL},
		{{.right_pin = true, .bad_signature = true}, KB_E_TOKEN_SIGNATURE, NULL},
	};
	struct released got;

	(void)state;
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		enum kb_err err = open_with(&cases[i].made, root, NULL, &got);
		if (err != cases[i].err)
			fail_msg("case %u: %s, expected %s", i, kb_err_name(err),
				 kb_err_name(cases[i].err));
		if (cases[i].hint == NULL ? hint != NULL
					  : hint == NULL || strstr(hint, cases[i].hint) == NULL)
			fail_msg("case %u: hint: %s", i, hint == NULL ? "none" : hint);
		assert_int_equal(got.plain != NULL, err == KB_OK);
		released_free(&got);
	}
	assert_int_equal(open_with(&(struct made){.right_pin = true}, other_root, NULL, &got),
			 KB_E_KID_UNKNOWN);
}

static void test_output_forms(void **state)
{
	struct released got;
	struct secret *text;
	struct json_t *jwk;
	struct span d;
	const char *why;

	(void)state;
	assert_int_equal(open_with(&(struct made){.key = rsa, .kty = "RSA"}, root, NULL, &got),
			 KB_OK);
	assert_int_equal(output_encode(OUTPUT_PEM, got.plain, got.key, &text), KB_OK);
	assert_memory_equal(secret_bytes(text), "-----BEGIN PRIVATE KEY-----\n", 28);
	secret_free(text);
	assert_int_equal(output_encode(OUTPUT_JWK, got.plain, got.key, &text), KB_OK);
	assert_int_equal(json_load_strict(secret_span(text), 16384, &jwk, NULL), KB_OK);
	assert_int_equal(json_get_str(jwk, "qi", 1024, &d), KB_OK);
	json_free(jwk);
	secret_free(text);
	released_free(&got);
	assert_int_equal(open_with(&(struct made){.key = ec, .kty = "EC"}, root, NULL, &got),
			 KB_OK);
	assert_int_equal(output_encode(OUTPUT_JWK, got.plain, got.key, &text), KB_OK);
	assert_int_equal(json_load_strict(secret_span(text), 16384, &jwk, NULL), KB_OK);
	assert_int_equal(json_get_str(jwk, "d", 1024, &d), KB_OK);
	assert_int_equal(d.len, 88); /* 66 bytes, whatever the number */
	json_free(jwk);
	secret_free(text);
	released_free(&got);
	assert_int_equal(open_with(&(struct made){0}, root, NULL, &got), KB_OK);
	assert_int_equal(output_encode(OUTPUT_PEM, got.plain, got.key, &text), KB_E_KEY_TYPE);
	assert_int_equal(output_encode(OUTPUT_JWK, got.plain, got.key, &text), KB_OK);
	assert_true(secret_equal_span(
		text, span_str("{\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZg\"}\n")));
	secret_free(text);
	released_free(&got);
	assert_int_equal(output_check("file:", &why), KB_E_CONFIG);
	assert_int_equal(output_check("keyring:", &why), KB_E_CONFIG);
	assert_int_equal(output_check("fd:", &why), KB_E_CONFIG);
	assert_int_equal(output_check("fd:1000", &why), KB_E_CONFIG);
	assert_int_equal(output_check("fd:999", &why), KB_E_CONFIG);
	assert_int_equal(output_check("file:/x", &why), KB_OK);
	assert_int_equal(output_check("keyring:x", &why), KB_OK);
	assert_int_equal(open_with(&(struct made){0}, root, NULL, &got), KB_OK);
	static char place[5000]; /* a name longer than any keyring takes */
	memset(place, 'x', sizeof place - 1);
	memcpy(place, "keyring:", 8);
	assert_int_equal(output_write(place, got.plain, &why), KB_E_FILE);
	assert_non_null(why);
	released_free(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reply_opens_every_type),
		cmocka_unit_test(test_reply_is_not_the_answer),
		cmocka_unit_test(test_reply_is_no_reply),
		cmocka_unit_test(test_b21_reply_signer_has_a_role_of_its_own),
		cmocka_unit_test(test_output_forms),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
