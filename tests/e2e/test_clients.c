/* tests/e2e/test_clients.c — the clients that exist, emulated, against the broker: the SKR sidecar,
 * AzureAttestSKR, OpenHCL. Each finds the key that was put in, and each stops where its original
 * does: a checker that cannot fail proves nothing. */
#include "tests/e2e/check.h"
#include "tests/e2e/clients.h"

#include <openssl/rand.h>

enum { OCT, RSA_2048, P_256, DISK_RSA, DISK_EC, VTPM, N_KNOWN };
static struct {
	const char *name, *kty;
	EVP_PKEY *key;
	uint8_t bytes[32];
} known[] = {
	[OCT] = {.name = "container-oct", .kty = "oct-HSM"}, /* the sidecar's */
	[RSA_2048] = {.name = "container-rsa", .kty = "RSA-HSM"},
	[P_256] = {.name = "container-ec", .kty = "EC-HSM"},
	[DISK_RSA] = {.name = "disk-rsa", .kty = "RSA-HSM"}, /* AzureAttestSKR's */
	[DISK_EC] = {.name = "disk-ec", .kty = "EC-HSM"},
	[VTPM] = {.name = "vtpm", .kty = "RSA-HSM"}, /* OpenHCL's */
};

static EVP_PKEY *kek, *other_kek;
static X509_STORE *pool, *wrong_pool;
static struct place sidecar_at, attestskr_at;
static char *container, *guest, *platform; /* tokens for kek, one a client */

/* A root of the same name that is not ours. */
static X509 *impostor(X509 *root)
{
	EVP_PKEY *key = guest_key(2048);
	X509 *c = X509_dup(root);
	assert_true(c != NULL && X509_set_pubkey(c, key) == 1 &&
		    X509_sign(c, key, EVP_sha256()) > 0);
	EVP_PKEY_free(key);
	return c;
}

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policies[] = {policy_container(in.issuer_url), policy_guest(in.issuer_url),
			    policy_platform(in.issuer_url)};
	for (unsigned i = 0; i < N_KNOWN; i++) {
		if (strcmp(known[i].kty, "RSA-HSM") == 0)
			known[i].key = EVP_RSA_gen(2048);
		else if (strcmp(known[i].kty, "EC-HSM") == 0)
			known[i].key = EVP_EC_gen(i == P_256 ? "P-256" : "P-521");
		else
			RAND_bytes(known[i].bytes, sizeof known[i].bytes);
		GOOD(instance_import(&in, known[i].name, known[i].key, known[i].bytes,
				     sizeof known[i].bytes,
				     policies[i < DISK_RSA ? 0
					      : i < VTPM   ? 1
							   : 2]));
	}
	for (unsigned i = 0; i < 3; i++)
		free(policies[i]);
	kek = guest_key(2048);
	other_kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_container(kek, HOST_DATA), &container));
	GOOD(guest_attest(&in.issuer_at, evidence_guest(kek, ATTESTSKR_NONCE), &guest));
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &platform));
	GOOD(place_init(&sidecar_at, OTHER_NAME, in.port, in.ca_file));
	GOOD(place_init(&attestskr_at, VAULT_NAME, in.port, in.ca_file));
	X509 *fake = impostor(in.root);
	assert_true((pool = X509_STORE_new()) != NULL && X509_STORE_add_cert(pool, in.root) == 1);
	assert_true((wrong_pool = X509_STORE_new()) != NULL &&
		    X509_STORE_add_cert(wrong_pool, fake) == 1);
	X509_free(fake);
	GOOD(broker_start(&in));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < N_KNOWN; i++)
		EVP_PKEY_free(known[i].key);
	EVP_PKEY_free(kek);
	EVP_PKEY_free(other_kek);
	X509_STORE_free(pool);
	X509_STORE_free(wrong_pool);
	place_free(&sidecar_at);
	place_free(&attestskr_at);
	free(container);
	free(guest);
	free(platform);
	GOOD(instance_end(&in));
	return 0;
}

/* The client got the key that was put in; frees what it got. */
static void assert_known(unsigned i, struct client_key *got)
{
	if (known[i].key != NULL) {
		assert_non_null(got->pkey);
		assert_int_equal(EVP_PKEY_eq(got->pkey, known[i].key), 1);
	} else {
		assert_int_equal(got->len, sizeof known[i].bytes);
		assert_memory_equal(got->plain, known[i].bytes, got->len);
	}
	EVP_PKEY_free(got->pkey);
}

