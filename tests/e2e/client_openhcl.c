/* tests/e2e/client_openhcl.c — OpenHCL, which fetches the key of its vTPM's state before the VM
 * starts. Decides what that client accepts: it has neither a clock nor
 * roots, so the chain must only be consistent in itself.  Trusts its host for the rest. Must never
 * read more of the reply than OpenHCL does. */
#include "tests/e2e/clients.h"

#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* The host's agent is not public; this is the least that it can send.  The firmware undoes SHA-1,
 * so no "enc" is named. */
const char *openhcl_host_ask(const struct place *at, const char *key, const char *token,
			     struct reply *out)
{
	size_t cap = strlen(token) + 32;
	char head[512], *body = malloc(cap);
	memset(out, 0, sizeof *out);
	if (body == NULL)
		return "no memory";
	int len = snprintf(body, cap, "{\"target\":\"%s\"}", token);
	snprintf(head, sizeof head,
		 "POST /keys/%s/release?api-version=7.4 HTTP/1.1\r\nHost: %s:%u\r\nAuthorization: "
		 "Bearer access-token\r\n"
		 "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		 key, at->host, at->port, len);
	const char *why = client_call(at, head, body, out);
	free(body);
	return why;
}

/* Each certificate is signed by the next and names it as its issuer; the first one's key. */
static const char *check_chain(const json_t *x5c, EVP_PKEY **key)
{
	const char *why = json_array_size(x5c) == 0 ? "x5c is empty" : NULL;
	X509 *child = NULL;
	for (size_t i = 0; why == NULL && i < json_array_size(x5c); i++) {
		X509 *c = client_certificate(json_array_get(x5c, i));
		if (c == NULL)
			why = "x5c";
		else if (i == 0)
			*key = X509_get_pubkey(c);
		else if (X509_verify(child, X509_get0_pubkey(c)) != 1)
			why = "x5c: signature";
		else if (X509_check_issued(c, child) != X509_V_OK)
			why = "x5c: issuer";
		X509_free(child);
		child = c;
	}
	X509_free(child);
	ERR_clear_error();
	if (why == NULL && (*key == NULL || EVP_PKEY_get_base_id(*key) != EVP_PKEY_RSA))
		why = "the leaf's key is not RSA";
	return why;
}

static const char *check_signature(const struct jws *j)
{
	EVP_PKEY *key = NULL;
	json_t *header = client_json(j->part[0], j->len[0]);
	const char *alg = json_string_value(json_object_get(header, "alg")), *why = "alg";
	if (alg == NULL || strcmp(alg, "RS256") != 0)
		goto out;
	why = NULL;
	if (j->len[2] == 0) /* this client accepts an unsigned one */
		goto out;
	if ((why = check_chain(json_object_get(header, "x5c"), &key)) == NULL &&
	    !client_verify(key, "SHA256", RSA_PKCS1_PADDING, j))
		why = "signature";
out:
	EVP_PKEY_free(key);
	json_decref(header);
	return why;
}

const char *openhcl_open(const char *jws, EVP_PKEY *kek, struct client_key *out)
{
	uint8_t aes[32];
	size_t len, modulus = (size_t)EVP_PKEY_get_size(kek);
	struct jws j;
	const char *why;
	memset(out, 0, sizeof *out);
	if (!jws_split(jws, &j))
		return "JWS";
	if ((why = check_signature(&j)) != NULL)
		return why;
	json_t *payload = client_json(j.part[1], j.len[1]), *key_hsm = client_key_hsm(payload);
	const char *text = json_string_value(json_object_get(key_hsm, "ciphertext"));
	uint8_t *blob = text == NULL ? NULL : proof_b64url(text, strlen(text), &len);
	json_decref(key_hsm);
	json_decref(payload);
	if (blob == NULL)
		return "ciphertext";
	if (len <= modulus || !client_oaep(kek, "SHA1", blob, modulus, aes))
		why = "OAEP";
	else if (!client_evp_unwrap(aes, blob + modulus, len - modulus, out))
		why = "AES";
	free(blob);
	if (why != NULL)
		return why;
	const uint8_t *p = out->plain;
	PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)out->len);
	out->pkey = info == NULL ? NULL : EVP_PKCS82PKEY(info);
	PKCS8_PRIV_KEY_INFO_free(info);
	ERR_clear_error();
	return out->pkey == NULL || EVP_PKEY_get_base_id(out->pkey) != EVP_PKEY_RSA ? "PKCS#8"
										    : NULL;
}
