/* tests/e2e/test_release.c — what must work: every key type by every scheme, every form of URL that
 * clients send, and how keys and errors read. */
#include "tests/e2e/check.h"

#include <openssl/rand.h>
#include <openssl/rsa.h>

static const char *const encs[] = {NULL, "CKM_RSA_AES_KEY_WRAP", "RSA_AES_KEY_WRAP_256",
				   "RSA_AES_KEY_WRAP_384"};

static struct {
	const char *name;
	unsigned rsa_bits;
	const char *curve;
	unsigned oct_bytes;
	EVP_PKEY *key;
	uint8_t bytes[64];
} known[] = {
	{.name = "rsa2048", .rsa_bits = 2048}, {.name = "rsa3072", .rsa_bits = 3072},
	{.name = "rsa4096", .rsa_bits = 4096}, {.name = "p256", .curve = "P-256"},
	{.name = "p384", .curve = "P-384"},    {.name = "p521", .curve = "P-521"},
	{.name = "oct16", .oct_bytes = 16},    {.name = "oct20", .oct_bytes = 20},
	{.name = "oct32", .oct_bytes = 32},    {.name = "oct64", .oct_bytes = 64},
};
enum { N_KNOWN = sizeof known / sizeof known[0] };

static EVP_PKEY *kek;
static char *token; /* a platform token for kek: satisfies every policy here */
static struct expect want;

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = policy_platform(in.issuer_url);
	for (unsigned i = 0; i < N_KNOWN; i++) {
		if (known[i].rsa_bits != 0)
			known[i].key = EVP_RSA_gen(known[i].rsa_bits);
		else if (known[i].curve != NULL)
			known[i].key = EVP_EC_gen(known[i].curve);
		else
			RAND_bytes(known[i].bytes, (int)known[i].oct_bytes);
		GOOD(instance_import(&in, known[i].name, known[i].key, known[i].bytes,
				     known[i].oct_bytes, policy));
	}
	free(policy);
	kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &token));
	want = (struct expect){.root = in.root,
			       .host = "localhost",
			       .base_url = in.base_url,
			       .kek = kek,
			       .kek_kid = KID_PLATFORM};
	GOOD(broker_start(&in));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < N_KNOWN; i++)
		EVP_PKEY_free(known[i].key);
	EVP_PKEY_free(kek);
	free(token);
	GOOD(instance_end(&in));
	return 0;
}

static bool is_known_key(unsigned i, const struct released *got)
{
	if (known[i].key != NULL)
		return got->pkey != NULL && EVP_PKEY_eq(got->pkey, known[i].key) == 1;
	return got->plain_len == known[i].oct_bytes &&
	       memcmp(got->plain, known[i].bytes, known[i].oct_bytes) == 0;
}

static void test_release_every_type_by_every_scheme(void **state)
{
	(void)state;
	struct link *l;
	GOOD(link_open(&in.at, &l));
	for (unsigned i = 0; i < N_KNOWN; i++)
		for (unsigned e = 0; e < sizeof encs / sizeof encs[0]; e++) {
			struct released got;
			struct ask a = {.name = known[i].name, .token = token, .enc = encs[e]};
			const char *why = guest_release(l, &a, &want, &got);
			if (why == NULL && !is_known_key(i, &got))
				why = "another key";
			GOOD(why == NULL ? NULL
					 : wrong("%s by %s: %s", known[i].name,
						 encs[e] == NULL ? "the default" : encs[e], why));
			released_free(&got);
		}
	link_close(l);
}

/* Two releases of one key have nothing in common but the key: AES key and OAEP seed are fresh. */
static void test_release_is_never_the_same_blob(void **state)
{
	(void)state;
	struct reply r[2];
	struct link *l;
	struct ask a = {.name = "oct32", .token = token};
	GOOD(link_open(&in.at, &l));
	for (unsigned i = 0; i < 2; i++)
		GOOD(guest_ask(l, &a, &r[i]));
	assert_int_equal(r[0].status, 200);
	assert_string_not_equal(r[0].body, r[1].body);
	reply_free(&r[0]);
	reply_free(&r[1]);
	link_close(l);
}