/* The client stopped, and there. */
#define STOPS(call, reason) check_stops((call), (reason), &got, __FILE__, __LINE__)
static void check_stops(const char *why, const char *reason, struct client_key *got,
			const char *file, int line)
{
	EVP_PKEY_free(got->pkey);
	got->pkey = NULL;
	if (why != NULL && strcmp(why, reason) == 0)
		return;
	print_error("stopped at \"%s\", expected \"%s\"\n", why == NULL ? "nothing" : why, reason);
	_fail(file, line);
}

/* Another base64url character that is as canonical. */
static void damage(char *c)
{
	*c = *c == 'A' ? 'B' : 'A';
}

static struct reply reply_of(const char *jws)
{
	struct reply r = {.status = 200};
	json_t *j = json_pack("{s:s}", "value", jws);
	r.body = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	assert_non_null(r.body);
	r.len = strlen(r.body);
	return r;
}

/* The JWS with its header or payload rewritten; the signature stays, unless `is_unsigned`.
 * malloc'd; takes `part`. */
static char *rewritten(const char *jws, unsigned which, json_t *part, bool is_unsigned)
{
	struct jws j;
	char *text = json_dumps(part, JSON_COMPACT),
	     *b64 = proof_b64url_text((uint8_t *)text, strlen(text)), *out = NULL;
	json_decref(part);
	assert_true(b64 != NULL && jws_split(jws, &j));
	const char *p[3] = {j.part[0], j.part[1], j.part[2]};
	int n[3] = {(int)j.len[0], (int)j.len[1], is_unsigned ? 0 : (int)j.len[2]};
	p[which] = b64;
	n[which] = (int)strlen(b64);
	assert_true(asprintf(&out, "%.*s.%.*s.%.*s", n[0], p[0], n[1], p[1], n[2], p[2]) > 0);
	free(text);
	free(b64);
	return out;
}

/* The payload with one character of the ciphertext changed: `at` from its begin, or from its end
 * when negative. */
static json_t *payload_damaged(const char *jws, long at)
{
	struct jws j;
	assert_true(jws_split(jws, &j));
	json_t *payload = client_json(j.part[1], j.len[1]), *key_hsm = client_key_hsm(payload);
	char *text = strdup(json_string_value(json_object_get(key_hsm, "ciphertext")));
	damage(at < 0 ? text + strlen(text) + at : text + at);
	json_object_set_new(key_hsm, "ciphertext", json_string(text));
	free(text);
	text = json_dumps(key_hsm, JSON_COMPACT);
	char *b64 = proof_b64url_text((uint8_t *)text, strlen(text));
	json_t *key = json_object_get(json_object_get(json_object_get(payload, "response"), "key"),
				      "key");
	assert_int_equal(json_object_set_new(key, "key_hsm", json_string(b64)), 0);
	json_decref(key_hsm);
	free(b64);
	free(text);
	return payload;
}

static json_t *header_of(const char *jws)
{
	struct jws j;
	assert_true(jws_split(jws, &j));
	return client_json(j.part[0], j.len[0]);
}

/* ---- the sidecar: it hands its endpoint to Go as a DNS name, where a port matches no certificate;
 * so it is emulated with the name alone, as a deployment on port 443 has it ---- */

static void test_sidecar_gets_every_type(void **state)
{
	(void)state;
	for (unsigned i = OCT; i <= P_256; i++) {
		struct reply r;
		struct client_key got;
		GOOD(sidecar_ask(&sidecar_at, OTHER_NAME, known[i].name, container, &r));
		GOOD(sidecar_open(&r, OTHER_NAME, pool, kek, &got));
		assert_string_equal(got.kty, known[i].kty);
		assert_known(i, &got);
		reply_free(&r);
	}
}

static void test_sidecar_takes_a_version(void **state)
{
	(void)state;
	struct reply r;
	struct client_key got;
	char *jws, key[128];
	const char *kid = NULL;
	struct jws j;
	GOOD(sidecar_ask(&sidecar_at, OTHER_NAME, known[OCT].name, container, &r));
	assert_non_null(jws = client_value(&r));
	assert_true(jws_split(jws, &j));
	json_t *payload = client_json(j.part[1], j.len[1]);
	assert_int_equal(
		json_unpack(payload, "{s:{s:{s:{s:s}}}}", "response", "key", "key", "kid", &kid),
		0);
	snprintf(key, sizeof key, "%s%s", known[OCT].name, strrchr(kid, '/'));
	json_decref(payload);
	free(jws);
	reply_free(&r);
	GOOD(sidecar_ask(&sidecar_at, OTHER_NAME, key, container, &r));
	GOOD(sidecar_open(&r, OTHER_NAME, pool, kek, &got));
	assert_known(OCT, &got);
	reply_free(&r);
}

