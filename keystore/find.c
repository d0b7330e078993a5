/* keystore/find.c — decides which object a pkcs11: URI means: exactly one, of the right class and
 * type, and the same key as before. Trusts the token's attributes after it has read and bounded
 * them. Must never report a missing key when the token is gone. */
#include <openssl/evp.h>
#include <search.h>
#include <stdlib.h>

#include "keystore/attributes.h"
#include "keystore/keystore.h"
#include "keystore/module.h"
#include "keystore/public.h"

enum { MAX_ATTR = KB_RSA_MAX_BITS / 8 + 1, MAX_ID = 256 };

/* ---- the cache: handles by URI.  In SoftHSM a search takes 0.1 ms with ten objects, 100 ms with
 * ten thousand. ---- */

static int by_uri(const void *a, const void *b)
{
	return strcmp(((const struct hsm_key *)a)->uri, ((const struct hsm_key *)b)->uri);
}

static void key_free(void *p)
{
	struct hsm_key *key = p;

	if (key != NULL) {
		EVP_PKEY_free(key->verifier);
		free(key->uri);
	}
	free(key);
}

void keys_forget(struct keystore *ks)
{
	tdestroy(ks->keys, key_free);
	ks->keys = NULL;
}

/* ---- search ---- */

static enum kb_err find_one(struct keystore *ks, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *out)
{
	CK_OBJECT_HANDLE hit[2];
	CK_ULONG hits = 0;
	enum kb_err err;

	*out = CK_INVALID_HANDLE;
	if ((err = P11(ks, C_FindObjectsInit, ks->session, t, n)) != KB_OK)
		return err;
	err = P11(ks, C_FindObjects, ks->session, hit, 2, &hits);
	enum kb_err end = P11(ks, C_FindObjectsFinal, ks->session);
	if (err != KB_OK)
		return err;
	if (end != KB_OK)
		return end;
	if (hits > 1)
		return fault_is(ks, KB_E_HSM_KEY_AMBIGUOUS, "more than one object matches");
	if (hits == 0) { /* SoftHSM returns no object and CKR_OK when its token directory is gone */
		if ((err = session_check(ks)) != KB_OK)
			return err;
		return fault_is(ks, KB_E_HSM_KEY_MISSING, "no object matches");
	}
	*out = hit[0];
	return KB_OK;
}

static enum kb_err find_object(struct keystore *ks, const char *text, enum kb_kty kty,
			       CK_OBJECT_HANDLE *out)
{
	CK_OBJECT_CLASS class = kty == KB_KTY_OCT ? CKO_SECRET_KEY : CKO_PRIVATE_KEY;
	CK_BBOOL yes = CK_TRUE;
	enum kb_err err;
	KB_AUTO(uri) P11KitUri *uri = NULL;

	if ((err = uri_parse(text, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &uri)) != KB_OK)
		return fault_is(ks, err, "not a pkcs11: URI of an object, without a PIN");
	if (!p11_kit_uri_match_token_info(uri, &ks->token))
		return fault_is(ks, KB_E_HSM_URI, "the URI names another token");
	CK_ATTRIBUTE t[4] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, sizeof yes}};
	CK_ULONG n = 2;
	const CK_ATTRIBUTE_TYPE named[] = {CKA_ID, CKA_LABEL};
	for (size_t i = 0; i < 2; i++) {
		const CK_ATTRIBUTE *a = p11_kit_uri_get_attribute(uri, named[i]);
		if (a != NULL && a->ulValueLen > 0)
			t[n++] = *a;
	}
	if (n == 2) /* it would mean "any key" */
		return fault_is(ks, KB_E_HSM_URI, "the URI names neither id nor label");
	const CK_ATTRIBUTE *a = p11_kit_uri_get_attribute(uri, CKA_CLASS);
	if (a != NULL &&
	    (a->ulValueLen != sizeof class || memcmp(a->pValue, &class, sizeof class) != 0))
		return fault_is(ks, KB_E_HSM_KEY_ATTR, "the URI names an object of another class");
	return find_one(ks, t, n, out);
}

/* ---- description ---- */

enum kb_err public_read_rsa(struct keystore *ks, CK_OBJECT_HANDLE object, struct hsm_public *p)
{
	uint8_t n[MAX_ATTR], e[MAX_ATTR];
	size_t n_len, e_len;
	enum kb_err err;

