/* broker/guest/output.c — writes the released key. Must never write half of it, nor where others
 * can read it, nor through a symbolic link, nor to a terminal. It stays in locked memory until it
 * is written. */
#include "guest/output.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/curve.h"
#include "base/file.h"
#include "base/limits.h"
#include "guest/fd.h"

enum { NUMBER_MAX = KB_RSA_MAX_BITS / 8 };

static const char *after(const char *place, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(place, prefix, n) == 0 && place[n] != '\0' ? place + n : NULL;
}

enum kb_err output_check(const char *place, const char **why)
{
	int fd;

	if (strcmp(place, "stdout") == 0) {
		*why = "standard output is a terminal";
		return isatty(STDOUT_FILENO) ? KB_E_CONFIG : KB_OK;
	}
	if (fd_named(place, &fd)) {
		*why = isatty(fd) ? "it is a terminal" : "no such descriptor is open for writing";
		int flags = fcntl(fd, F_GETFL);
		return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && !isatty(fd) ? KB_OK
										    : KB_E_CONFIG;
	}
	*why = "it is not fd:N, file:PATH, keyring:NAME or stdout";
	return after(place, "file:") != NULL || after(place, "keyring:") != NULL ? KB_OK
										 : KB_E_CONFIG;
}

/* ---- forms ---- */

/* Text that grows inside one secret. */
struct text {
	struct secret *s;
	size_t len;
	bool failed;
};

static void put(struct text *t, const char *p, size_t len)
{
	if (t->failed || len > secret_len(t->s) - t->len) {
		t->failed = true;
		return;
	}
	memcpy(secret_bytes(t->s) + t->len, p, len);
	t->len += len;
}

/* base64url without padding; EVP_EncodeBlock writes in place, then the alphabet is changed. */
static void put_b64(struct text *t, const char *name, const uint8_t *p, size_t len)
{
	size_t space = (len + 2) / 3 * 4 + 1;
	char member[16];
	int n = snprintf(member, sizeof member, ",\"%s\":\"", name);

	put(t, member, (size_t)n);
	if (t->failed || space > secret_len(t->s) - t->len) {
		t->failed = true;
		return;
	}
	uint8_t *at = secret_bytes(t->s) + t->len;
	(void)EVP_EncodeBlock(at, p, (int)len);
	size_t used = (len * 4 + 2) / 3;
	for (size_t i = 0; i < used; i++)
		at[i] = at[i] == '+' ? '-' : at[i] == '/' ? '_' : at[i];
	t->len += used;
	put(t, "\"", 1);
}

/* A number of the key, `width` bytes wide (0: as short as it is). */
static void put_number(struct text *t, const EVP_PKEY *key, const char *param, const char *name,
		       int width)
{
	BIGNUM *bn = BN_secure_new();
	struct secret *bytes = secret_new(NUMBER_MAX);

	if (bn == NULL || bytes == NULL || EVP_PKEY_get_bn_param(key, param, &bn) != 1 ||
	    BN_num_bytes(bn) > NUMBER_MAX) {
		t->failed = true;
	} else {
		int len = width > 0 ? width : BN_num_bytes(bn);
		if (BN_bn2binpad(bn, secret_bytes(bytes), len) == len)
			put_b64(t, name, secret_bytes(bytes), (size_t)len);
		else
			t->failed = true;
	}
	BN_clear_free(bn);
	secret_free(bytes);
}