static void test_sidecar_stops(void **state)
{
	(void)state;
	struct reply r, bad;
	struct client_key got = {0};
	struct jws j;
	GOOD(sidecar_ask(&sidecar_at, OTHER_NAME, known[OCT].name, container, &r));
	r.status = 207;
	GOOD(sidecar_open(&r, OTHER_NAME, pool, kek, &got));
	r.status = 208;
	STOPS(sidecar_open(&r, OTHER_NAME, pool, kek, &got), "status 208");
	r.status = 200;
	STOPS(sidecar_open(&r, OTHER_NAME, wrong_pool, kek, &got),
	      "chain: certificate signature failure");
	STOPS(sidecar_open(&r, "other.test", pool, kek, &got), "chain: hostname mismatch");
	STOPS(sidecar_open(&r, OTHER_NAME ":8443", pool, kek, &got), "chain: hostname mismatch");
	STOPS(sidecar_open(&r, OTHER_NAME, pool, other_kek, &got), "OAEP");

	char *jws = client_value(&r), *other;
	assert_true(jws_split(jws, &j));
	bad = reply_of(other = rewritten(jws, 1, payload_damaged(jws, 0), false));
	STOPS(sidecar_open(&bad, OTHER_NAME, pool, kek, &got), "signature");
	reply_free(&bad);
	free(other);
	bad = reply_of(other = rewritten(jws, 0, header_of(jws), true));
	STOPS(sidecar_open(&bad, OTHER_NAME, pool, kek, &got), "signature");
	reply_free(&bad);
	free(other);
	damage(jws + (j.part[2] - jws) + 7);
	bad = reply_of(jws);
	STOPS(sidecar_open(&bad, OTHER_NAME, pool, kek, &got), "signature");
	reply_free(&bad);
	assert_true(asprintf(&other, "%.*s=.%s", (int)j.len[0], jws, j.part[1]) > 0); /* padded */
	bad = reply_of(other);
	STOPS(sidecar_open(&bad, OTHER_NAME, pool, kek, &got), "header");
	reply_free(&bad);
	free(other);
	free(jws);
	reply_free(&r);
}

/* A container with another policy of its own: what the sidecar's user sees. */
static void test_sidecar_is_refused(void **state)
{
	(void)state;
	struct reply r;
	struct client_key got = {0};
	char *token;
	GOOD(guest_attest(
		&in.issuer_at,
		evidence_container(
			kek, "00000000000000000000000000000000000000000000000000000000000000ff"),
		&token));
	GOOD(sidecar_ask(&sidecar_at, OTHER_NAME, known[OCT].name, token, &r));
	STOPS(sidecar_open(&r, OTHER_NAME, pool, kek, &got), "status 403");
	reply_free(&r);
	free(token);
}

/* ---- AzureAttestSKR ---- */

static void key_url(unsigned i, char out[static 128])
{
	snprintf(out, 128, "https://%s:%u/keys/%s", VAULT_NAME, in.port, known[i].name);
}

static void test_attestskr_gets_rsa_and_ec(void **state)
{
	(void)state;
	static const char *const nonces[] = {NULL, "of-its-user"};
	for (unsigned i = DISK_RSA; i <= DISK_EC; i++)
		for (unsigned k = 0; k < 2; k++) {
			struct reply r;
			struct client_key got;
			char url[128], *token = guest;
			key_url(i, url);
			if (nonces[k] != NULL)
				GOOD(guest_attest(&in.issuer_at, evidence_guest(kek, nonces[k]),
						  &token));
			GOOD(attestskr_ask(&attestskr_at, url, nonces[k], token, &r));
			GOOD(attestskr_open(&r, kek, &got));
			assert_known(i, &got);
			reply_free(&r);
			if (token != guest)
				free(token);
		}
}

