/* tests/bench/floor.c — the least a release can cost: one process, one plain loop over the work
 * that no design avoids, on the same HSM, with the same token.
 *
 *   floor INSTANCE KEY TOKEN_FILE SECONDS
 *
 * Prints one JSON object of µs of CPU: "release" for the whole loop, then its parts, then a TLS
 * handshake's server side.  Decides nothing; must never do less than a broker has to: RS256 verify,
 * one parse of the claims, the ephemeral key's import, OAEP, the HSM's wrap of the key and the
 * HSM's signature. */
#include <dlfcn.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <p11-kit/pkcs11.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "tests/e2e/guest.h"

enum { PART_VERIFY, PART_JSON, PART_IMPORT, PART_OAEP, PART_WRAP, PART_SIGN, PART_COUNT };
static const char *const part_names[PART_COUNT] = {"verify", "json",     "import",
						   "oaep",   "hsm_wrap", "hsm_sign"};

struct work {
	char *token;
	size_t signed_len;
	const char *claims_text, *sig_text;
	EVP_PKEY *issuer;
	CK_FUNCTION_LIST *p11;
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE transport, target, signer;
};

static void need(bool is_fine, const char *what)
{
	if (!is_fine) {
		fprintf(stderr, "floor: %s\n", what);
		exit(1);
	}
}

static double cpu_us(void) /* user and system of this process */
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static char *read_file(const char *dir, const char *name)
{
	char path[512];
	snprintf(path, sizeof path, "%s%s%s", name[0] == '/' ? "" : dir, name[0] == '/' ? "" : "/",
		 name);
	FILE *f = fopen(path, "r");
	need(f != NULL, path);
	char *text = calloc(1, 1 << 20);
	need(text != NULL, "memory");
	text[fread(text, 1, (1 << 20) - 1, f)] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	fclose(f);
	return text;
}

/* ---- the HSM ---- */

static CK_OBJECT_HANDLE find(const struct work *w, CK_ATTRIBUTE *attributes, CK_ULONG n)
{
	CK_OBJECT_HANDLE found[2];
	CK_ULONG count = 0;
	need(w->p11->C_FindObjectsInit(w->session, attributes, n) == CKR_OK &&
		     w->p11->C_FindObjects(w->session, found, 2, &count) == CKR_OK &&
		     w->p11->C_FindObjectsFinal(w->session) == CKR_OK && count == 1,
	     "not exactly one object");
	return found[0];
}

/* The key record's newest version names the object: pkcs11:id=%xx…;type=private */
static CK_OBJECT_HANDLE find_target(const struct work *w, const char *dir, const char *key)
{
	char name[256];
	CK_BYTE id[64];
	CK_ULONG n = 0;
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	json_error_t e;
	snprintf(name, sizeof name, "%s/keys.d/%s.json", dir, key);
	json_t *record = json_load_file(name, 0, &e),
	       *versions = json_object_get(record, "versions");
	const char *uri = json_string_value(
		json_object_get(json_array_get(versions, json_array_size(versions) - 1), "object"));
	const char *at = uri == NULL ? NULL : strstr(uri, "id=");
	need(at != NULL, "the key record has no object");
	for (at += 3; *at != '\0' && *at != ';' && n < sizeof id; n++) {
		unsigned v = (unsigned char)*at++;
		if (v == '%' && sscanf(at, "%2x", &v) == 1)
			at += 2;
		id[n] = (CK_BYTE)v;
	}
	json_decref(record);
	return find(w, (CK_ATTRIBUTE[]){{CKA_CLASS, &class, sizeof class}, {CKA_ID, id, n}}, 2);
}