	if ((err = attr_get(ks, object, CKA_MODULUS, n, sizeof n, &n_len)) != KB_OK ||
	    (err = attr_get(ks, object, CKA_PUBLIC_EXPONENT, e, sizeof e, &e_len)) != KB_OK)
		return err;
	return fault_is(ks, public_rsa(span_of(n, n_len), span_of(e, e_len), p),
			"its RSA modulus or exponent is outside of the broker's limits");
}

enum kb_err public_read_ec(struct keystore *ks, CK_OBJECT_HANDLE public, const struct curve *c,
			   struct hsm_public *p)
{
	uint8_t point[MAX_ATTR];
	size_t len;
	enum kb_err err = attr_get(ks, public, CKA_EC_POINT, point, sizeof point, &len);

	if (err != KB_OK)
		return err;
	return fault_is(ks, public_ec(c, span_of(point, len), p),
			"its CKA_EC_POINT is no point of its curve");
}

/* CKA_EC_POINT is an attribute of the public object alone, which has the same CKA_ID. */
static enum kb_err read_ec(struct keystore *ks, CK_OBJECT_HANDLE object, struct hsm_public *p)
{
	uint8_t params[MAX_ATTR], id[MAX_ID];
	size_t params_len, id_len;
	CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
	CK_KEY_TYPE type = CKK_EC;
	CK_OBJECT_HANDLE public;
	enum kb_err err;

	if ((err = attr_get(ks, object, CKA_EC_PARAMS, params, sizeof params, &params_len)) !=
		    KB_OK ||
	    (err = attr_get(ks, object, CKA_ID, id, sizeof id, &id_len)) != KB_OK)
		return err;
	const struct curve *c = curve_by_oid(span_of(params, params_len));
	if (c == NULL)
		return fault_is(ks, KB_E_HSM_KEY_ATTR, "its curve is not " CURVE_NAMES);
	if (id_len == 0)
		return fault_is(ks, KB_E_HSM_KEY_ATTR,
				"it has no CKA_ID, by which its public object is found");
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof class},
			    {CKA_KEY_TYPE, &type, sizeof type},
			    {CKA_ID, id, id_len}};
	err = find_one(ks, t, sizeof t / sizeof t[0], &public);
	if (err == KB_E_HSM_KEY_MISSING)
		return fault_is(ks, KB_E_HSM_KEY_ATTR,
				"its public object, of the same CKA_ID, is not there");
	if (err != KB_OK)
		return err;
	return public_read_ec(ks, public, c, p);
}

static enum kb_err read_oct(struct keystore *ks, CK_OBJECT_HANDLE object, bool is_generic,
			    struct hsm_public *p)
{
	CK_ULONG len = 0;
	size_t got;
	enum kb_err err = attr_get(ks, object, CKA_VALUE_LEN, &len, sizeof len, &got);

	if (err != KB_OK)
		return err;
	if (got != sizeof len)
		return fault_is(ks, KB_E_HSM_OUTPUT,
				"CKA_VALUE_LEN has not the length of a number");
	if ((err = public_oct(len, p)) != KB_OK)
		return fault_is(ks, err, "a symmetric key outside of the broker's limits");
	p->is_generic = is_generic;
	return attr_check_value(ks, object, p);
}

static enum kb_err describe(struct keystore *ks, CK_OBJECT_HANDLE object, enum kb_kty kty,
			    bool *is_extractable, struct hsm_public *p)
{
	CK_KEY_TYPE type = 0;
	size_t len;
	enum kb_err err;

	if ((err = attr_get(ks, object, CKA_KEY_TYPE, &type, sizeof type, &len)) != KB_OK ||
	    (err = attr_bool(ks, object, CKA_EXTRACTABLE, is_extractable)) != KB_OK)
		return err;
	if (len != sizeof type)
		return fault_is(ks, KB_E_HSM_OUTPUT, "CKA_KEY_TYPE has not the length of a number");
	switch (kty) {
	case KB_KTY_RSA:
		if (type == CKK_RSA)
			return public_read_rsa(ks, object, p);
		break;
	case KB_KTY_EC:
		if (type == CKK_EC)
			return read_ec(ks, object, p);
		break;
	case KB_KTY_OCT:
		if (type == CKK_GENERIC_SECRET || type == CKK_AES)
			return read_oct(ks, object, type == CKK_GENERIC_SECRET, p);
		break;
	}
	return fault_is(ks, KB_E_HSM_KEY_ATTR, "a key of another type");
}

static enum kb_err find_and_describe(struct keystore *ks, const char *uri, enum kb_kty kty,
				     struct hsm_key *key)
{
	enum kb_err err = find_object(ks, uri, kty, &key->handle);

	return err != KB_OK ? err
			    : describe(ks, key->handle, kty, &key->is_extractable, &key->public);
}

