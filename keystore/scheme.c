/* keystore/scheme.c — the table of wrapping schemes, and which wrapping key a scheme accepts.
 * Trusts the kind of the wrapping key, which decide() set. */
#include "keystore/scheme.h"

#include <openssl/evp.h>

#include "base/limits.h"
#include "keystore/scheme_rsa_aes.h"

const struct wrap_scheme schemes[WRAP_SCHEMES] = {
	{"CKM_RSA_AES_KEY_WRAP", KEK_RSA, OAEP_SHA1, rsa_aes_seal, rsa_aes_open, rsa_aes_size,
	 rsa_aes_split},
	{"RSA_AES_KEY_WRAP_256", KEK_RSA, OAEP_SHA256, rsa_aes_seal, rsa_aes_open, rsa_aes_size,
	 rsa_aes_split},
	{"RSA_AES_KEY_WRAP_384", KEK_RSA, OAEP_SHA384, rsa_aes_seal, rsa_aes_open, rsa_aes_size,
	 rsa_aes_split},
};

const struct wrap_scheme *scheme_find(struct span name)
{
	for (size_t i = 0; i < WRAP_SCHEMES; i++)
		if (span_eq_cstr(name, schemes[i].name))
			return &schemes[i];
	return NULL;
}

enum kb_err scheme_accepts(const struct wrap_scheme *s, const struct wrapping_key *kek)
{
	if (kek->kind != s->kek)
		return KB_E_KEY_TYPE;
	switch (kek->kind) {
	case KEK_NONE:
		return KB_E_KEY_TYPE;
	case KEK_RSA:
		return kek->evp != NULL && EVP_PKEY_is_a(kek->evp, "RSA") &&
				       EVP_PKEY_get_bits(kek->evp) >= KB_RSA_MIN_BITS &&
				       EVP_PKEY_get_bits(kek->evp) <= KB_RSA_MAX_BITS
			       ? KB_OK
			       : KB_E_WRAP;
	}
	KB_BUG();
}