/* The detector detects: a reply with any one character changed, or answering another question, is
 * not accepted. */
static void test_proof_refuses_damaged_replies(void **state)
{
	(void)state;
	struct reply r;
	struct link *l;
	struct released got;
	struct ask a = {.name = "p256", .token = token, .enc = "RSA_AES_KEY_WRAP_256"};
	struct expect right = want;
	right.name = a.name;
	right.enc = a.enc;
	right.api_version = "7.4";
	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &a, &r));
	link_close(l);
	GOOD(proof_open(r.body, r.len, &right, &got));
	released_free(&got);
	for (size_t i = 3; i < r.len; i += r.len / 97) {
		char was = r.body[i];
		r.body[i] = was == 'A' ? 'B' : 'A';
		assert_non_null(proof_open(r.body, r.len, &right, &got));
		released_free(&got);
		r.body[i] = was;
	}
	const struct expect others[] = {
		{.root = want.root,
		 .host = "other.example",
		 .base_url = in.base_url,
		 .kek = kek,
		 .kek_kid = KID_PLATFORM},
		{.root = want.root,
		 .host = "localhost",
		 .base_url = "https://other",
		 .kek = kek,
		 .kek_kid = KID_PLATFORM},
		{.root = want.root,
		 .host = "localhost",
		 .base_url = in.base_url,
		 .kek = kek,
		 .kek_kid = KID_GUEST},
		{.root = want.root,
		 .host = "localhost",
		 .base_url = in.base_url,
		 .kek = kek,
		 .kek_kid = KID_PLATFORM,
		 .nonce = "n"},
		{.root = want.root,
		 .host = "localhost",
		 .base_url = in.base_url,
		 .kek = kek,
		 .kek_kid = KID_PLATFORM,
		 .version = "0"},
	};
	for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++) {
		struct expect other = others[i];
		other.name = a.name;
		other.enc = a.enc;
		other.api_version = "7.4";
		assert_non_null(proof_open(r.body, r.len, &other, &got));
		released_free(&got);
	}
	right.enc = "RSA_AES_KEY_WRAP_384";
	assert_non_null(proof_open(r.body, r.len, &right, &got));
	released_free(&got);
	reply_free(&r);
}

/* Zero padding that is longer, or not zero, or a length out of its range: what a careless wrap
 * would send. */
static void test_proof_refuses_loose_kwp(void **state)
{
	(void)state;
	static const uint8_t key[32] = {7};
	uint8_t plain[24] = {1, 2, 3}, wrapped[40], out[40];
	size_t out_len;
	int n = 0, more = 0;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, key, NULL), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, wrapped, &n, plain, 20), 1);
	assert_int_equal(EVP_EncryptFinal_ex(ctx, wrapped + n, &more), 1);
	EVP_CIPHER_CTX_free(ctx);
	GOOD(proof_kwp_unwrap(key, wrapped, (size_t)n, out, &out_len));
	assert_int_equal(out_len, 20);
	assert_memory_equal(out, plain, 20);
	for (int i = 0; i < n; i++) {
		wrapped[i] ^= 1;
		assert_non_null(proof_kwp_unwrap(key, wrapped, (size_t)n, out, &out_len));
		wrapped[i] ^= 1;
	}
	/* AES-KW (RFC 3394) of a block that claims another length: made with the plain wrap cipher
	 * and the AIV as its IV. */
	for (unsigned claimed = 14; claimed <= 27; claimed++) {
		const uint8_t iv[8] = {0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, (uint8_t)claimed};
		uint8_t block[24] = {1, 2, 3};
		block[20] = claimed == 20; /* padding that is not zero */
		ctx = EVP_CIPHER_CTX_new();
		EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
		assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap(), NULL, key, iv), 1);
		assert_int_equal(EVP_EncryptUpdate(ctx, wrapped, &n, block, sizeof block), 1);
		EVP_CIPHER_CTX_free(ctx);
		const char *why = proof_kwp_unwrap(key, wrapped, (size_t)n, out, &out_len);
		assert_true((why == NULL) == (claimed > 16 && claimed <= 24 && claimed != 20));
	}
}