static void open_hsm(struct work *w, const char *dir, const char *key)
{
	CK_SLOT_ID slots[16];
	CK_ULONG n = 16, len = 32;
	CK_RV (*get)(CK_FUNCTION_LIST **);
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0};
	json_error_t e;
	char path[512];
	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	json_t *config = json_load_file(path, 0, &e), *hsm = json_object_get(config, "hsm"), *value;
	const char *variable, *module = json_string_value(json_object_get(hsm, "module"));
	json_object_foreach(json_object_get(hsm, "environment"), variable, value)
	{
		snprintf(path, sizeof path, "%s%s%s", json_string_value(value)[0] == '/' ? "" : dir,
			 json_string_value(value)[0] == '/' ? "" : "/", json_string_value(value));
		setenv(variable, path, 1);
	}
	void *so = module == NULL ? NULL : dlopen(module, RTLD_NOW);
	need(so != NULL, "the PKCS#11 module");
	*(void **)&get = dlsym(so, "C_GetFunctionList");
	/* SoftHSM rewrites its token at a login, and a process that reads it at that moment finds
	 * none: the broker's workers log in one at a time, by the PIN file's lock. */
	const char *pin_file = json_string_value(json_object_get(hsm, "pin_file"));
	snprintf(path, sizeof path, "%s%s%s", pin_file[0] == '/' ? "" : dir,
		 pin_file[0] == '/' ? "" : "/", pin_file);
	int turn = open(path, O_RDONLY | O_CLOEXEC);
	need(turn >= 0 && flock(turn, LOCK_EX) == 0, path);
	char *pin = read_file("", path);
	need(get != NULL && get(&w->p11) == CKR_OK && w->p11->C_Initialize(NULL) == CKR_OK &&
		     w->p11->C_GetSlotList(CK_TRUE, slots, &n) == CKR_OK && n > 0,
	     "C_Initialize");
	need(w->p11->C_OpenSession(slots[0], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
				   &w->session) == CKR_OK &&
		     w->p11->C_Login(w->session, CKU_USER, (CK_BYTE *)pin, strlen(pin)) == CKR_OK,
	     "C_Login");
	close(turn);
	OPENSSL_cleanse(pin, strlen(pin));
	free(pin);
	w->target = find_target(w, dir, key);
	w->signer = find(w,
			 (CK_ATTRIBUTE[]){{CKA_CLASS, &class, sizeof class},
					  {CKA_LABEL, (char[]){"release-signer"}, 14}},
			 2);
	need(w->p11->C_GenerateKey(w->session, &generate,
				   (CK_ATTRIBUTE[]){{CKA_TOKEN, &no, 1},
						    {CKA_SENSITIVE, &yes, 1},
						    {CKA_WRAP, &yes, 1},
						    {CKA_VALUE_LEN, &len, sizeof len}},
				   4, &w->transport) == CKR_OK,
	     "C_GenerateKey");
	json_decref(config);
}

/* ---- one release ---- */

static void verify(const struct work *w)
{
	size_t len;
	uint8_t *sig = proof_b64url(w->sig_text, strlen(w->sig_text), &len);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	need(EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, w->issuer) == 1 &&
		     EVP_DigestVerify(md, sig, len, (const uint8_t *)w->token, w->signed_len) == 1,
	     "the token's signature");
	EVP_MD_CTX_free(md);
	free(sig);
}

static json_t *parse(const struct work *w)
{
	size_t len;
	uint8_t *text =
		proof_b64url(w->claims_text, (size_t)(w->sig_text - 1 - w->claims_text), &len);
	json_t *claims = json_loadb((const char *)text, len, JSON_REJECT_DUPLICATES, NULL);
	need(claims != NULL, "the claims");
	free(text);
	return claims;
}

static BIGNUM *number(const json_t *jwk, const char *member)
{
	size_t len;
	const char *text = json_string_value(json_object_get(jwk, member));
	uint8_t *bytes = text == NULL ? NULL : proof_b64url(text, strlen(text), &len);
	need(bytes != NULL, member);
	BIGNUM *n = BN_bin2bn(bytes, (int)len, NULL);
	free(bytes);
	return n;
}

