/* broker/base/evp.c — builds OpenSSL public keys from numbers.  Judges nothing but what OpenSSL
 * itself refuses: a point off the curve, a number that is too long. */
#include "base/evp.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/limits.h"

enum { MAX_N = KB_RSA_MAX_BITS / 8, MAX_E = 8 };

static enum kb_err build(const char *type, OSSL_PARAM *params, EVP_PKEY **out)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	enum kb_err err = KB_E_NOMEM;

	*out = NULL;
	if (ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
		err = EVP_PKEY_fromdata(ctx, out, EVP_PKEY_PUBLIC_KEY, params) == 1
			      ? KB_OK
			      : KB_E_KEY_FORMAT;
	EVP_PKEY_CTX_free(ctx);
	return err;
}

/* OSSL_PARAM takes numbers in the machine's byte order. */
static enum kb_err native(struct span big_endian, uint8_t *out)
{
	BIGNUM *b = BN_bin2bn(big_endian.p, (int)big_endian.len, NULL);

	if (b == NULL)
		return KB_E_NOMEM;
	if (BN_bn2nativepad(b, out, (int)big_endian.len) < 0)
		KB_BUG(); /* it came from so many bytes */
	BN_free(b);
	return KB_OK;
}

enum kb_err evp_rsa_public(struct span n, struct span e, EVP_PKEY **out)
{
	uint8_t native_n[MAX_N], native_e[MAX_E];
	enum kb_err err;

	*out = NULL;
	if (n.len == 0 || n.len > sizeof native_n || e.len == 0 || e.len > sizeof native_e)
		return KB_E_KEY_FORMAT;
	if ((err = native(n, native_n)) != KB_OK || (err = native(e, native_e)) != KB_OK)
		return err;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, native_n, n.len),
			       OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, native_e, e.len),
			       OSSL_PARAM_construct_end()};
	return build("RSA", params, out);
}

enum kb_err evp_ec_public(const struct curve *curve, struct span point, EVP_PKEY **out)
{
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
								(char *)curve->group, 0),
			       OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
								 (void *)point.p, point.len),
			       OSSL_PARAM_construct_end()};

	return build("EC", params, out);
}
