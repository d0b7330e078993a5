/* keystore/create.c — generates, imports and destroys keys for keybrokerctl; the self-test uses
 * key_put() for session keys. Decides their attributes: a key for release is sensitive, extractable
 * and has no other use than to be wrapped; a signing key is not extractable. */
#include "keystore/create.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "base/secret.h"
#include "keystore/kwp.h"
#include "keystore/public.h"

enum { MAX_TEMPLATE = 24, MAX_DESTROY = 16 };

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_OBJECT_CLASS class_private = CKO_PRIVATE_KEY, class_public = CKO_PUBLIC_KEY,
		       class_secret = CKO_SECRET_KEY;
static CK_KEY_TYPE type_rsa = CKK_RSA, type_ec = CKK_EC, type_oct = CKK_GENERIC_SECRET;

struct template
{
	CK_ATTRIBUTE a[MAX_TEMPLATE];
	CK_ULONG n;
};

static void add(struct template *t, CK_ATTRIBUTE_TYPE type, const void *value, size_t len)
{
	if (t->n == MAX_TEMPLATE)
		KB_BUG();
	t->a[t->n++] = (CK_ATTRIBUTE){type, (void *)value, len};
}

static void add_bool(struct template *t, CK_ATTRIBUTE_TYPE type, bool value)
{
	add(t, type, value ? &yes : &no, sizeof yes);
}

static void add_kind(struct template *t, CK_OBJECT_CLASS *class, enum kb_kty kty)
{
	add(t, CKA_CLASS, class, sizeof *class);
	add(t, CKA_KEY_TYPE,
	    kty == KB_KTY_RSA  ? &type_rsa
	    : kty == KB_KTY_EC ? &type_ec
			       : &type_oct,
	    sizeof type_oct);
}

static void add_place(struct template *t, const struct key_place *w)
{
	add_bool(t, CKA_TOKEN, w->is_token);
	add(t, CKA_LABEL, w->label, strlen(w->label));
	add(t, CKA_ID, w->id, sizeof w->id);
}

/* Defaults differ between modules, so every use is stated. */
static void add_private(struct template *t, const struct key_place *w, enum kb_kty kty)
{
	add_place(t, w);
	add_bool(t, CKA_PRIVATE, true);
	add_bool(t, CKA_SENSITIVE, true);
	add_bool(t, CKA_EXTRACTABLE, !w->is_signer);
	add_bool(t, CKA_SIGN, w->is_signer);
	add_bool(t, CKA_DECRYPT, false);
	add_bool(t, CKA_UNWRAP, false);
	if (kty == KB_KTY_OCT) {
		add_bool(t, CKA_VERIFY, false);
		add_bool(t, CKA_ENCRYPT, false);
		add_bool(t, CKA_WRAP, false);
	}
}

static void add_public(struct template *t, const struct key_place *w)
{
	add_place(t, w);
	add_bool(t, CKA_PRIVATE, false);
	add_bool(t, CKA_VERIFY, true);
	add_bool(t, CKA_ENCRYPT, false);
	add_bool(t, CKA_WRAP, false);
}

static enum kb_err place_new(const struct keystore_template *t, struct key_place *w)
{
	*w = (struct key_place){.label = t->label == NULL ? "" : t->label,
				.is_token = true,
				.is_signer = t->is_signer};
	if (t->is_signer && t->kty != KB_KTY_RSA)
		return KB_E_HSM_KEY_ATTR;
	return RAND_bytes(w->id, sizeof w->id) == 1 ? KB_OK : KB_E_SYS;
}

static enum kb_err uri_of(const struct key_place *w, enum kb_kty kty, char **out)
{
	CK_ATTRIBUTE id = {CKA_ID, (void *)w->id, sizeof w->id};
	CK_ATTRIBUTE class = {CKA_CLASS, kty == KB_KTY_OCT ? &class_secret : &class_private,
			      sizeof class_secret};
	KB_AUTO(uri) P11KitUri *uri = p11_kit_uri_new();

	*out = NULL;
	if (uri == NULL || p11_kit_uri_set_attribute(uri, &id) != P11_KIT_URI_OK ||
	    p11_kit_uri_set_attribute(uri, &class) != P11_KIT_URI_OK ||
	    p11_kit_uri_format(uri, P11_KIT_URI_FOR_OBJECT, out) != P11_KIT_URI_OK)
		return KB_E_NOMEM;
	return KB_OK;
}

/* ---- generate ---- */