static EVP_PKEY *import(const json_t *claims)
{
	const json_t *jwk =
		json_array_get(json_object_get(json_object_get(claims, "x-ms-runtime"), "keys"), 0);
	BIGNUM *n = number(jwk, "n"), *e = number(jwk, "e");
	EVP_PKEY *key = NULL;
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n);
	OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	need(EVP_PKEY_fromdata_init(ctx) == 1 &&
		     EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1,
	     "the ephemeral key");
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(ctx);
	BN_free(n);
	BN_free(e);
	return key;
}

static void oaep(EVP_PKEY *kek)
{
	uint8_t aes[32] = {1, 2, 3}, out[512];
	size_t len = sizeof out;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(kek, NULL);
	need(EVP_PKEY_encrypt_init(ctx) == 1 &&
		     EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) == 1 &&
		     EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1 &&
		     EVP_PKEY_encrypt(ctx, out, &len, aes, sizeof aes) == 1,
	     "OAEP");
	EVP_PKEY_CTX_free(ctx);
}

static void hsm_wrap(const struct work *w)
{
	CK_BYTE out[4096];
	CK_ULONG len = sizeof out;
	CK_MECHANISM kwp = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
	need(w->p11->C_WrapKey(w->session, &kwp, w->transport, w->target, out, &len) == CKR_OK,
	     "C_WrapKey");
}

static void hsm_sign(const struct work *w)
{
	CK_BYTE digest_info[51] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
				   0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
		out[512];
	CK_ULONG len = sizeof out;
	CK_MECHANISM rsa = {CKM_RSA_PKCS, NULL, 0};
	need(w->p11->C_SignInit(w->session, &rsa, w->signer) == CKR_OK &&
		     w->p11->C_Sign(w->session, digest_info, sizeof digest_info, out, &len) ==
			     CKR_OK,
	     "C_Sign");
}

/* `parts` NULL: no clock between the steps. */
static void release(const struct work *w, double *parts)
{
	double t[PART_COUNT + 1];
#define STAMP(i)                                                                                   \
	if (parts != NULL)                                                                         \
	t[i] = cpu_us()
	STAMP(0);
	verify(w);
	STAMP(1);
	json_t *claims = parse(w);
	STAMP(2);
	EVP_PKEY *kek = import(claims);
	STAMP(3);
	oaep(kek);
	STAMP(4);
	hsm_wrap(w);
	STAMP(5);
	hsm_sign(w);
	STAMP(6);
	for (unsigned i = 0; parts != NULL && i < PART_COUNT; i++)
		parts[i] += t[i + 1] - t[i];
	EVP_PKEY_free(kek);
	json_decref(claims);
}

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- a handshake, server side, over memory ---- */

static double handshake(SSL_CTX *server, SSL_CTX *client)
{
	BIO *a, *b;
	double spent = 0;
	SSL *s = SSL_new(server), *c = SSL_new(client);
	need(BIO_new_bio_pair(&a, 0, &b, 0) == 1, "BIO pair");
	SSL_set_bio(s, a, a);
	SSL_set_bio(c, b, b);
	SSL_set_accept_state(s);
	SSL_set_connect_state(c);
	for (int i = 0; i < 10 && !(SSL_is_init_finished(s) && SSL_is_init_finished(c)); i++) {
		SSL_do_handshake(c);
		double from = cpu_us();
		SSL_do_handshake(s);
		spent += cpu_us() - from;
	}
	need(SSL_is_init_finished(s) == 1, "handshake");
	SSL_free(c);
	double from = cpu_us();
	SSL_free(s);
	return spent + cpu_us() - from;
}

struct tls {
	SSL_CTX *server, *client;
};

static struct tls open_tls(const char *dir)
{
	char certificate[512], key[512];
	struct tls t = {SSL_CTX_new(TLS_server_method()), SSL_CTX_new(TLS_client_method())};
	snprintf(certificate, sizeof certificate, "%s/tls/server.pem", dir);
	snprintf(key, sizeof key, "%s/tls/server.key", dir);
	need(SSL_CTX_use_certificate_chain_file(t.server, certificate) == 1 &&
		     SSL_CTX_use_PrivateKey_file(t.server, key, SSL_FILETYPE_PEM) == 1,
	     "tls/server");
	return t;
}

