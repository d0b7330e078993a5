/* keystore/create.c — generates, imports and destroys keys for keybrokerctl; the self-test makes
 * its samples by the same functions.  Decides what is an object's own: type, size, name.  What it
 * may be used for is decided by the table of attributes.c. */
#include "keystore/create.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "base/secret.h"
#include "keystore/kwp.h"
#include "keystore/pkcs8.h"
#include "keystore/public.h"

enum { MAX_DESTROY = 16 };

static CK_BBOOL yes = CK_TRUE;
static CK_OBJECT_CLASS class_private = CKO_PRIVATE_KEY, class_public = CKO_PUBLIC_KEY,
		       class_secret = CKO_SECRET_KEY;
static CK_KEY_TYPE type_rsa = CKK_RSA, type_ec = CKK_EC, type_oct = CKK_GENERIC_SECRET;

static void add_kind(struct template *t, CK_OBJECT_CLASS *class, enum kb_kty kty)
{
	template_add(t, CKA_CLASS, class, sizeof *class);
	template_add(t, CKA_KEY_TYPE,
		     kty == KB_KTY_RSA  ? &type_rsa
		     : kty == KB_KTY_EC ? &type_ec
					: &type_oct,
		     sizeof type_oct);
}

static void add_name(struct template *t, const struct key_place *w)
{
	template_add(t, CKA_LABEL, w->label, strlen(w->label));
	template_add(t, CKA_ID, w->id, sizeof w->id);
}

static enum kb_err place_new(const struct keystore_template *t, struct key_place *w)
{
	*w = (struct key_place){.label = t->label == NULL ? "" : t->label,
				.kind = t->is_signer ? KIND_SIGNER : KIND_RELEASE};
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

static enum kb_err make_pair(struct keystore *ks, const struct keystore_template *t,
			     const struct key_place *w, CK_OBJECT_HANDLE *out,
			     CK_OBJECT_HANDLE *public)
{
	static const uint8_t e[] = {1, 0, 1};
	CK_ULONG bits = t->size;
	bool is_rsa = t->kty == KB_KTY_RSA;
	struct object_plan p = {
		.way = BY_PAIR,
		.kind = w->kind,
		.half = HALF_PRIVATE,
		.mech = {is_rsa ? CKM_RSA_PKCS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN, NULL, 0},
	};

	if (is_rsa) {
		if (t->size < KB_RSA_MIN_BITS || t->size > KB_RSA_MAX_BITS || t->size % 8 != 0)
			return KB_E_HSM_KEY_ATTR;
		template_add(&p.own_public, CKA_MODULUS_BITS, &bits, sizeof bits);
		template_add(&p.own_public, CKA_PUBLIC_EXPONENT, e, sizeof e);
	} else {
		const struct curve *c = curve_of(t->crv);
		if (c == NULL)
			return KB_E_HSM_KEY_ATTR;
		template_add(&p.own_public, CKA_EC_PARAMS, c->oid, c->oid_len);
	}
	add_name(&p.own_public, w);
	add_name(&p.own, w);
	return object_make(ks, &p, out, public);
}

static enum kb_err make_secret(struct keystore *ks, const struct keystore_template *t,
			       const struct key_place *w, CK_OBJECT_HANDLE *out)
{
	CK_ULONG len = t->size;
	struct object_plan p = {.way = BY_KEY,
				.kind = w->kind,
				.half = HALF_SECRET,
				.mech = {CKM_GENERIC_SECRET_KEY_GEN, NULL, 0}};

	if (t->size < KB_MIN_OCT || t->size > KB_MAX_OCT)
		return KB_E_HSM_KEY_ATTR;
	add_kind(&p.own, &class_secret, KB_KTY_OCT);
	template_add(&p.own, CKA_VALUE_LEN, &len, sizeof len);
	add_name(&p.own, w);
	return object_make(ks, &p, out, NULL);
}

enum kb_err key_make(struct keystore *ks, const struct key_place *w,
		     const struct keystore_template *t, CK_OBJECT_HANDLE *out,
		     CK_OBJECT_HANDLE *public)
{
	*out = *public = CK_INVALID_HANDLE;
	return t->kty == KB_KTY_OCT ? make_secret(ks, t, w, out) : make_pair(ks, t, w, out, public);
}

enum kb_err keystore_generate(struct keystore *ks, const struct keystore_template *t, char **object)
{
	struct key_place w;
	CK_OBJECT_HANDLE key, public;
	enum kb_err err;
	KB_AUTO(cstr) char *uri = NULL;