static void put_rsa(struct text *t, const EVP_PKEY *key)
{
	static const char *const members[][2] = {
		{"n", OSSL_PKEY_PARAM_RSA_N},          {"e", OSSL_PKEY_PARAM_RSA_E},
		{"d", OSSL_PKEY_PARAM_RSA_D},          {"p", OSSL_PKEY_PARAM_RSA_FACTOR1},
		{"q", OSSL_PKEY_PARAM_RSA_FACTOR2},    {"dp", OSSL_PKEY_PARAM_RSA_EXPONENT1},
		{"dq", OSSL_PKEY_PARAM_RSA_EXPONENT2}, {"qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
	};

	put(t, "{\"kty\":\"RSA\"", 12);
	for (unsigned i = 0; i < sizeof members / sizeof members[0]; i++)
		put_number(t, key, members[i][1], members[i][0], 0);
}

static void put_ec(struct text *t, const EVP_PKEY *key)
{
	char group[32] = "", head[64];

	(void)EVP_PKEY_get_group_name(key, group, sizeof group, NULL);
	bool is_k = strcmp(group, "secp256k1") == 0; /* RFC 8812; the broker has no such keys */
	const struct curve *curve = curve_by_group(group);
	if (curve == NULL && !is_k) {
		t->failed = true;
		return;
	}
	int bytes = is_k ? 32 : (int)curve->bytes; /* RFC 7518 section 6.2: full width */
	int n = snprintf(head, sizeof head, "{\"kty\":\"EC\",\"crv\":\"%s\"",
			 is_k ? group : curve->name);
	put(t, head, (size_t)n);
	put_number(t, key, OSSL_PKEY_PARAM_EC_PUB_X, "x", bytes);
	put_number(t, key, OSSL_PKEY_PARAM_EC_PUB_Y, "y", bytes);
	put_number(t, key, OSSL_PKEY_PARAM_PRIV_KEY, "d", bytes);
}

static enum kb_err finish(struct text *t, struct secret **out)
{
	if (t->failed || t->len == 0) {
		secret_free(t->s);
		return KB_E_KEY_FORMAT;
	}
	secret_trim(t->s, t->len);
	*out = t->s;
	return KB_OK;
}

static void put_pem(struct text *t, struct span der)
{
	char *text;
	BIO *bio = BIO_new(BIO_s_secmem());

	if (bio != NULL && PEM_write_bio(bio, "PRIVATE KEY", "", der.p, (long)der.len) > 0) {
		long len = BIO_get_mem_data(bio, &text);
		put(t, text, (size_t)len);
	} else {
		t->failed = true;
	}
	BIO_free(bio);
}

enum kb_err output_encode(enum output_format format, const struct secret *plain_text,
			  const EVP_PKEY *key, struct secret **out)
{
	struct span bytes = secret_span(plain_text);
	struct text t = {.s = secret_new(KB_MAX_SECRET)};

	*out = NULL;
	if (t.s == NULL)
		return KB_E_NOMEM;
	switch (format) {
	case OUTPUT_RAW:
		put(&t, (const char *)bytes.p, bytes.len);
		break;
	case OUTPUT_PEM:
		if (key == NULL) {
			secret_free(t.s);
			return KB_E_KEY_TYPE;
		}
		put_pem(&t, bytes);
		break;
	case OUTPUT_JWK:
		if (key == NULL) {
			put(&t, "{\"kty\":\"oct\"", 12);
			put_b64(&t, "k", bytes.p, bytes.len);
		} else if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA) {
			put_rsa(&t, key);
		} else {
			put_ec(&t, key);
		}
		put(&t, "}\n", 2);
		break;
	}
	return finish(&t, out);
}

/* ---- places ---- */

static enum kb_err explain(enum kb_err err, const char **why)
{
	if (err != KB_OK)
		*why = strerror(errno);
	return err;
}

/* The user keyring: every session of root has it, and it does not survive a reboot. */
static enum kb_err write_keyring(const char *name, struct span bytes, const char **why)
{
	if (syscall(SYS_add_key, "user", name, bytes.p, bytes.len, KEY_SPEC_USER_KEYRING) >= 0)
		return KB_OK;
	*why = strerror(errno);
	return KB_E_FILE;
}

enum kb_err output_write(const char *place, const struct secret *s, const char **why)
{
	struct span bytes = secret_span(s);
	const char *rest;
	int fd;

	if (strcmp(place, "stdout") == 0)
		return explain(file_write(STDOUT_FILENO, bytes), why);
	if (fd_named(place, &fd))
		return explain(file_write(fd, bytes), why);
	if ((rest = after(place, "file:")) != NULL)
		return explain(file_replace_path(rest, 0600, FILE_UNSYNCED, bytes), why);
	if ((rest = after(place, "keyring:")) != NULL)
		return write_keyring(rest, bytes, why);
	KB_BUG(); /* output_check() accepts no other */
}