static void test_attestskr_stops(void **state)
{
	(void)state;
	struct reply r, bad;
	struct client_key got = {0};
	struct jws j;
	char url[128];
	assert_string_equal(
		attestskr_ask(&attestskr_at, "https://localhost/keys/disk-rsa", NULL, guest, &r),
		"invalid key URL");
	key_url(DISK_RSA, url);
	GOOD(attestskr_ask(&attestskr_at, url, NULL, guest, &r));
	r.status = 201;
	STOPS(attestskr_open(&r, kek, &got), "status 201");
	r.status = 200;
	STOPS(attestskr_open(&r, other_kek, &got), "OAEP");

	char *jws = client_value(&r), *other;
	assert_true(jws_split(jws, &j));
	bad = reply_of(other = rewritten(jws, 1, payload_damaged(jws, 300), false));
	STOPS(attestskr_open(&bad, kek, &got), "OAEP");
	reply_free(&bad);
	free(other);
	bad = reply_of(other = rewritten(jws, 1, payload_damaged(jws, -9), false));
	STOPS(attestskr_open(&bad, kek, &got), "AES");
	reply_free(&bad);
	free(other);
	damage(jws + (j.part[2] - jws) + 7); /* which it does not look at */
	bad = reply_of(jws);
	GOOD(attestskr_open(&bad, kek, &got));
	assert_known(DISK_RSA, &got);
	reply_free(&bad);
	free(jws);
	reply_free(&r);

	/* A scheme that it did not ask for is one that its TPM will not undo. */
	struct link *l;
	struct ask a = {
		.name = known[DISK_RSA].name, .token = guest, .enc = "CKM_RSA_AES_KEY_WRAP"};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &a, &r));
	link_close(l);
	STOPS(attestskr_open(&r, kek, &got), "OAEP");
	reply_free(&r);
}

/* ---- OpenHCL ---- */

static void test_openhcl_gets_its_key(void **state)
{
	(void)state;
	static const unsigned bits[] = {2048, 3072};
	for (unsigned i = 0; i < 2; i++) {
		struct reply r;
		struct client_key got;
		char *token;
		EVP_PKEY *transfer = guest_key(bits[i]); /* HCLTransferKey, new at every boot */
		GOOD(guest_attest(&in.issuer_at, evidence_platform(transfer), &token));
		GOOD(openhcl_host_ask(&in.at, known[VTPM].name, token, &r));
		assert_int_equal(r.status, 200);
		char *jws = client_value(&r);
		assert_non_null(jws);
		GOOD(openhcl_open(jws, transfer, &got));
		assert_known(VTPM, &got);
		free(jws);
		free(token);
		reply_free(&r);
		EVP_PKEY_free(transfer);
	}
}

static void test_openhcl_stops(void **state)
{
	(void)state;
	struct reply r;
	struct client_key got = {0};
	struct jws j;
	char *other;
	GOOD(openhcl_host_ask(&in.at, known[VTPM].name, platform, &r));
	char *jws = client_value(&r);
	reply_free(&r);
	assert_true(jws != NULL && jws_split(jws, &j));
	STOPS(openhcl_open(jws, other_kek, &got), "OAEP");

	/* The chain is looked at before the signature over it: another root of the same name, a
	 * link left out, another algorithm. */
	uint8_t *der = NULL;
	char b64[4096];
	X509 *fake = impostor(in.root);
	int len = i2d_X509(fake, &der);
	assert_true(len > 0 && len < 3000);
	EVP_EncodeBlock((uint8_t *)b64, der, len);
	X509_free(fake);
	OPENSSL_free(der);
	json_t *header = header_of(jws), *x5c = json_object_get(header, "x5c");
	size_t n = json_array_size(x5c);
	assert_true(n >= 2);
	json_array_set_new(x5c, n - 1, json_string(b64));
	STOPS(openhcl_open(other = rewritten(jws, 0, header, false), kek, &got), "x5c: signature");
	free(other);
	header = header_of(jws);
	json_object_set_new(header, "x5c", json_array());
	STOPS(openhcl_open(other = rewritten(jws, 0, header, false), kek, &got), "x5c is empty");
	free(other);
	header = header_of(jws);
	json_object_set_new(header, "alg", json_string("PS256"));
	STOPS(openhcl_open(other = rewritten(jws, 0, header, false), kek, &got), "alg");
	free(other);

	/* What is signed is checked; what is not signed is taken, and then only the wrap protects
	 * the key. */
	STOPS(openhcl_open(other = rewritten(jws, 1, payload_damaged(jws, -9), false), kek, &got),
	      "signature");
	free(other);
	STOPS(openhcl_open(other = rewritten(jws, 1, payload_damaged(jws, -9), true), kek, &got),
	      "AES");
	free(other);
	GOOD(openhcl_open(other = rewritten(jws, 0, header_of(jws), true), kek, &got));
	assert_known(VTPM, &got);
	free(other);
	damage(jws + (j.part[2] - jws) + 7);
	STOPS(openhcl_open(jws, kek, &got), "signature");
	free(jws);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sidecar_gets_every_type),
		cmocka_unit_test(test_sidecar_takes_a_version),
		cmocka_unit_test(test_sidecar_stops),
		cmocka_unit_test(test_sidecar_is_refused),
		cmocka_unit_test(test_attestskr_gets_rsa_and_ec),
		cmocka_unit_test(test_attestskr_stops),
		cmocka_unit_test(test_openhcl_gets_its_key),
		cmocka_unit_test(test_openhcl_stops),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
