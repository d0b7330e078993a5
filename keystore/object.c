/* keystore/object.c — makes every object that is made in the module, with the attributes that
 * attributes.c says.  Decides which of them may be left out for a module that does not know them.
 * Trusts no module to obey.  Must never leave an object that is weaker than asked for. */
#include "keystore/object.h"

#include "base/log.h"

static const char *const calls[] = {[BY_PAIR] = "C_GenerateKeyPair",
				    [BY_KEY] = "C_GenerateKey",
				    [BY_UNWRAP] = "C_UnwrapKey",
				    [BY_VALUE] = "C_CreateObject"};

static CK_RV make_once(struct keystore *ks, const struct object_plan *p, attr_rows skip,
		       CK_OBJECT_HANDLE *out, CK_OBJECT_HANDLE *public)
{
	struct template t = p->own, pub = p->own_public;
	CK_MECHANISM mech = p->mech;

	attributes_say(&t, p->kind, p->half, skip);
	*out = *public = CK_INVALID_HANDLE;
	switch (p->way) {
	case BY_PAIR:
		attributes_say(&pub, p->kind, HALF_PUBLIC, skip);
		return P11_SLOW(ks, C_GenerateKeyPair, ks->session, &mech, pub.a, pub.n, t.a, t.n,
				public, out);
	case BY_KEY:
		return P11_RAW(ks, C_GenerateKey, ks->session, &mech, t.a, t.n, out);
	case BY_UNWRAP:
		return P11_RAW(ks, C_UnwrapKey, ks->session, &mech, p->by,
			       (CK_BYTE_PTR)p->wrapped.p, p->wrapped.len, t.a, t.n, out);
	case BY_VALUE:
		return P11_RAW(ks, C_CreateObject, ks->session, t.a, t.n, out);
	}
	KB_BUG();
}

/* The template displeases: perhaps an attribute of it that the module does not know. */
static bool is_displeased(CK_RV rv)
{
	return rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_VALUE_INVALID ||
	       rv == CKR_ATTRIBUTE_READ_ONLY || rv == CKR_TEMPLATE_INCONSISTENT;
}

void object_destroy(struct keystore *ks, CK_OBJECT_HANDLE object)
{
	if (object != CK_INVALID_HANDLE)
		(void)P11_RAW(ks, C_DestroyObject, ks->session, object);
}

/* SoftHSM leaves the object that a refused C_UnwrapKey had begun, and gives no handle of it.  One
 * of the session is found by what it has of its own.  One of the token would have no attributes at
 * all, which is why key_put() tries each on the session first. */
static void sweep(struct keystore *ks, const struct object_plan *p)
{
	CK_BBOOL is_token = CK_FALSE;
	CK_OBJECT_HANDLE hit[2];
	CK_ULONG n = 0;
	struct template t = p->own;

	template_add(&t, CKA_TOKEN, &is_token, sizeof is_token);
	if (P11_RAW(ks, C_FindObjectsInit, ks->session, t.a, t.n) != CKR_OK)
		return;
	if (P11_RAW(ks, C_FindObjects, ks->session, hit, 2, &n) != CKR_OK)
		n = 0;
	(void)P11_RAW(ks, C_FindObjectsFinal, ks->session);
	for (CK_ULONG i = 0; i < n; i++)
		object_destroy(ks, hit[i]);
}

static CK_RV make_clean(struct keystore *ks, const struct object_plan *p, attr_rows skip,
			CK_OBJECT_HANDLE *out, CK_OBJECT_HANDLE *public)
{
	CK_RV rv = make_once(ks, p, skip, out, public);

	if (is_displeased(rv) && p->way == BY_UNWRAP)
		sweep(ks, p);
	return rv;
}

/* With as many attributes as the module takes.  What it did not take is remembered, so that the
 * next object is made at once. */
