/* broker/base/x509_usage.c — decides from its extended key usages whether a certificate is one of a
 * release signer, and names public keys by their digest.  Must never take a certificate that says
 * nothing, or says "any", for one that says so: every TLS certificate under the same root could
 * sign releases then. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/b64url.h"
#include "base/digest.h"
#include "base/x509.h"

#define PIN_PREFIX "sha256//"

static void usages_cleanup(EXTENDED_KEY_USAGE **u)
{
	EXTENDED_KEY_USAGE_free(*u);
}

/* One certificate.  GOOD: it names the usage, or it is a CA that restricts nothing. */
static enum x509_usage usage_of(X509 *cert, bool is_ca)
{
	int critical = 0;
	bool is_named = false;
	__attribute__((cleanup(usages_cleanup))) EXTENDED_KEY_USAGE *usages =
		X509_get_ext_d2i(cert, NID_ext_key_usage, &critical, NULL);

	if (usages == NULL) {
		ERR_clear_error();
		if (critical != -1) /* -1: there is none */
			return X509_USAGE_BROKEN;
		return is_ca ? X509_USAGE_GOOD : X509_USAGE_ABSENT;
	}
	ASN1_OBJECT *signer = OBJ_txt2obj(X509_SIGNER_USAGE, 1);
	for (int i = 0; signer != NULL && i < sk_ASN1_OBJECT_num(usages); i++) {
		const ASN1_OBJECT *one = sk_ASN1_OBJECT_value(usages, i);
		is_named = is_named || OBJ_cmp(one, signer) == 0 ||
			   (is_ca && OBJ_obj2nid(one) == NID_anyExtendedKeyUsage);
	}
	ASN1_OBJECT_free(signer);
	return is_named ? X509_USAGE_GOOD : is_ca ? X509_USAGE_EXCLUDED : X509_USAGE_ABSENT;
}

/* RFC 5280 leaves extended key usages of a CA undefined. TLS libraries and browsers read them as a
 * limit for all that is below, so an operator who limits a CA to TLS servers relies on it. */
enum x509_usage x509_signer_usage(X509 *const *chain, size_t n)
{
	enum x509_usage found = n == 0 ? X509_USAGE_ABSENT : X509_USAGE_GOOD;

	for (size_t i = 0; i < n && found == X509_USAGE_GOOD; i++)
		found = usage_of(chain[i], i > 0);
	return found;
}

bool x509_may_sign(X509 *cert)
{
	/* All bits are set when there is no such extension. */
	return (X509_get_key_usage(cert) &
		(X509v3_KU_DIGITAL_SIGNATURE | X509v3_KU_NON_REPUDIATION)) != 0;
}

static bool is_rsa(const EVP_PKEY *key)
{
	int kind = EVP_PKEY_get_base_id(key);

	return kind == EVP_PKEY_RSA || kind == EVP_PKEY_RSA_PSS;
}

bool x509_same_key(const EVP_PKEY *a, const EVP_PKEY *b)
{
	BIGNUM *x = NULL, *y = NULL;

	if (a == NULL || b == NULL)
		return true;
	if (!is_rsa(a) || !is_rsa(b)) {
		int same = EVP_PKEY_eq(a, b);
		return same != 0 && same != -1; /* -1: of different types */
	}
	/* One modulus has two types, rsaEncryption and RSASSA-PSS. */
	bool is_same = EVP_PKEY_get_bn_param(a, OSSL_PKEY_PARAM_RSA_N, &x) != 1 ||
		       EVP_PKEY_get_bn_param(b, OSSL_PKEY_PARAM_RSA_N, &y) != 1 ||
		       BN_cmp(x, y) == 0;
	BN_free(x);
	BN_free(y);
	return is_same;
}

enum kb_err x509_pin(X509 *cert, uint8_t out[static X509_PIN_BYTES])
{
	uint8_t *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

	if (len <= 0)
		return KB_E_KEY_FORMAT;
	digest_sha256(span_of(der, (size_t)len), out);
	OPENSSL_free(der);
	return KB_OK;
}

enum kb_err x509_pin_text(X509 *cert, char out[static X509_PIN_TEXT])
{
	uint8_t pin[X509_PIN_BYTES];
	enum kb_err err = x509_pin(cert, pin);
	KB_AUTO(buf) struct buf text;

	buf_init(&text, X509_PIN_TEXT);
	if (err != KB_OK)
		return err;
	buf_add_str(&text, PIN_PREFIX);
	b64_encode(&text, span_of(pin, sizeof pin));
	buf_add(&text, "", 1);
	if ((err = buf_ok(&text)) == KB_OK)
		memcpy(out, text.p, text.len);
	return err;
}

enum kb_err x509_pin_parse(struct span text, uint8_t out[static X509_PIN_BYTES])
{
	size_t prefix = sizeof PIN_PREFIX - 1;
	KB_AUTO(buf) struct buf bytes;

	buf_init(&bytes, X509_PIN_BYTES);
	if (text.len < prefix || memcmp(text.p, PIN_PREFIX, prefix) != 0 ||
	    b64_decode(span_sub(text, prefix, text.len), &bytes) != KB_OK ||
	    bytes.len != X509_PIN_BYTES)
		return KB_E_B64;
	memcpy(out, bytes.p, X509_PIN_BYTES);
	return KB_OK;
}