static void test_release_to_larger_ephemeral_keys(void **state)
{
	(void)state;
	struct link *l;
	GOOD(link_open(&in.at, &l));
	for (unsigned bits = 3072; bits <= 4096; bits += 1024) {
		struct released got;
		struct expect to = want;
		char *t;
		to.kek = guest_key(bits);
		GOOD(guest_attest(&in.issuer_at, evidence_platform(to.kek), &t));
		struct ask a = {.name = "p256", .token = t, .enc = "RSA_AES_KEY_WRAP_384"};
		GOOD(guest_release(l, &a, &to, &got));
		assert_true(is_known_key(3, &got));
		released_free(&got);
		EVP_PKEY_free(to.kek);
		free(t);
	}
	link_close(l);
}

static void test_release_echoes_nonce(void **state)
{
	(void)state;
	struct released got;
	struct link *l;
	struct ask a = {.name = "p256", .token = token, .nonce = "ADE0101 \"quoted\" \\ \xc3\xa9"};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_release(l, &a, &want, &got));
	released_free(&got);
	link_close(l);
}

/* The guest token's own TPM key, never the attestation key nested in it. */
static void test_release_guest_token_uses_top_level_key(void **state)
{
	(void)state;
	struct released got;
	struct link *l;
	char *policy = policy_guest(in.issuer_url), *t, *out = NULL;
	GOOD(instance_import(&in, "disk", NULL, "0123456789abcdef0123456789abcdef", 32, policy));
	free(policy);
	assert_int_equal(CTL(&in, &out, "reload"), 0);
	free(out);
	GOOD(guest_attest(&in.issuer_at, evidence_guest(kek, "n1"), &t));
	struct expect to = want;
	to.kek_kid = KID_GUEST;
	struct ask a = {.name = "disk", .token = t, .enc = "RSA_AES_KEY_WRAP_256"};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_release(l, &a, &to, &got));
	assert_memory_equal(got.plain, "0123456789abcdef0123456789abcdef", 32);
	released_free(&got);
	link_close(l);
	free(t);
}

/* What real clients send. */
static void test_release_by_every_form_of_url(void **state)
{
	(void)state;
	char version[33], path[256];
	struct released got;
	struct link *l;
	struct ask first = {.name = "p384", .token = token};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_release(l, &first, &want, &got));
	memcpy(version, got.version, sizeof version);
	released_free(&got);

	struct ask pinned = {.name = "p384", .version = version, .token = token};
	GOOD(guest_release(l, &pinned, &want, &got));
	released_free(&got);

	static const char *const unversioned[] = {
		"/keys/p384//release?api-version=7.4", "/keys/p384/release?api%2Dversion=7.4",
		"/keys/P384/release?api-version=7.4", "/keys/p384/release?x=1&api-version=7.4"};
	for (unsigned i = 0; i < sizeof unversioned / sizeof unversioned[0]; i++) {
		struct ask a = {.name = "p384", .path = unversioned[i], .token = token};
		const char *why = guest_release(l, &a, &want, &got);
		GOOD(why == NULL ? NULL : wrong("%s: %s", unversioned[i], why));
		released_free(&got);
	}
	static const char *const versions[] = {
		"7.3-preview", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-07-01-preview"};
	for (unsigned i = 0; i < sizeof versions / sizeof versions[0]; i++) {
		struct ask a = {.name = "p384", .api_version = versions[i], .token = token};
		const char *why = guest_release(l, &a, &want, &got);
		GOOD(why == NULL ? NULL : wrong("api-version %s: %s", versions[i], why));
		released_free(&got);
	}
	snprintf(path, sizeof path, "/keys/p384/%s/release?api-version=7.4",
		 "00000000000000000000000000000000");
	struct ask other = {.path = path, .token = token};
	REFUSED(&other, 404, "KeyNotFound", "KEY_NOT_FOUND");
	struct ask old = {.name = "p384", .api_version = "7.2", .token = token};
	REFUSED(&old, 400, "BadParameter", NULL);
	struct ask none = {.path = "/keys/p384/release", .token = token};
	REFUSED(&none, 400, "BadParameter", NULL);
	link_close(l);
}