static enum kb_err generate_pair(struct keystore *ks, const struct keystore_template *t,
				 const struct key_place *w)
{
	uint8_t e[] = {1, 0, 1};
	CK_ULONG bits = t->size;
	CK_MECHANISM mech = {t->kty == KB_KTY_RSA ? CKM_RSA_PKCS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN,
			     NULL, 0};
	CK_OBJECT_HANDLE public, private;
	struct template pub = {0}, priv = {0};

	if (t->kty == KB_KTY_RSA) {
		if (t->size < KB_RSA_MIN_BITS || t->size > KB_RSA_MAX_BITS || t->size % 8 != 0)
			return KB_E_HSM_KEY_ATTR;
		add(&pub, CKA_MODULUS_BITS, &bits, sizeof bits);
		add(&pub, CKA_PUBLIC_EXPONENT, e, sizeof e);
	} else {
		const struct curve *c = curve_of(t->crv);
		if (c == NULL)
			return KB_E_HSM_KEY_ATTR;
		add(&pub, CKA_EC_PARAMS, c->oid, c->oid_len);
	}
	add_public(&pub, w);
	add_private(&priv, w, t->kty);
	return P11(ks, C_GenerateKeyPair, ks->session, &mech, pub.a, pub.n, priv.a, priv.n, &public,
		   &private);
}

static enum kb_err generate_secret(struct keystore *ks, const struct keystore_template *t,
				   const struct key_place *w)
{
	CK_MECHANISM mech = {CKM_GENERIC_SECRET_KEY_GEN, NULL, 0};
	CK_ULONG len = t->size;
	CK_OBJECT_HANDLE key;
	struct template secret = {0};

	if (t->size < KB_MIN_OCT || t->size > KB_MAX_OCT)
		return KB_E_HSM_KEY_ATTR;
	add_kind(&secret, &class_secret, KB_KTY_OCT);
	add(&secret, CKA_VALUE_LEN, &len, sizeof len);
	add_private(&secret, w, KB_KTY_OCT);
	return P11(ks, C_GenerateKey, ks->session, &mech, secret.a, secret.n, &key);
}

enum kb_err keystore_generate(struct keystore *ks, const struct keystore_template *t, char **object)
{
	struct key_place w;
	enum kb_err err;
	KB_AUTO(cstr) char *uri = NULL;

	*object = NULL;
	if ((err = keystore_guard(ks)) != KB_OK || (err = place_new(t, &w)) != KB_OK ||
	    (err = uri_of(&w, t->kty, &uri)) != KB_OK)
		return err;
	fault_begin(ks, uri);
	if ((err = t->kty == KB_KTY_OCT ? generate_secret(ks, t, &w) : generate_pair(ks, t, &w)) !=
	    KB_OK)
		return err;
	*object = uri;
	uri = NULL;
	return KB_OK;
}

/* ---- import ---- */

/* A private key goes in under the transport key (C_UnwrapKey), so that its numbers need no second
 * form in this process. */
enum kb_err key_put(struct keystore *ks, const struct key_place *w, enum kb_kty kty,
		    const struct secret *plain, CK_OBJECT_HANDLE *out)
{
	CK_MECHANISM mech = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
	struct template t = {0};
	enum kb_err err;
	KB_AUTO(buf) struct buf wrapped;
	buf_init(&wrapped, KB_MAX_SECRET + 8);

	*out = CK_INVALID_HANDLE;
	add_kind(&t, kty == KB_KTY_OCT ? &class_secret : &class_private, kty);
	add_private(&t, w, kty);
	struct span value = secret_span(plain);
	if (kty == KB_KTY_OCT) {
		add(&t, CKA_VALUE, value.p, value.len);
		return P11(ks, C_CreateObject, ks->session, t.a, t.n, out);
	}
	if ((err = transport_ready(ks)) != KB_OK)
		return err;
	if ((err = kwp_wrap(secret_bytes(ks->transport), value, &wrapped)) != KB_OK)
		return err;
	return P11(ks, C_UnwrapKey, ks->session, &mech, ks->transport_key, wrapped.p, wrapped.len,
		   t.a, t.n, out);
}

static enum kb_err public_put(struct keystore *ks, const struct key_place *w,
			      const struct hsm_public *p)
{
	uint8_t point[3 + 1 + 2 * 66];
	CK_OBJECT_HANDLE public;
	struct template t = {0};

	add_kind(&t, &class_public, p->kty);
	add_public(&t, w);
	if (p->kty == KB_KTY_RSA) {
		add(&t, CKA_MODULUS, p->n, p->n_len);
		add(&t, CKA_PUBLIC_EXPONENT, p->e, p->e_len);
	} else {
		const struct curve *c = curve_of(p->crv);
		if (c == NULL)
			return KB_E_BUG;
		size_t len = 1 + 2 * p->xy_len, at = 0;
		point[at++] = 0x04; /* OCTET STRING */
		if (len >= 0x80)
			point[at++] = 0x81;
		point[at++] = (uint8_t)len;
		point[at++] = 0x04; /* uncompressed */
		memcpy(point + at, p->x, p->xy_len);
		memcpy(point + at + p->xy_len, p->y, p->xy_len);
		add(&t, CKA_EC_PARAMS, c->oid, c->oid_len);
		add(&t, CKA_EC_POINT, point, at + 2 * p->xy_len);
	}
	return P11(ks, C_CreateObject, ks->session, t.a, t.n, &public);
}

