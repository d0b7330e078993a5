/* broker/ctl/import_fault.c — tables of what operators give by mistake.  The file's bytes may be a
 * key's: none of them is shown. */
#include "ctl/import_fault.h"

#include <ctype.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <stdio.h>

#include "base/curve.h"
#include "base/limits.h"

/* ---- files that are no private key ---- */

#define ENCRYPTED                                                                                  \
	"an encrypted private key that was not decrypted: give its password on the terminal, or "  \
	"decrypt it first with `openssl pkey -in FILE -out PLAIN`, and destroy PLAIN afterwards"
#define CERTIFICATE                                                                                \
	"a certificate, which has the public key alone: the private key is in another file"
#define PUBLIC "a public key: what is imported is the private one"

/* The first line that is found says what the file is: of two, the one that explains more. */
static const struct {
	const char *line, *what;
} pem[] = {
	{"-----BEGIN ENCRYPTED PRIVATE KEY-----", ENCRYPTED},
	{"Proc-Type: 4,ENCRYPTED", ENCRYPTED},
	{"-----BEGIN OPENSSH PRIVATE KEY-----",
	 "a private key in OpenSSH's own format: convert a copy with `ssh-keygen -p -m PKCS8 -f "
	 "COPY`"},
	{"-----BEGIN PGP PRIVATE KEY BLOCK-----", "a PGP key, which is not supported"},
	{"-----BEGIN DSA PRIVATE KEY-----", "a DSA key, which is not supported: RSA and EC are"},
	{"PRIVATE KEY-----", "a damaged PEM private key: was it cut, or changed by an editor?"},
	{"-----BEGIN CERTIFICATE REQUEST-----", "a certificate request, which has no private key"},
	{"-----BEGIN CERTIFICATE-----", CERTIFICATE},
	{"-----BEGIN TRUSTED CERTIFICATE-----", CERTIFICATE},
	{"-----BEGIN X509 CRL-----", "a revocation list, which has no key"},
	{"PUBLIC KEY-----", PUBLIC},
	{"-----BEGIN EC PARAMETERS-----", "parameters of a curve without a key"},
	{"\"kty\"", "a JWK, which is not supported: convert it to PKCS#8 (PEM or DER)"},
};

static bool has(struct span file, const char *text)
{
	return memmem(file.p, file.len, text, strlen(text)) != NULL;
}

static const char *der_fault(struct span file)
{
	const uint8_t *at = file.p;
	const long len = (long)file.len;
	const char *what = NULL;
	X509 *certificate = d2i_X509(NULL, &at, len);
	at = file.p;
	EVP_PKEY *public = d2i_PUBKEY(NULL, &at, len);
	at = file.p;
	X509_SIG *encrypted = d2i_X509_SIG(NULL, &at, len);
	at = file.p;
	PKCS12 *store = d2i_PKCS12(NULL, &at, len);

	if (certificate != NULL)
		what = CERTIFICATE;
	else if (public != NULL)
		what = PUBLIC;
	else if (store != NULL)
		what = "a PKCS#12 file: take the key out with `openssl pkcs12 -in FILE -nocerts "
		       "-noenc`, and destroy that copy afterwards";
	else if (encrypted != NULL)
		what = ENCRYPTED;
	X509_free(certificate);
	EVP_PKEY_free(public);
	X509_SIG_free(encrypted);
	PKCS12_free(store);
	return what;
}

void import_file_fault(struct span file, char why[static IMPORT_WHY])
{
	const char *what = NULL;

	for (size_t i = 0; i < sizeof pem / sizeof pem[0] && what == NULL; i++)
		if (has(file, pem[i].line))
			what = pem[i].what;
	if (what == NULL)
		what = der_fault(file);
	if (what == NULL)
		what = "neither a PEM nor a DER private key; for a file of raw bytes say --kty "
		       "oct-HSM";
	snprintf(why, IMPORT_WHY, "%s", what);
}

/* ---- keys that are not supported ---- */

