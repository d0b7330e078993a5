/* tests/e2e/clients.c — the arithmetic of the emulated clients: HTTP bytes out and in, base64,
 * RSA, AES. Decides nothing: which algorithm, which check and which order are each client's own
 * file.  Trusts OpenSSL.  Must never use the product's code. */
#include "tests/e2e/clients.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>

const char *client_call(const struct place *at, const char *head, const char *body,
			struct reply *out)
{
	struct link *l;
	size_t head_len = strlen(head), body_len = strlen(body);
	char *text = malloc(head_len + body_len + 1);
	memset(out, 0, sizeof *out);
	if (text == NULL)
		return "no memory";
	memcpy(text, head, head_len);
	memcpy(text + head_len, body, body_len + 1);
	const char *why = link_open(at, &l);
	if (why == NULL)
		why = link_send(l, text, head_len + body_len);
	if (why == NULL)
		why = link_receive(l, out);
	link_close(l);
	free(text);
	return why;
}

char *client_value(const struct reply *r)
{
	json_t *j = json_loadb(r->body, r->len, 0, NULL);
	const char *value = json_string_value(json_object_get(j, "value"));
	char *copy = value == NULL ? NULL : strdup(value);
	json_decref(j);
	return copy;
}

bool jws_split(const char *text, struct jws *out)
{
	const char *dot1 = strchr(text, '.'), *dot2 = dot1 == NULL ? NULL : strchr(dot1 + 1, '.');
	if (dot2 == NULL || strchr(dot2 + 1, '.') != NULL)
		return false;
	*out = (struct jws){
		.part = {text, dot1 + 1, dot2 + 1},
		.len = {(size_t)(dot1 - text), (size_t)(dot2 - dot1 - 1), strlen(dot2 + 1)},
		.signed_len = (size_t)(dot2 - text)};
	return true;
}

json_t *client_json(const char *text, size_t len)
{
	size_t n;
	uint8_t *bytes = proof_b64url(text, len, &n);
	json_t *j = bytes == NULL ? NULL : json_loadb((const char *)bytes, n, 0, NULL);
	free(bytes);
	return j;
}

X509 *client_certificate(const json_t *text)
{
	uint8_t der[CLIENT_MAX];
	const char *s = json_string_value(text);
	size_t len = json_string_length(text);
	if (len < 4 || len % 4 != 0 || len / 4 * 3 > sizeof der ||
	    strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != len)
		return NULL;
	int n = EVP_DecodeBlock(der, (const uint8_t *)s, (int)len) - (s[len - 1] == '=') -
		(s[len - 2] == '=');
	const uint8_t *p = der;
	X509 *c = n <= 0 ? NULL : d2i_X509(NULL, &p, n);
	if (c != NULL && p == der + n)
		return c;
	X509_free(c);
	ERR_clear_error();
	return NULL;
}

json_t *client_key_hsm(const json_t *payload)
{
	const char *text = NULL;
	json_unpack((json_t *)(uintptr_t)payload, "{s:{s:{s:{s:s}}}}", "response", "key", "key",
		    "key_hsm", &text);
	return text == NULL ? NULL : client_json(text, strlen(text));
}

bool client_verify(EVP_PKEY *key, const char *md, int padding, const struct jws *j)
{
	size_t len;
	EVP_PKEY_CTX *ctx;
	uint8_t *sig = proof_b64url(j->part[2], j->len[2], &len);
	EVP_MD_CTX *m = EVP_MD_CTX_new();
	bool is_right =
		sig != NULL && m != NULL &&
		EVP_DigestVerifyInit(m, &ctx, EVP_get_digestbyname(md), NULL, key) == 1 &&
		EVP_PKEY_CTX_set_rsa_padding(ctx, padding) == 1 &&
		EVP_DigestVerify(m, sig, len, (const uint8_t *)j->part[0], j->signed_len) == 1;
	EVP_MD_CTX_free(m);
	free(sig);
	ERR_clear_error();
	return is_right;
}

/* The mask's hash is the label's hash, as a TPM and Go's standard library have it; the label is
 * empty. */
bool client_oaep(EVP_PKEY *kek, const char *md, const uint8_t *in, size_t len,
		 uint8_t aes[static 32])
{
	uint8_t out[1024];
	size_t n = sizeof out;
	const EVP_MD *hash = EVP_get_digestbyname(md);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(kek, NULL);
	bool is_right = ctx != NULL && EVP_PKEY_decrypt_init(ctx) == 1 &&
			EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 &&
			EVP_PKEY_CTX_set_rsa_oaep_md(ctx, hash) == 1 &&
			EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, hash) == 1 &&
			EVP_PKEY_decrypt(ctx, out, &n, in, len) == 1 && n == 32;
	if (is_right)
		memcpy(aes, out, 32);
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	return is_right;
}

bool client_evp_unwrap(const uint8_t aes[static 32], const uint8_t *in, size_t len,
		       struct client_key *out)
{
	int n = 0, more = 0;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	if (ctx != NULL)
		EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	bool is_right = ctx != NULL && len <= sizeof out->plain &&
			EVP_DecryptInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, aes, NULL) == 1 &&
			EVP_DecryptUpdate(ctx, out->plain, &n, in, (int)len) == 1 &&
			EVP_DecryptFinal_ex(ctx, out->plain + n, &more) == 1;
	out->len = is_right ? (size_t)(n + more) : 0;
	EVP_CIPHER_CTX_free(ctx);
	ERR_clear_error();
	return is_right;
}