static json_t *get_json(struct link *l, const char *path, int status)
{
	struct reply r;
	GOOD(link_call(l, "GET", path, "Authorization: Bearer guest\r\n", NULL, &r));
	if (r.status != status)
		GOOD(wrong("GET %s: %d %.200s", path, r.status, r.body));
	json_t *j = json_loadb(r.body, r.len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(j);
	reply_free(&r);
	return j;
}

static void test_a48_get_key_reads_as_key_vault_writes_it(void **state)
{
	(void)state;
	static const char *const forms[] = {"/keys/rsa2048?api-version=7.4",
					    "/keys/rsa2048/?api-version=7.4",
					    "/keys/rsa2048/?api%2Dversion=2025-07-01"};
	struct link *l;
	char kid[128], path[256];
	GOOD(link_open(&in.at, &l));
	snprintf(kid, sizeof kid, "%s/keys/rsa2048/", in.base_url);
	for (unsigned i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		json_t *j = get_json(l, forms[i], 200), *key = json_object_get(j, "key"),
		       *attributes = json_object_get(j, "attributes");
		assert_memory_equal(json_string_value(json_object_get(key, "kid")), kid,
				    strlen(kid));
		assert_string_equal(json_string_value(json_object_get(key, "kty")), "RSA-HSM");
		assert_true(json_array_size(json_object_get(key, "key_ops")) > 0);
		assert_int_equal(strlen(json_string_value(json_object_get(key, "n"))), 342);
		assert_string_equal(json_string_value(json_object_get(key, "e")), "AQAB");
		assert_null(json_object_get(key, "d"));
		assert_true(json_is_true(json_object_get(attributes, "enabled")) &&
			    json_is_true(json_object_get(attributes, "exportable")));
		assert_string_equal(json_string_value(json_object_get(
					    json_object_get(j, "release_policy"), "contentType")),
				    "application/json; charset=utf-8");
		/* The listener authenticates nobody: what the operator wrote is not shown. */
		assert_null(json_object_get(json_object_get(j, "release_policy"), "data"));
		assert_int_equal(json_object_size(json_object_get(j, "tags")), 0);
		snprintf(path, sizeof path, "%s?api-version=7.4",
			 json_string_value(json_object_get(key, "kid")) + strlen(in.base_url));
		json_t *pinned = get_json(l, path, 200);
		assert_true(json_equal(json_object_get(pinned, "key"), key));
		json_decref(pinned);
		json_decref(j);
	}
	json_t *ec = get_json(l, "/keys/p521?api-version=7.4", 200);
	assert_string_equal(json_string_value(json_object_get(json_object_get(ec, "key"), "crv")),
			    "P-521");
	assert_int_equal(
		strlen(json_string_value(json_object_get(json_object_get(ec, "key"), "x"))), 88);
	json_decref(ec);
	json_t *oct = get_json(l, "/keys/oct32?api-version=7.4", 200);
	assert_null(json_object_get(json_object_get(oct, "key"), "k"));
	json_decref(oct);
	json_t *missing = get_json(l, "/keys/nosuch?api-version=7.4", 404);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(missing, "error"), "code")),
		"KeyNotFound");
	json_decref(missing);
	link_close(l);
}

