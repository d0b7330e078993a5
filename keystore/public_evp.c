/* keystore/public_evp.c — an RSA public key of the HSM as OpenSSL's type.  Trusts the numbers to be
 * those that the HSM gave. */
#include "keystore/public_evp.h"

#include "base/evp.h"

enum kb_err hsm_public_evp(const struct hsm_public *pub, EVP_PKEY **out)
{
	*out = NULL;
	if (pub->kty != KB_KTY_RSA)
		return KB_E_KEY_TYPE;
	return evp_rsa_public(span_of(pub->n, pub->n_len), span_of(pub->e, pub->e_len), out);
}
