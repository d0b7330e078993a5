/* keystore/attributes.c — decides what each object in the module may be used for: every attribute
 * of PKCS#11 v2.40 that gives or takes a right, said for every object, because defaults differ
 * between modules and are generous.  Trusts no module to obey: the attributes are read back.  Not
 * in the table: names and dates (CKA_LABEL, CKA_ID, CKA_SUBJECT, CKA_START_DATE, …), which give no
 * right; what the module alone sets (CKA_LOCAL, CKA_ALWAYS_SENSITIVE, …); and templates for keys
 * wrapped by others' keys (CKA_WRAP_TEMPLATE, …): no object here that wraps outlives its session.
 */
#include "keystore/attributes.h"

enum { MAX_MECHANISMS = 4 };

/* Sets of kinds, and of classes. */
#define K(kind)     (1u << KIND_##kind)
#define TOKEN_KINDS (K(RELEASE) | K(SIGNER))
#define ALL_KINDS   ((1u << KINDS) - 1)
#define LEAVES      (K(RELEASE) | K(SAMPLE) | K(TRANSPORT_MADE) | K(CONTENT))
#define TRANSPORTS  (K(TRANSPORT) | K(TRANSPORT_MADE))
#define NONE        0u
#define PRIVATE     (1u << HALF_PRIVATE)
#define PUBLIC      (1u << HALF_PUBLIC)
#define SECRET      (1u << HALF_SECRET)

enum sense {             /* what a value other than the table's means */
	     EITHER,     /* wrong both ways */
	     RIGHT,      /* true gives a right */
	     PROTECTION, /* true takes one */
};

/* The order is that in which rows are left out, newest first: "may" rows come first. */
static const struct row {
	CK_ATTRIBUTE_TYPE type;
	const char *name;
	unsigned halves;          /* the classes that have it */
	unsigned is_true[HALVES]; /* the kinds that have it true; all others have it false */
	enum sense sense;
	bool may_skip; /* a module that does not know it may go without */
} rows[] = {
#define BOOL(name, halves, private, public, secret, sense, may)                                    \
	{                                                                                          \
		name, #name, halves, {private, public, secret}, sense, may                         \
	}
	/* v2.40; its value is the list of mechanisms, below */
	{CKA_ALLOWED_MECHANISMS,
	 "CKA_ALLOWED_MECHANISMS",
	 PRIVATE | PUBLIC | SECRET,
	 {0},
	 RIGHT,
	 true},
	BOOL(CKA_DESTROYABLE, PRIVATE | PUBLIC | SECRET, ALL_KINDS, ALL_KINDS, ALL_KINDS, RIGHT,
	     true),
	BOOL(CKA_COPYABLE, PRIVATE | PUBLIC | SECRET, NONE, NONE, NONE, RIGHT, true),
	/* v2.20 */
	BOOL(CKA_WRAP_WITH_TRUSTED, PRIVATE | SECRET, NONE, NONE, NONE, PROTECTION, true),
	BOOL(CKA_ALWAYS_AUTHENTICATE, PRIVATE, NONE, NONE, NONE, PROTECTION, true),
	BOOL(CKA_TRUSTED, PUBLIC | SECRET, NONE, NONE, NONE, RIGHT, true),
	/* older, but some modules lack them for some types */
	BOOL(CKA_MODIFIABLE, PRIVATE | PUBLIC | SECRET, NONE, NONE, NONE, RIGHT, true),
	BOOL(CKA_VERIFY_RECOVER, PUBLIC, NONE, NONE, NONE, RIGHT, true),
	BOOL(CKA_SIGN_RECOVER, PRIVATE, NONE, NONE, NONE, RIGHT, true),
	/* never left out */
	BOOL(CKA_TOKEN, PRIVATE | PUBLIC | SECRET, TOKEN_KINDS, TOKEN_KINDS, TOKEN_KINDS, EITHER,
	     false),
	BOOL(CKA_PRIVATE, PRIVATE | PUBLIC | SECRET, ALL_KINDS, NONE, ALL_KINDS, PROTECTION, false),
	BOOL(CKA_SENSITIVE, PRIVATE | SECRET, ALL_KINDS, NONE, ALL_KINDS, PROTECTION, false),
	BOOL(CKA_EXTRACTABLE, PRIVATE | SECRET, LEAVES, NONE, LEAVES, RIGHT, false),
	BOOL(CKA_DERIVE, PRIVATE | PUBLIC | SECRET, NONE, NONE, NONE, RIGHT, false),
	/* the self-test proves a symmetric sample by an HMAC */
	BOOL(CKA_SIGN, PRIVATE | SECRET, K(SIGNER), NONE, K(SAMPLE), RIGHT, false),
	BOOL(CKA_VERIFY, PUBLIC | SECRET, NONE, TOKEN_KINDS | K(SAMPLE), NONE, RIGHT, false),
	BOOL(CKA_ENCRYPT, PUBLIC | SECRET, NONE, NONE, NONE, RIGHT, false),
	BOOL(CKA_DECRYPT, PRIVATE | SECRET, NONE, NONE, NONE, RIGHT, false),
	BOOL(CKA_WRAP, PUBLIC | SECRET, NONE, K(WRAPPING), TRANSPORTS | K(CONTENT), RIGHT, false),
	BOOL(CKA_UNWRAP, PRIVATE | SECRET, NONE, NONE, TRANSPORTS, RIGHT, false),
#undef BOOL
};
enum { ROWS = sizeof rows / sizeof rows[0] };
_Static_assert(ROWS <= 8 * sizeof(attr_rows), "a bit for each row");