	*object = NULL;
	if ((err = keystore_guard(ks)) != KB_OK || (err = place_new(t, &w)) != KB_OK ||
	    (err = uri_of(&w, t->kty, &uri)) != KB_OK)
		return err;
	fault_begin(ks, uri);
	if ((err = key_make(ks, &w, t, &key, &public)) != KB_OK)
		return err;
	*object = uri;
	uri = NULL;
	return KB_OK;
}

/* ---- import ---- */

static enum kb_err put_wrapped(struct keystore *ks, struct object_plan *p, struct span value,
			       CK_OBJECT_HANDLE *out)
{
	enum kb_err err;
	KB_AUTO(buf) struct buf wrapped;
	buf_init(&wrapped, KB_MAX_SECRET + 8);

	if ((err = transport_ready(ks)) != KB_OK)
		return err;
	if ((err = kwp_wrap(secret_bytes(ks->transport), value, &wrapped)) != KB_OK)
		return err;
	p->way = BY_UNWRAP;
	p->mech = (CK_MECHANISM){CKM_AES_KEY_WRAP_PAD, NULL, 0};
	p->by = ks->transport_key;
	p->wrapped = buf_span(&wrapped);
	/* On the session first: it learns which attributes this way takes (object.c). */
	struct object_plan trial = *p;
	trial.kind = KIND_SAMPLE;
	if ((err = object_make(ks, &trial, out, NULL)) != KB_OK || p->kind == KIND_SAMPLE)
		return err;
	object_destroy(ks, *out);
	return object_make(ks, p, out, NULL);
}

/* The key's numbers, as spans of its encoding: no second copy in this process. */
static enum kb_err add_numbers(struct keystore *ks, struct template *t, enum kb_kty kty,
			       struct span plain)
{
	static const CK_ATTRIBUTE_TYPE types[RSA_NUMBERS] = {
		CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKA_PRIVATE_EXPONENT, CKA_PRIME_1,
		CKA_PRIME_2, CKA_EXPONENT_1,      CKA_EXPONENT_2,       CKA_COEFFICIENT};
	struct span n[RSA_NUMBERS] = {{NULL, 0}}, d;
	const struct curve *c;

	switch (kty) {
	case KB_KTY_RSA:
		if (!pkcs8_rsa_numbers(plain, n))
			break;
		for (size_t i = 0; i < RSA_NUMBERS; i++)
			template_add(t, types[i], n[i].p, n[i].len);
		return KB_OK;
	case KB_KTY_EC:
		if (!pkcs8_ec_number(plain, &c, &d))
			break;
		template_add(t, CKA_EC_PARAMS, c->oid, c->oid_len);
		template_add(t, CKA_VALUE, d.p, d.len);
		return KB_OK;
	case KB_KTY_OCT:
		template_add(t, CKA_VALUE, plain.p, plain.len);
		return KB_OK;
	}
	return fault_is(ks, KB_E_HSM_KEY_ATTR, "not a PKCS#8 private key of the plain form");
}

/* As it is where the module allows that, else (FIPS mode) under the transport key. */
enum kb_err key_put(struct keystore *ks, const struct key_place *w, enum kb_kty kty,
		    const struct secret *plain, CK_OBJECT_HANDLE *out)
{
	struct object_plan wrapped = {.kind = w->kind,
				      .half = kty == KB_KTY_OCT ? HALF_SECRET : HALF_PRIVATE};
	struct span value = secret_span(plain);
	enum kb_err err;

	*out = CK_INVALID_HANDLE;
	add_kind(&wrapped.own, kty == KB_KTY_OCT ? &class_secret : &class_private, kty);
	add_name(&wrapped.own, w);
	struct object_plan bare = wrapped;
	bare.way = BY_VALUE;
	if ((err = add_numbers(ks, &bare.own, kty, value)) != KB_OK)
		return err;
	err = object_make(ks, &bare, out, NULL);
	return is_plain_forbidden(err) ? put_wrapped(ks, &wrapped, value, out) : err;
}

static enum kb_err public_put(struct keystore *ks, const struct key_place *w,
			      const struct hsm_public *k)
{
	uint8_t point[3 + 1 + 2 * CURVE_MAX_BYTES];
	CK_OBJECT_HANDLE public;
	struct object_plan p = {.way = BY_VALUE, .kind = w->kind, .half = HALF_PUBLIC};

	add_kind(&p.own, &class_public, k->kty);
	add_name(&p.own, w);
	if (k->kty == KB_KTY_RSA) {
		template_add(&p.own, CKA_MODULUS, k->n, k->n_len);
		template_add(&p.own, CKA_PUBLIC_EXPONENT, k->e, k->e_len);
	} else {
		const struct curve *c = curve_of(k->crv);
		if (c == NULL)
			return KB_E_BUG;
		size_t len = 1 + 2 * k->xy_len, at = 0;
		point[at++] = 0x04; /* OCTET STRING */
		if (len >= 0x80)
			point[at++] = 0x81;
		point[at++] = (uint8_t)len;
		point[at++] = 0x04; /* uncompressed */
		memcpy(point + at, k->x, k->xy_len);
		memcpy(point + at + k->xy_len, k->y, k->xy_len);
		template_add(&p.own, CKA_EC_PARAMS, c->oid, c->oid_len);
		template_add(&p.own, CKA_EC_POINT, point, at + 2 * k->xy_len);
	}
	return object_make(ks, &p, &public, NULL);
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
		object_destroy(ks, key);
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
