/* keystore/public_evp.c — an RSA public key of the HSM as OpenSSL's type.  Trusts the numbers to be
 * those that the HSM gave. */
#include "keystore/public_evp.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

enum kb_err hsm_public_evp(const struct hsm_public *pub, EVP_PKEY **out)
{
	enum kb_err err = KB_E_KEY_FORMAT;
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX *ctx = NULL;

	*out = NULL;
	if (pub->kty != KB_KTY_RSA)
		return KB_E_KEY_TYPE;
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	BIGNUM *n = BN_bin2bn(pub->n, (int)pub->n_len, NULL),
	       *e = BN_bin2bn(pub->e, (int)pub->e_len, NULL);
	if (bld == NULL || n == NULL || e == NULL || BN_is_zero(n) || BN_is_zero(e))
		goto out;
	if (OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) != 1)
		goto out;
	if ((params = OSSL_PARAM_BLD_to_param(bld)) == NULL ||
	    (ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL)) == NULL)
		goto out;
	if (EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, out, EVP_PKEY_PUBLIC_KEY, params) != 1)
		goto out;
	err = KB_OK;
out:
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	BN_free(n);
	BN_free(e);
	return err;
}