/* The mechanisms for which a key may be used; a kind and class without any has no list. */
static const struct {
	enum key_kind kind;
	enum key_half half;
	CK_MECHANISM_TYPE may[MAX_MECHANISMS];
	size_t n;
} mechanisms[] = {
	{KIND_SIGNER, HALF_PRIVATE, {CKM_RSA_PKCS}, 1},
	{KIND_SAMPLE, HALF_SECRET, {CKM_SHA_1_HMAC, CKM_SHA256_HMAC}, 2},
	{KIND_TRANSPORT, HALF_SECRET, {CKM_AES_KEY_WRAP_PAD}, 1},
	{KIND_TRANSPORT_MADE, HALF_SECRET, {CKM_AES_KEY_WRAP_PAD}, 1},
	{KIND_CONTENT, HALF_SECRET, {CKM_AES_KEY_WRAP_PAD}, 1},
	{KIND_WRAPPING, HALF_PUBLIC, {CKM_RSA_PKCS_OAEP}, 1},
};

static const CK_MECHANISM_TYPE *mechanisms_of(enum key_kind kind, enum key_half half, size_t *n)
{
	for (size_t i = 0; i < sizeof mechanisms / sizeof mechanisms[0]; i++)
		if (mechanisms[i].kind == kind && mechanisms[i].half == half) {
			*n = mechanisms[i].n;
			return mechanisms[i].may;
		}
	*n = 0;
	return NULL;
}

static bool has_row(size_t i, enum key_kind kind, enum key_half half)
{
	size_t n;

	if ((rows[i].halves & 1u << half) == 0)
		return false;
	return rows[i].type != CKA_ALLOWED_MECHANISMS || mechanisms_of(kind, half, &n) != NULL;
}

static bool wanted(size_t i, enum key_kind kind, enum key_half half)
{
	return (rows[i].is_true[half] & 1u << kind) != 0;
}

/* ---- saying ---- */

void template_add(struct template *t, CK_ATTRIBUTE_TYPE type, const void *value, size_t len)
{
	if (t->n == MAX_TEMPLATE)
		KB_BUG();
	t->a[t->n++] = (CK_ATTRIBUTE){type, (void *)value, len};
}

void attributes_say(struct template *t, enum key_kind kind, enum key_half half, attr_rows skip)
{
	static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

	for (size_t i = 0; i < ROWS; i++) {
		if ((skip & 1u << i) != 0 || !has_row(i, kind, half))
			continue;
		if (rows[i].type == CKA_ALLOWED_MECHANISMS) {
			size_t n;
			const CK_MECHANISM_TYPE *may = mechanisms_of(kind, half, &n);
			template_add(t, rows[i].type, may, n * sizeof *may);
		} else {
			template_add(t, rows[i].type, wanted(i, kind, half) ? &yes : &no,
				     sizeof yes);
		}
	}
}

attr_rows attributes_skip_more(attr_rows skip)
{
	for (size_t i = 0; i < ROWS && rows[i].may_skip; i++)
		if ((skip & 1u << i) == 0)
			return skip | 1u << i;
	return skip;
}

attr_rows attributes_may_skip(void)
{
	attr_rows all = 0;

	for (attr_rows more; (more = attributes_skip_more(all)) != all;)
		all = more;
	return all;
}

/* ---- reading back ---- */

enum { UNREAD = 0xa5 }; /* no value of a CK_BBOOL */

struct readback {
	CK_MECHANISM_TYPE list[MAX_MECHANISMS];
	CK_BBOOL value[ROWS];
	size_t len[ROWS]; /* 0: the module does not have it */
};

static CK_ATTRIBUTE place(struct readback *r, size_t i)
{
	bool is_list = rows[i].type == CKA_ALLOWED_MECHANISMS;

	return (CK_ATTRIBUTE){rows[i].type, is_list ? (void *)r->list : &r->value[i],
			      is_list ? sizeof r->list : sizeof r->value[i]};
}