static bool rsa_ok(EVP_PKEY *key, char why[static IMPORT_WHY])
{
	BIGNUM *e = NULL;
	const int bits = EVP_PKEY_get_bits(key);

	if (bits < KB_RSA_MIN_BITS || bits > KB_RSA_MAX_BITS) {
		snprintf(why, IMPORT_WHY, "RSA of %d bits is not supported: %d to %d bits are",
			 bits, KB_RSA_MIN_BITS, KB_RSA_MAX_BITS);
		return false;
	}
	bool is_good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) == 1 &&
		       BN_num_bits(e) <= KB_RSA_MAX_E_BITS && BN_is_odd(e) == 1;
	BN_free(e);
	if (!is_good)
		snprintf(why, IMPORT_WHY,
			 "this RSA key's public exponent is not supported: odd ones of at most %d "
			 "bits are (65537 is usual)",
			 KB_RSA_MAX_E_BITS);
	return is_good;
}

static bool ec_ok(EVP_PKEY *key, char why[static IMPORT_WHY])
{
	char group[64] = "";
	size_t len = 0;

	if (EVP_PKEY_get_group_name(key, group, sizeof group, &len) != 1 || group[0] == '\0') {
		snprintf(why, IMPORT_WHY,
			 "a curve that is given by its numbers is not supported: " CURVE_NAMES
			 " by name are");
		return false;
	}
	if (curve_by_group(group) != NULL)
		return true;
	snprintf(why, IMPORT_WHY, "curve %s is not supported: " CURVE_NAMES " are",
		 strcmp(group, "secp256k1") == 0 ? "P-256K (secp256k1)" : group);
	return false;
}

bool import_key_ok(EVP_PKEY *key, char why[static IMPORT_WHY])
{
	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
		return rsa_ok(key, why);
	case EVP_PKEY_EC:
		return ec_ok(key, why);
	default:
		snprintf(why, IMPORT_WHY, "keys of type %s are not supported: RSA and EC are",
			 EVP_PKEY_get0_type_name(key));
		return false;
	}
}

/* ---- raw bytes ---- */

static size_t line_end(struct span file)
{
	if (file.len == 0 || file.p[file.len - 1] != '\n')
		return 0;
	return file.len > 1 && file.p[file.len - 2] == '\r' ? 2 : 1;
}

/* Of AES and of HMAC with the usual digests. */
static bool is_usual(size_t len)
{
	return len == 16 || len == 24 || len == 32 || len == 48 || len == 64;
}

static const char *encoding_of(struct span text)
{
	bool is_hex = text.len % 2 == 0, is_base64 = text.len % 4 == 0;

	for (size_t i = 0; i < text.len; i++) {
		is_hex = is_hex && isxdigit(text.p[i]);
		is_base64 = is_base64 && (isalnum(text.p[i]) || strchr("+/-_=", text.p[i]) != NULL);
	}
	return text.len == 0 ? NULL : is_hex ? "hexadecimal" : is_base64 ? "base64" : NULL;
}

bool import_raw_ok(struct span file, char why[static IMPORT_WHY])
{
	const size_t end = line_end(file);
	const struct span text = span_sub(file, 0, file.len - end);
	const char *encoding = encoding_of(text);
	const bool is_size = file.len >= KB_MIN_OCT && file.len <= KB_MAX_OCT;

	why[0] = '\0';
	if (end > 0 && is_usual(text.len) && !is_usual(file.len)) {
		snprintf(why, IMPORT_WHY,
			 "%zu bytes, the last of which end%s a line: an editor or echo has put "
			 "%s there. Write the %zu bytes of the key alone, for example with printf",
			 file.len, end == 1 ? "s" : "", end == 1 ? "it" : "them", text.len);
		return false;
	}
	if (!is_size) {
		snprintf(why, IMPORT_WHY,
			 "an oct key has %d to %d raw bytes, this file has %zu%s%s%s", KB_MIN_OCT,
			 KB_MAX_OCT, file.len, encoding != NULL ? "; it is " : "",
			 encoding != NULL ? encoding : "",
			 encoding != NULL ? " text: decode it first" : "");
		return false;
	}
	if (encoding != NULL)
		snprintf(why, IMPORT_WHY,
			 "the file is %s text, and its characters are the key now. If they stand "
			 "for the key's bytes, decode the file and import that",
			 encoding);
	else if (end > 0)
		snprintf(why, IMPORT_WHY,
			 "the file ends with a newline, which is a part of the key now. If an "
			 "editor or echo has put it there, import the key without it");
	return true;
}
