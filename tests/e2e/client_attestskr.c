/* tests/e2e/client_attestskr.c — AzureAttestSKR, the confidential VM's sample program, as its C++
 * code asks and reads. Decides what that client accepts: it checks no
 * signature and no chain, and accepts any server with a good certificate.  Trusts TLS alone.
 * Must never be used as an example. */
#include "tests/e2e/clients.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

enum { WRAPPED_AES = 256 /* fixed: the TPM's key has 2048 bits */ };

const char *attestskr_ask(const struct place *at, const char *key_url, const char *nonce,
			  const char *token, struct reply *out)
{
	const char *host = strstr(key_url, "://");
	size_t cap = strlen(token) + 512;
	char head[1024], *body = malloc(cap);
	memset(out, 0, sizeof *out);
	if (body == NULL)
		return "no memory";
	/* It picks the audience of its access token by these, anywhere in the URL. */
	if (host == NULL || (strstr(key_url, "vault.azure.net") == NULL &&
			     strstr(key_url, "managedhsm.azure.net") == NULL)) {
		free(body);
		return "invalid key URL";
	}
	host += 3;
	size_t host_len = strcspn(host, "/");
	int len =
		snprintf(body, cap,
			 "{\"nonce\": \"%s\",\"target\": \"%s\",\"enc\": \"RSA_AES_KEY_WRAP_256\"}",
			 nonce == NULL ? ATTESTSKR_NONCE : nonce, token);
	/* libcurl: one's own headers in the order given, the length after them. */
	snprintf(head, sizeof head,
		 "POST %s/release?api-version=7.3 HTTP/1.1\r\nHost: %.*s\r\nAuthorization: Bearer "
		 "access-token\r\nContent-Type: application/json\r\n"
		 "Accept: application/json\r\nUser-Agent: AzureDiskEncryption\r\nContent-Length: "
		 "%d\r\n\r\n",
		 host + host_len, (int)host_len, host, len);
	const char *why = client_call(at, head, body, out);
	free(body);
	return why;
}

/* Its base64 takes either alphabet, padded or not. */
static uint8_t *decode(const char *text, size_t text_len, size_t *len)
{
	size_t whole = (text_len + 3) / 4 * 4;
	char *standard = calloc(1, whole + 1);
	uint8_t *out = malloc(whole + 1);
	int n = -1;
	if (standard != NULL && out != NULL) {
		for (size_t i = 0; i < whole; i++)
			standard[i] = (char)(i >= text_len    ? '='
					     : text[i] == '-' ? '+'
					     : text[i] == '_' ? '/'
							      : text[i]);
		n = EVP_DecodeBlock(out, (const uint8_t *)standard, (int)whole);
	}
	while (n > 0 && whole > 0 && standard[whole - 1] == '=') {
		whole--;
		n--;
	}
	free(standard);
	if (n > 0) {
		*len = (size_t)n;
		return out;
	}
	free(out);
	return NULL;
}

static json_t *decode_json(const char *text, size_t text_len)
{
	size_t len;
	uint8_t *bytes = decode(text, text_len, &len);
	json_t *j = bytes == NULL ? NULL : json_loadb((const char *)bytes, len, 0, NULL);
	free(bytes);
	return j;
}

/* value → payload → key_hsm → ciphertext, in bytes. */
static uint8_t *find_ciphertext(const struct reply *r, size_t *len)
{
	const char *key_hsm = NULL, *text = NULL;
	char *value = client_value(r);
	struct jws j;
	json_t *payload =
		value != NULL && jws_split(value, &j) ? decode_json(j.part[1], j.len[1]) : NULL;
	json_unpack(payload, "{s:{s:{s:{s:s}}}}", "response", "key", "key", "key_hsm", &key_hsm);
	json_t *outer = key_hsm == NULL ? NULL : decode_json(key_hsm, strlen(key_hsm));
	text = json_string_value(json_object_get(outer, "ciphertext"));
	uint8_t *blob = text == NULL ? NULL : decode(text, strlen(text), len);
	json_decref(outer);
	json_decref(payload);
	free(value);
	return blob;
}

const char *attestskr_open(const struct reply *r, EVP_PKEY *kek, struct client_key *out)
{
	uint8_t aes[32];
	size_t len;
	const char *why = NULL;
	memset(out, 0, sizeof *out);
	if (r->status != 200)
		return wrong("status %d", r->status);
	uint8_t *blob = find_ciphertext(r, &len);
	if (blob == NULL)
		return "ciphertext";
	if (len <= WRAPPED_AES || !client_oaep(kek, "SHA256", blob, WRAPPED_AES, aes))
		why = "OAEP";
	else if (!client_evp_unwrap(aes, blob + WRAPPED_AES, len - WRAPPED_AES, out))
		why = "AES";
	free(blob);
	if (why != NULL)
		return why;
	BIO *bio = BIO_new_mem_buf(out->plain, (int)out->len);
	out->pkey = bio == NULL ? NULL : d2i_PrivateKey_bio(bio, NULL);
	BIO_free(bio);
	ERR_clear_error();
	return out->pkey == NULL ? "private key" : NULL;
}