/* The DER is whole, of the type asked for, and its two halves belong together.  OpenSSL wipes its
 * copies when it frees them. */
static enum kb_err private_check(const struct secret *plain, enum kb_kty kty, struct hsm_public *p)
{
	struct span der = secret_span(plain);
	const unsigned char *at = der.p;
	enum kb_err err = KB_E_HSM_KEY_ATTR;
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *ctx = NULL;
	PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)der.len);

	if (info == NULL || at != der.p + der.len || (key = EVP_PKCS82PKEY(info)) == NULL)
		goto out;
	if ((err = public_of_evp(key, p)) != KB_OK)
		goto out;
	err = KB_E_HSM_KEY_ATTR;
	if (p->kty != kty || (ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL)) == NULL ||
	    EVP_PKEY_pairwise_check(ctx) != 1)
		goto out;
	err = KB_OK;
out:
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
	PKCS8_PRIV_KEY_INFO_free(info);
	return err;
}

enum kb_err keystore_import(struct keystore *ks, const struct keystore_template *t,
			    const struct secret *plain, char **object)
{
	struct hsm_public p = {0};
	struct key_place w;
	CK_OBJECT_HANDLE key;
	enum kb_err err;
	KB_AUTO(cstr) char *uri = NULL;

	*object = NULL;
	if ((err = keystore_guard(ks)) != KB_OK || (err = place_new(t, &w)) != KB_OK ||
	    (err = uri_of(&w, t->kty, &uri)) != KB_OK)
		return err;
	fault_begin(ks, uri);
	if ((err = t->kty == KB_KTY_OCT ? public_oct(secret_len(plain), &p)
					: private_check(plain, t->kty, &p)) != KB_OK)
		return err;
	if ((err = key_put(ks, &w, t->kty, plain, &key)) != KB_OK)
		return err;
	if (t->kty != KB_KTY_OCT && (err = public_put(ks, &w, &p)) != KB_OK) {
		/* A private key without its public object is unusable. */
		(void)P11_RAW(ks, C_DestroyObject, ks->session, key);
		return err;
	}
	*object = uri;
	uri = NULL;
	return KB_OK;
}

/* ---- destroy ---- */

enum kb_err keystore_destroy(struct keystore *ks, const char *object)
{
	CK_OBJECT_HANDLE hit[MAX_DESTROY];
	CK_OBJECT_CLASS class[] = {CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKO_PUBLIC_KEY};
	unsigned destroyed = 0;
	enum kb_err err;
	KB_AUTO(uri) P11KitUri *uri = NULL;

	if ((err = keystore_guard(ks)) != KB_OK)
		return err;
	fault_begin(ks, object);
	if ((err = uri_parse(object, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &uri)) != KB_OK)
		return err;
	const CK_ATTRIBUTE *id = p11_kit_uri_get_attribute(uri, CKA_ID);
	if (id == NULL || id->ulValueLen == 0 || !p11_kit_uri_match_token_info(uri, &ks->token))
		return fault_is(ks, KB_E_HSM_URI,
				"the URI has no id, or names another token"); /* labels repeat */
	keys_forget(ks);
	for (size_t i = 0; i < sizeof class / sizeof class[0]; i++) {
		CK_ATTRIBUTE t[] = {{CKA_CLASS, &class[i], sizeof class[i]},
				    {CKA_TOKEN, &yes, sizeof yes},
				    *id};
		CK_ULONG n = 0;
		if ((err = P11(ks, C_FindObjectsInit, ks->session, t, sizeof t / sizeof t[0])) !=
		    KB_OK)
			return err;
		err = P11(ks, C_FindObjects, ks->session, hit, MAX_DESTROY, &n);
		enum kb_err end = P11(ks, C_FindObjectsFinal, ks->session);
		if (err != KB_OK)
			return err;
		if (end != KB_OK)
			return end;
		for (CK_ULONG k = 0; k < n; k++, destroyed++)
			if ((err = P11(ks, C_DestroyObject, ks->session, hit[k])) != KB_OK)
				return err;
	}
	if (destroyed > 0)
		return KB_OK;
	err = session_check(ks);
	return err != KB_OK ? err : fault_is(ks, KB_E_HSM_KEY_MISSING, "no object matches");
}