static enum kb_err read_one(struct keystore *ks, CK_OBJECT_HANDLE object, struct readback *r,
			    size_t i)
{
	CK_ATTRIBUTE a = place(r, i);
	CK_RV rv = P11_RAW(ks, C_GetAttributeValue, ks->session, object, &a, 1);

	r->len[i] = 0;
	if (rv == CKR_ATTRIBUTE_TYPE_INVALID)
		return KB_OK;
	if (rv == CKR_BUFFER_TOO_SMALL) {
		r->len[i] = 1; /* longer than any of ours: no list of mechanisms has this length */
		return KB_OK;
	}
	if (rv != CKR_OK)
		return p11_outcome(ks, "C_GetAttributeValue", rv);
	if (a.ulValueLen > place(r, i).ulValueLen)
		return fault_is(ks, KB_E_HSM_OUTPUT,
				"C_GetAttributeValue: more bytes than there is room for");
	r->len[i] = a.ulValueLen;
	return KB_OK;
}

/* All in one call, because each is a round trip to a network HSM; then alone what that call did not
 * give (PKCS#11 v2.40 section 5.7: one unknown attribute does not stop the others, but in some
 * modules it does). */
static enum kb_err read_all(struct keystore *ks, CK_OBJECT_HANDLE object, enum key_kind kind,
			    enum key_half half, struct readback *r)
{
	CK_ATTRIBUTE a[ROWS];
	size_t row[ROWS];
	CK_ULONG n = 0;
	enum kb_err err;

	memset(r->value, UNREAD, sizeof r->value);
	for (size_t i = 0; i < ROWS; i++)
		if (has_row(i, kind, half)) {
			row[n] = i;
			a[n++] = place(r, i);
		}
	CK_RV rv = P11_RAW(ks, C_GetAttributeValue, ks->session, object, a, n);
	if (rv != CKR_OK && rv != CKR_ATTRIBUTE_TYPE_INVALID && rv != CKR_BUFFER_TOO_SMALL)
		return p11_outcome(ks, "C_GetAttributeValue", rv);
	for (CK_ULONG k = 0; k < n; k++) {
		size_t i = row[k];
		bool is_list = rows[i].type == CKA_ALLOWED_MECHANISMS;
		bool is_read = rv == CKR_OK ? a[k].ulValueLen <= place(r, i).ulValueLen
					    : !is_list && r->value[i] != UNREAD &&
						      a[k].ulValueLen == sizeof r->value[i];
		r->len[i] = a[k].ulValueLen;
		if (!is_read && (err = read_one(ks, object, r, i)) != KB_OK)
			return err;
	}
	return KB_OK;
}

/* Every mechanism of the list is one of ours, and there is one. */
static bool is_within(const CK_MECHANISM_TYPE *got, size_t len, enum key_kind kind,
		      enum key_half half)
{
	size_t n, count = len / sizeof *got;
	const CK_MECHANISM_TYPE *may = mechanisms_of(kind, half, &n);

	for (size_t i = 0; i < count; i++) {
		bool is_ours = false;
		for (size_t k = 0; k < n; k++)
			is_ours |= got[i] == may[k];
		if (!is_ours)
			return false;
	}
	return count > 0 && len % sizeof *got == 0;
}

static bool is_weaker(size_t i, bool want, bool got, enum key_half half)
{
	if (got == want)
		return false;
	/* More than was asked for is weaker.  Less makes a key unusable; a public one is not
	 * used. */
	bool gives_more = rows[i].sense == RIGHT ? got : rows[i].sense == PROTECTION ? want : true;
	return gives_more || half != HALF_PUBLIC;
}

enum kb_err attributes_read(struct keystore *ks, CK_OBJECT_HANDLE object, enum key_kind kind,
			    enum key_half half, attr_rows *weak)
{
	struct readback r;
	enum kb_err err;

	*weak = 0;
	if ((err = read_all(ks, object, kind, half, &r)) != KB_OK)
		return err;
	for (size_t i = 0; i < ROWS; i++) {
		bool is_bad;
		if (!has_row(i, kind, half))
			continue;
		if (rows[i].type == CKA_ALLOWED_MECHANISMS)
			is_bad = r.len[i] > 0 && !is_within(r.list, r.len[i], kind, half);
		else if (r.len[i] != sizeof r.value[i])
			is_bad = r.len[i] != 0 || !rows[i].may_skip;
		else
			is_bad = is_weaker(i, wanted(i, kind, half), r.value[i] != CK_FALSE, half);
		*weak |= is_bad ? 1u << i : 0;
	}
	return KB_OK;
}

void attributes_describe(enum key_kind kind, enum key_half half, attr_rows weak, struct buf *out)
{
	const char *comma = "";

	for (size_t i = 0; i < ROWS; i++) {
		if ((weak & 1u << i) == 0)
			continue;
		buf_add_str(out, comma);
		buf_add_str(out, rows[i].name);
		buf_add_str(out, rows[i].type == CKA_ALLOWED_MECHANISMS ? " allows others"
				 : wanted(i, kind, half)                ? " is not true"
									: " is not false");
		comma = ", ";
	}
}