/* SDKs send their first call without credential and body, and wait for this. */
static void test_first_call_is_challenged(void **state)
{
	(void)state;
	struct reply r;
	char value[512];
	GOOD(place_call(&in.at, "POST", "/keys/p256/release?api-version=7.4",
			"x-ms-client-request-id: 11111111-2222-3333-4444-555555555555\r\n", "",
			&r));
	assert_int_equal(r.status, 401);
	reply_header(&r, "WWW-Authenticate", value, sizeof value);
	assert_non_null(strstr(value, "Bearer authorization=\"https://"));
	assert_non_null(strstr(value, "\", resource=\"https://"));
	assert_string_equal(reply_code(&r, value, sizeof value), "Unauthorized");
	assert_string_equal(reply_header(&r, "x-ms-client-request-id", value, sizeof value),
			    "11111111-2222-3333-4444-555555555555");
	reply_free(&r);
}

static void test_b16_headers_are_exact(void **state)
{
	(void)state;
	struct reply r;
	char value[256];
	GOOD(place_call(&in.at, "GET", "/keys/p256?api-version=7.4", "Authorization: Bearer x\r\n",
			NULL, &r));
	assert_int_equal(r.status, 200);
	assert_string_equal(reply_header(&r, "Content-Type", value, sizeof value),
			    "application/json; charset=utf-8");
	assert_string_equal(reply_header(&r, "Cache-Control", value, sizeof value), "no-store");
	assert_int_equal(strlen(reply_header(&r, "x-ms-request-id", value, sizeof value)), 36);
	assert_string_equal(reply_header(&r, "Server", value, sizeof value), "");
	reply_free(&r);
}

static void test_bad_calls_are_400(void **state)
{
	(void)state;
	static const char *const bodies[] = {"{",
					     "[]",
					     "{}",
					     "{\"target\":\"\"}",
					     "{\"target\":7}",
					     "{\"target\":\"a\",\"target\":\"b\"}",
					     "\xef\xbb\xbf{}"};
	for (unsigned i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
		struct reply r;
		char code[64];
		GOOD(place_call(&in.at, "POST", "/keys/p256/release?api-version=7.4",
				"Authorization: Bearer x\r\n", bodies[i], &r));
		if (r.status != 400 ||
		    strcmp(reply_code(&r, code, sizeof code), "BadParameter") != 0)
			GOOD(wrong("%s: %d %.200s", bodies[i], r.status, r.body));
		reply_free(&r);
	}
	struct ask enc = {.name = "p256", .token = token, .enc = "RSA1_5"};
	REFUSED(&enc, 400, "BadParameter", "ENC");
	struct ask unknown = {.name = "nosuch", .token = token};
	REFUSED(&unknown, 404, "KeyNotFound", "KEY_NOT_FOUND");
}

static void test_rotated_key_keeps_its_old_version(void **state)
{
	(void)state;
	char old[33], *out = NULL;
	struct released got;
	struct link *l;
	struct ask a = {.name = "oct16", .token = token};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_release(l, &a, &want, &got));
	memcpy(old, got.version, sizeof old);
	released_free(&got);
	link_close(l);
	if (CTL(&in, &out, "key", "rotate", "oct16", "--reload") != 0)
		GOOD(wrong("rotate: %.300s", out));
	free(out);
	GOOD(link_open(&in.at, &l));
	GOOD(guest_release(l, &a, &want, &got));
	assert_string_not_equal(got.version, old);
	assert_int_equal(got.plain_len, 16);
	assert_memory_not_equal(got.plain, known[6].bytes, 16);
	released_free(&got);
	a.version = old;
	GOOD(guest_release(l, &a, &want, &got));
	assert_memory_equal(got.plain, known[6].bytes, 16);
	released_free(&got);
	link_close(l);
}

