/* tests/unit/rsa_key.h — RSA keys for tests, made once: of 4096 bits one takes seconds.  MINT_KEYS
 * names the directory that keeps them from one program to the next (tests/run-unit and
 * tests/mutation/run set it); without it each call makes a key. */
#ifndef KB_TESTS_RSA_KEY_H
#define KB_TESTS_RSA_KEY_H
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* NULL when it cannot be made. */
static inline EVP_PKEY *rsa_key_new(unsigned bits, unsigned e)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	BIGNUM *exponent = BN_new();
	EVP_PKEY *key = NULL;

	if (ctx == NULL || exponent == NULL || BN_set_word(exponent, e) != 1 ||
	    EVP_PKEY_keygen_init(ctx) != 1 ||
	    EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits) != 1 ||
	    EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, exponent) != 1 ||
	    EVP_PKEY_generate(ctx, &key) != 1)
		key = NULL;
	BN_free(exponent);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* Under its name when it is whole: programs that run side by side share the directory. */
static inline void rsa_key_save(EVP_PKEY *key, const char *path)
{
	char temporary[600];

	snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
	FILE *f = fopen(temporary, "w");
	if (f == NULL)
		return;
	bool good = PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1;
	good = fclose(f) == 0 && good;
	if (!good || rename(temporary, path) != 0)
		unlink(temporary);
}

/* The n-th call of a program gives the n-th key of that kind: no two are the same. */
static inline EVP_PKEY *rsa_key_e(unsigned bits, unsigned e)
{
	static unsigned count;
	const char *dir = getenv("MINT_KEYS");
	EVP_PKEY *key = NULL;
	char path[512];

	if (dir == NULL)
		return rsa_key_new(bits, e);
	snprintf(path, sizeof path, "%s/rsa-%u-%u-%u.pem", dir, bits, e, count++);
	FILE *f = fopen(path, "r");
	if (f != NULL) {
		key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
		fclose(f);
	} else if ((key = rsa_key_new(bits, e)) != NULL) {
		rsa_key_save(key, path);
	}
	return key;
}

static inline EVP_PKEY *rsa_key(unsigned bits)
{
	return rsa_key_e(bits, 65537);
}

#endif
