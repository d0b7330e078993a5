/* broker/ctl/import.c — PEM or DER to PKCS#8 in locked memory.  Trusts the operator that the key is
 * a good one, but checks the file's form and type.  Never writes key bytes anywhere; OpenSSL wipes
 * its copies when it frees the key. */
#include "ctl/import.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/x509.h"
#include "ctl/import_fault.h"
#include "ctl/output.h"

/* Unchanged: secret_read_fd() drops a trailing newline, which may be part of a raw key. */
static enum kb_err raw_read(const char *path, struct secret **out)
{
	KB_AUTO(secret) struct secret *s = secret_new(KB_MAX_SECRET);
	struct stat st;
	size_t n = 0;

	if (s == NULL)
		return KB_E_NOMEM;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || file_read(fd, secret_bytes(s), KB_MAX_SECRET, &n) != KB_OK) {
		ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return KB_E_FILE;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		ctl_say("%s: other users may have read this key (mode %03o): keep key files at "
			"mode 0600.",
			path, (unsigned)st.st_mode & 0777);
	close(fd);
	if (n == 0 || n == KB_MAX_SECRET) {
		ctl_fail(CTL_FAILED, "%s: a key has 1 to %d bytes", path, KB_MAX_SECRET - 1);
		return KB_E_KEY_SIZE;
	}
	secret_trim(s, n);
	*out = s;
	s = NULL;
	return KB_OK;
}

static int no_password(char *buf, int size, int is_new, void *ctx)
{
	(void)buf;
	(void)size;
	(void)is_new;
	(void)ctx;
	return -1;
}

static EVP_PKEY *key_decode(const struct secret *file)
{
	struct span bytes = secret_span(file);
	const uint8_t *der = bytes.p;
	BIO *bio = BIO_new_mem_buf(bytes.p, (int)bytes.len);
	/* For a PEM with a password OpenSSL asks on the terminal, when there is one. */
	EVP_PKEY *key =
		bio == NULL ? NULL
			    : PEM_read_bio_PrivateKey(
				      bio, NULL, isatty(STDIN_FILENO) ? NULL : no_password, NULL);

	BIO_free(bio);
	if (key == NULL)
		key = d2i_AutoPrivateKey(NULL, &der, (long)bytes.len);
	ERR_clear_error();
	return key;
}

static enum kb_err pkcs8_encode(EVP_PKEY *key, struct secret **out)
{
	enum kb_err err = KB_E_KEY_FORMAT;
	PKCS8_PRIV_KEY_INFO *info = NULL;
	struct secret *der = NULL;
	int len = 0;

	if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
	    EVP_PKEY_set_utf8_string_param(key, "encoding", "named_curve") != 1)
		goto out; /* explicit parameters: PKCS#11 and clients need the curve's name */
	if ((info = EVP_PKEY2PKCS8(key)) == NULL ||
	    (len = i2d_PKCS8_PRIV_KEY_INFO(info, NULL)) <= 0 || len > KB_MAX_SECRET)
		goto out;
	err = KB_E_NOMEM;
	if ((der = secret_new((size_t)len)) == NULL)
		goto out;
	uint8_t *at = secret_bytes(der);
	if (i2d_PKCS8_PRIV_KEY_INFO(info, &at) != len)
		goto out;
	*out = der;
	der = NULL;
	err = KB_OK;
out:
	secret_free(der);
	PKCS8_PRIV_KEY_INFO_free(info);
	return err;
}

enum kb_err import_read(const char *path, enum kb_kty *kty, struct secret **out)
{
	KB_AUTO(secret) struct secret *file = NULL;
	char why[IMPORT_WHY];
	enum kb_kty found;
	enum kb_err err = raw_read(path, &file);

	*out = NULL;
	if (err != KB_OK)
		return err;
	if (*kty == KB_KTY_OCT) {
		const bool is_good = import_raw_ok(secret_span(file), why);
		if (!is_good)
			ctl_fail(CTL_FAILED, "%s: %s", path, why);
		else if (why[0] != '\0')
			ctl_say("%s: %s.", path, why);
		if (!is_good)
			return KB_E_KEY_SIZE;
		*out = file;
		file = NULL;
		return KB_OK;
	}
	KB_AUTO(x509_key) EVP_PKEY *key = key_decode(file);
	if (key == NULL) {
		import_file_fault(secret_span(file), why);
		ctl_fail(CTL_FAILED, "%s: %s", path, why);
		return KB_E_KEY_FORMAT;
	}
	if (!import_key_ok(key, why)) {
		ctl_fail(CTL_FAILED, "%s: %s", path, why);
		return KB_E_KEY_TYPE;
	}
	found = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA ? KB_KTY_RSA : KB_KTY_EC;
	if (*kty != 0 && *kty != found) {
		ctl_fail(CTL_FAILED, "%s: an %s key, %s is wanted", path, kty_name(found),
			 kty_name(*kty));
		return KB_E_KEY_TYPE;
	}
	if ((err = pkcs8_encode(key, out)) != KB_OK) {
		ctl_fail(CTL_FAILED, "%s: cannot be written as PKCS#8", path);
		return err;
	}
	*kty = found;
	return KB_OK;
}