static enum kb_err find_new(struct keystore *ks, const char *object, enum kb_kty kty,
			    struct hsm_key **out)
{
	enum kb_err err = KB_E_NOMEM;

	*out = NULL;
	struct hsm_key *key = calloc(1, sizeof *key);
	if (key == NULL || (key->uri = strdup(object)) == NULL)
		goto out;
	for (unsigned attempt = 1;; attempt++) {
		err = find_and_describe(ks, object, kty, key);
		if (err == KB_OK || attempt == KB_HSM_ATTEMPTS ||
		    (err = session_recover(ks, err)) != KB_OK)
			break;
	}
	if (err != KB_OK)
		goto out;
	if (tsearch(key, &ks->keys, by_uri) == NULL) {
		err = KB_E_NOMEM;
		goto out;
	}
	*out = key;
	key = NULL;
out:
	key_free(key);
	return err;
}

enum kb_err keystore_find(struct keystore *ks, const char *object, enum kb_kty kty, bool is_release,
			  const uint8_t *fingerprint, const struct hsm_key **out)
{
	struct hsm_key *key = NULL;
	const struct hsm_key probe = {.uri = (char *)object};
	enum kb_err err;

	*out = NULL;
	if ((err = keystore_guard(ks)) != KB_OK)
		return err;
	fault_begin(ks, object);
	void *node = tfind(&probe, &ks->keys, by_uri);
	if (node != NULL)
		key = *(struct hsm_key **)node;
	else if ((err = find_new(ks, object, kty, &key)) != KB_OK)
		return err;
	if (key->public.kty != kty)
		return fault_is(ks, KB_E_HSM_KEY_ATTR, "a key of another type");
	if (is_release && !key->is_extractable)
		return fault_is(ks, KB_E_HSM_KEY_ATTR, "CKA_EXTRACTABLE is false");
	if (fingerprint != NULL &&
	    memcmp(fingerprint, key->public.fingerprint, sizeof key->public.fingerprint) != 0)
		return fault_is(ks, KB_E_HSM_KEY_ATTR,
				"another key than the one whose fingerprint the record has");
	*out = key;
	return KB_OK;
}

enum kb_err key_refind(struct keystore *ks, const struct hsm_key *key)
{
	struct hsm_key now = {0};
	struct hsm_key *cached = (struct hsm_key *)key; /* ours: the const is for our callers */
	enum kb_err err = find_and_describe(ks, key->uri, key->public.kty, &now);

	if (err != KB_OK)
		return err;
	if (!public_eq(&now.public, &key->public) || now.is_extractable != key->is_extractable)
		return fault_is(ks, KB_E_HSM_KEY_ATTR,
				"replaced by another key since it was found");
	cached->handle = now.handle;
	return KB_OK;
}

bool keystore_still_has(struct keystore *ks, const struct hsm_key *key)
{
	char fault[sizeof ks->fault];

	if (keystore_guard(ks) != KB_OK)
		return false;
	memcpy(fault, ks->fault, sizeof fault);
	bool is_there = key_refind(ks, key) == KB_OK;
	memcpy(ks->fault, fault, sizeof fault);
	return is_there;
}

enum kb_err key_recover(struct keystore *ks, const struct hsm_key *key, enum kb_err err)
{
	bool is_handle = err == KB_E_HSM_HANDLE;

	if ((err = session_recover(ks, err)) != KB_OK)
		return err;
	err = key_refind(ks, key);
	if (!is_handle || err != KB_E_HSM_SESSION)
		return err;
	/* An operation that the failed call left active is in the way: it ends with its session
	 * (PKCS#11 v2.40 section 5.6). */
	if ((err = session_recover(ks, err)) != KB_OK)
		return err;
	return key_refind(ks, key);
}

const struct hsm_public *keystore_public(const struct hsm_key *key)
{
	return &key->public;
}

enum kb_err keystore_weakness(struct keystore *ks, const struct hsm_key *key, bool is_signer,
			      struct buf *out)
{
	const enum key_kind kind = is_signer ? KIND_SIGNER : KIND_RELEASE;
	const enum key_half half = key->public.kty == KB_KTY_OCT ? HALF_SECRET : HALF_PRIVATE;
	attr_rows weak;
	enum kb_err err;

	if ((err = keystore_guard(ks)) != KB_OK)
		return err;
	fault_begin(ks, key->uri);
	if ((err = attributes_read(ks, key->handle, kind, half, &weak)) != KB_OK)
		return err;
	attributes_describe(kind, half, weak, out);
	return buf_ok(out);
}