static void test_disabled_key_is_refused(void **state)
{
	(void)state;
	char *out = NULL;
	struct ask a = {.name = "oct64", .token = token};
	assert_int_equal(CTL(&in, &out, "key", "disable", "oct64", "--reload"), 0);
	free(out);
	REFUSED(&a, 403, "Forbidden", "KEY_DISABLED");
}

/* Keys that were generated in the HSM: what is released is the private half of what GET shows. */
static void test_release_keys_made_in_the_hsm(void **state)
{
	(void)state;
	static const char *const made[][4] = {{"born-rsa", "RSA-HSM", "--size", "2048"},
					      {"born-ec", "EC-HSM", "--crv", "P-384"},
					      {"born-oct", "oct-HSM", "--size", "20"}};
	char policy[128], *out = NULL;
	struct link *l;
	snprintf(policy, sizeof policy, "%s/policies/p256.json", in.dir);
	for (unsigned i = 0; i < 3; i++) {
		if (CTL(&in, &out, "key", "create", made[i][0], "--kty", made[i][1], made[i][2],
			made[i][3], "--policy", policy, "--reload") != 0)
			GOOD(wrong("create: %.300s", out));
		free(out);
	}
	GOOD(link_open(&in.at, &l));
	for (unsigned i = 0; i < 3; i++) {
		char path[128];
		struct released got;
		struct ask a = {.name = made[i][0], .token = token, .enc = "RSA_AES_KEY_WRAP_256"};
		GOOD(guest_release(l, &a, &want,
				   &got)); /* its public part equals the bundle's in the reply … */
		snprintf(path, sizeof path, "/keys/%s?api-version=7.4", made[i][0]);
		json_t *get = get_json(l, path, 200), *key = json_object_get(get, "key");
		const char *const members[] = {"n", "x", "y", "crv", "kid"};
		for (unsigned m = 0; m < 5; m++) /* … and that one equals GET's */
			assert_true(json_equal(json_object_get(key, members[m]),
					       json_object_get(json_object_get(got.bundle, "key"),
							       members[m])) ||
				    json_object_get(key, members[m]) == NULL);
		if (i == 2)
			assert_int_equal(got.plain_len, 20);
		json_decref(get);
		released_free(&got);
	}
	link_close(l);
}

/* A listener with "bearer_file": the file holds digests of credentials. */
static void listener_auth(const char *auth, const char *file)
{
	json_t *config = instance_json(&in, "keybroker.json"),
	       *listener = json_array_get(json_object_get(config, "listeners"), 0);

	json_object_set_new(listener, "auth", json_string(auth));
	if (file != NULL)
		json_object_set_new(listener, "bearer_file", json_string(file));
	else
		json_object_del(listener, "bearer_file");
	GOOD(instance_json_write(&in, "keybroker.json", config));
	assert_int_equal(CTL(&in, NULL, "reload"), 0);
}

static void released_once(const struct ask *a)
{
	struct released got;
	struct link *l;

	GOOD(link_open(&in.at, &l));
	GOOD(guest_release(l, a, &want, &got));
	released_free(&got);
	link_close(l);
}