static enum kb_err make_some(struct keystore *ks, const struct object_plan *p, attr_rows *skip,
			     CK_OBJECT_HANDLE *out, CK_OBJECT_HANDLE *public)
{
	CK_RV first = make_clean(ks, p, *skip, out, public), rv = first;

	while (is_displeased(rv)) {
		attr_rows more = attributes_skip_more(*skip);
		if (more == *skip)
			break;
		rv = make_clean(ks, p, *skip = more, out, public);
	}
	return p11_outcome(ks, calls[p->way], rv == CKR_OK ? CKR_OK : first);
}

struct made {
	CK_OBJECT_HANDLE object, public; /* public: BY_PAIR only */
	attr_rows weak, weak_public;
};
static const struct made no_object = {CK_INVALID_HANDLE, CK_INVALID_HANDLE, 0, 0};

/* What the table says and the object does not have.  Of an object that ends with the session the
 * attributes that may be left out do not count: nobody else has its handle. */
static enum kb_err weak_rows(struct keystore *ks, const struct object_plan *p,
			     CK_OBJECT_HANDLE object, enum key_half half, attr_rows *weak)
{
	enum kb_err err = attributes_read(ks, object, p->kind, half, weak);

	if (p->kind != KIND_RELEASE && p->kind != KIND_SIGNER)
		*weak &= ~attributes_may_skip();
	return err;
}

static enum kb_err refuse(struct keystore *ks, const struct object_plan *p, attr_rows weak,
			  attr_rows weak_public)
{
	KB_AUTO(buf) struct buf text;

	buf_init(&text, 1024);
	buf_add_str(&text, "the module made an object with other attributes than asked for: ");
	attributes_describe(p->kind, p->half, weak, &text);
	attributes_describe(p->kind, HALF_PUBLIC, weak_public, &text);
	buf_add(&text, "", 1);
	const char *why = buf_ok(&text) == KB_OK ? (const char *)text.p : "weaker attributes";
	log_event(ks->is_probing ? LOG_DEBUG : LOG_ERROR, "hsm.attributes", "call", calls[p->way],
		  "why", why, NULL);
	return fault_is(ks, KB_E_HSM_OUTPUT, why);
}

/* Make and judge.  The handles are the caller's to destroy when something is weak. */
static enum kb_err make_and_read(struct keystore *ks, const struct object_plan *p, attr_rows *skip,
				 struct made *m)
{
	enum kb_err err = make_some(ks, p, skip, &m->object, &m->public);

	*m = err == KB_OK ? (struct made){m->object, m->public, 0, 0} : no_object;
	if (err == KB_OK)
		err = weak_rows(ks, p, m->object, p->half, &m->weak);
	if (err == KB_OK && p->way == BY_PAIR)
		err = weak_rows(ks, p, m->public, HALF_PUBLIC, &m->weak_public);
	return err;
}

static void made_destroy(struct keystore *ks, struct made *m)
{
	object_destroy(ks, m->object);
	object_destroy(ks, m->public);
	*m = no_object;
}

enum kb_err object_make(struct keystore *ks, const struct object_plan *p, CK_OBJECT_HANDLE *out,
			CK_OBJECT_HANDLE *public)
{
	attr_rows skip = ks->skip_rows[p->way];
	struct made m;
	enum kb_err err = make_and_read(ks, p, &skip, &m);

	*out = CK_INVALID_HANDLE;
	/* It knows an attribute that was left out, perhaps for the sake of another. */
	attr_rows known = err == KB_OK && p->way != BY_UNWRAP ? skip & (m.weak | m.weak_public) : 0;
	if (known != 0) {
		skip &= ~known;
		made_destroy(ks, &m);
		err = make_and_read(ks, p, &skip, &m);
	}
	if (err == KB_OK && (m.weak | m.weak_public) != 0)
		err = refuse(ks, p, m.weak, m.weak_public);
	if (err != KB_OK) {
		made_destroy(ks, &m);
		return err;
	}
	ks->skip_rows[p->way] = skip;
	*out = m.object;
	if (public != NULL)
		*public = m.public;
	return KB_OK;
}