static double handshake_floor(const struct tls *t, double limit_s)
{
	double spent = 0;
	unsigned n = 0;
	for (int i = 0; i < 20; i++)
		handshake(t->server, t->client);
	for (double end = seconds() + limit_s; seconds() < end; n++)
		spent += handshake(t->server, t->client);
	return spent / n;
}

/* ---- two ways to measure ---- */

static void run_alone(const struct work *w, const struct tls *t, double limit_s)
{
	double parts[PART_COUNT] = {0};
	unsigned n = 0, n_parts = 0;
	for (int i = 0; i < 200; i++)
		release(w, NULL);
	double from = cpu_us();
	for (double end = seconds() + limit_s * 0.6; seconds() < end;)
		for (int i = 0; i < 50; i++, n++)
			release(w, NULL);
	double total = (cpu_us() - from) / n;
	for (double end = seconds() + limit_s * 0.2; seconds() < end; n_parts++)
		release(w, parts);
	printf("{\"release\": %.1f", total);
	for (unsigned i = 0; i < PART_COUNT; i++)
		printf(", \"%s\": %.1f", part_names[i], parts[i] / n_parts);
	printf(", \"handshake\": %.1f, \"iterations\": %u}\n", handshake_floor(t, limit_s * 0.2),
	       n);
}

/* While others work: a little every half second, the first ones of it to get warm. */
static void run_beside(const struct work *w, const struct tls *t, const sigset_t *end)
{
	static const struct timespec pause = {0, 500000000};
	double released = 0, shaken = 0;
	unsigned n = 0, n_shaken = 0;
	while (sigtimedwait(end, NULL, &pause) < 0) {
		for (int i = -3; i < 7; i++) {
			double from = cpu_us();
			release(w, NULL);
			released += i < 0 ? 0 : cpu_us() - from;
			n += i >= 0;
		}
		for (int i = -2; i < 3; i++) {
			double spent = handshake(t->server, t->client);
			shaken += i < 0 ? 0 : spent;
			n_shaken += i >= 0;
		}
	}
	printf("{\"release\": %.1f, \"handshake\": %.1f, \"iterations\": %u}\n",
	       n == 0 ? 0 : released / n, n == 0 ? 0 : shaken / n_shaken, n);
}

int main(int argc, char **argv)
{
	struct work w = {0};
	char path[512];
	sigset_t end;
	need(argc == 5, "usage: floor INSTANCE KEY TOKEN_FILE SECONDS, or beside: until SIGTERM, "
			"which is blocked");
	bool is_beside = strcmp(argv[4], "beside") == 0;
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	w.token = read_file("", argv[3]);
	char *dot1 = strchr(w.token, '.'), *dot2 = strrchr(w.token, '.');
	need(dot1 != NULL && dot1 != dot2, "the token");
	w.claims_text = dot1 + 1;
	w.sig_text = dot2 + 1;
	w.signed_len = (size_t)(dot2 - w.token);
	snprintf(path, sizeof path, "%s/bench-issuer.pem", argv[1]);
	FILE *f = fopen(path, "r");
	X509 *issuer = f == NULL ? NULL : PEM_read_X509(f, NULL, NULL, NULL);
	need(issuer != NULL, path);
	w.issuer = X509_get_pubkey(issuer);
	fclose(f);
	X509_free(issuer);
	open_hsm(&w, argv[1], argv[2]);
	struct tls tls = open_tls(argv[1]);
	if (is_beside)
		run_beside(&w, &tls, &end);
	else
		run_alone(&w, &tls, strtod(argv[4], NULL));
	SSL_CTX_free(tls.server);
	SSL_CTX_free(tls.client);
	w.p11->C_Finalize(NULL);
	EVP_PKEY_free(w.issuer);
	free(w.token);
	return 0;
}