static void test_bearer_credentials(void **state)
{
	static const char digests[] =
		"# printf let-me-in | sha256sum\n"
		"0000000000000000000000000000000000000000000000000000000000000000\n"
		"%s agent-7\n";
	static const char *const refused[] = {"Authorization: Bearer let-me-i\r\n",
					      "Authorization: Bearer let-me-in2\r\n",
					      "Authorization: Basic bGV0LW1lLWlu\r\n"};
	uint8_t digest[32];
	char hex[65], text[512];
	struct ask a = {
		.name = "p256", .token = token, .enc = "RSA_AES_KEY_WRAP_256", .headers = ""};
	struct reply r;

	(void)state;
	assert_int_equal(EVP_Digest("let-me-in", 9, digest, NULL, EVP_sha256(), NULL), 1);
	for (unsigned i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	int len = snprintf(text, sizeof text, digests, hex);
	GOOD(instance_write(&in, "bearers", text, (size_t)len));
	listener_auth("bearer_file", "bearers");
	REFUSED(&a, 401, "Unauthorized",
		NULL); /* a caller without a credential has asked nothing: there is no record */
	for (unsigned i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		a.headers = refused[i];
		REFUSED(&a, 401, "Unauthorized", NULL);
	}
	/* RFC 9110 §11.1: the scheme's case does not matter */
	a.headers = "Authorization: bearer   let-me-in\r\n";
	released_once(&a);
	/* Whose token it was: the start of its digest, and the name that its line has. */
	char caller[64];
	snprintf(caller, sizeof caller, "\"caller\":\"bearer:%.16s\"", hex);
	assert_int_equal(ledger_count(&in, caller), 1);
	assert_int_equal(ledger_count(&in, "\"caller_name\":\"agent-7\""), 1);
	GOOD(place_call(&in.at, "GET", "/keys/p256?api-version=7.4",
			"Authorization: Bearer guest\r\n", NULL, &r));
	assert_int_equal(r.status, 401);
	reply_free(&r);
	GOOD(place_call(&in.at, "GET", "/keys/p256?api-version=7.4", a.headers, NULL, &r));
	assert_int_equal(r.status, 200);
	assert_non_null(strstr(r.body, "\"data\":\"")); /* the policy, for who may see it */
	reply_free(&r);
	listener_auth("none", NULL);
	a.headers = NULL;
	released_once(&a);
}

static void test_d11_no_canary_in_logs_or_ledger(void **state)
{
	(void)state;
	char path[128], pin[128] = "", *text = ledger_text(&in);
	snprintf(path, sizeof path, "%s/hsm/pin", in.dir);
	FILE *f = fopen(path, "r");
	assert_true(f != NULL && fgets(pin, sizeof pin, f) != NULL);
	fclose(f);
	pin[strcspn(pin, "\r\n")] = '\0';
	assert_true(strlen(pin) >= 32);
	char *b64 = proof_b64url_text(known[8].bytes, 32);
	assert_null(strstr(text, pin));
	assert_null(strstr(text, b64));
	assert_null(strstr(text, token));
	free(text);
	char *log = NULL;
	assert_int_equal(run_program(&log, (const char *const[]){"/bin/cat", in.log, NULL}), 0);
	assert_null(strstr(log, pin));
	assert_null(strstr(log, b64));
	assert_null(strstr(log, token));
	free(log);
	free(b64);
}

static void test_ledger_verifies(void **state)
{
	(void)state;
	char *out = NULL;
	if (CTL(&in, &out, "ledger", "verify") != 0)
		GOOD(wrong("%.300s", out));
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_release_every_type_by_every_scheme),
		cmocka_unit_test(test_release_is_never_the_same_blob),
		cmocka_unit_test(test_proof_refuses_damaged_replies),
		cmocka_unit_test(test_proof_refuses_loose_kwp),
		cmocka_unit_test(test_release_to_larger_ephemeral_keys),
		cmocka_unit_test(test_release_echoes_nonce),
		cmocka_unit_test(test_release_guest_token_uses_top_level_key),
		cmocka_unit_test(test_release_by_every_form_of_url),
		cmocka_unit_test(test_a48_get_key_reads_as_key_vault_writes_it),
		cmocka_unit_test(test_first_call_is_challenged),
		cmocka_unit_test(test_b16_headers_are_exact),
		cmocka_unit_test(test_bad_calls_are_400),
		cmocka_unit_test(test_rotated_key_keeps_its_old_version),
		cmocka_unit_test(test_disabled_key_is_refused),
		cmocka_unit_test(test_release_keys_made_in_the_hsm),
		cmocka_unit_test(test_bearer_credentials),
		cmocka_unit_test(test_d11_no_canary_in_logs_or_ledger),
		cmocka_unit_test(test_ledger_verifies),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
