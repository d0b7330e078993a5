/* keystore/attributes.h — private to keystore/: the attributes of every object that the broker
 * makes, in one table: kind of key × class of object → value. */
#ifndef KB_KEYSTORE_ATTRIBUTES_H
#define KB_KEYSTORE_ATTRIBUTES_H
#include "keystore/module.h"

enum key_kind {
	KIND_RELEASE,   /* leaves, wrapped for a client; has no other use */
	KIND_SIGNER,    /* signs replies, never leaves */
	KIND_SAMPLE,    /* of the self-test: as for release, of the session */
	KIND_TRANSPORT, /* AES key of the session, known to this process, put into the module */
	KIND_TRANSPORT_MADE, /* the same, made in the module, from where it leaves once */
	KIND_CONTENT,        /* AES key of one blob, made in the module */
	KIND_WRAPPING,       /* public RSA key that another key is wrapped for */
	KINDS
};
enum key_half { HALF_PRIVATE, HALF_PUBLIC, HALF_SECRET, HALVES }; /* class of the object */

enum { MAX_TEMPLATE = 32 };
struct template
{
	CK_ATTRIBUTE a[MAX_TEMPLATE];
	CK_ULONG n;
};
/* `value` is borrowed until the template has been used. */
void template_add(struct template *t, CK_ATTRIBUTE_TYPE type, const void *value, size_t len);

/* A bit for each row of the table. */
typedef uint32_t attr_rows;

/* Add every row for this kind and class, except `skip`. */
void attributes_say(struct template *t, enum key_kind kind, enum key_half half, attr_rows skip);
/* The rows that PKCS#11 before v2.40, or a module, may not know and that may be left out, one more
 * of them than `skip`; `skip` itself when there is none left. */
attr_rows attributes_skip_more(attr_rows skip);
attr_rows attributes_may_skip(void); /* all of these */
/* Read them back: *weak has the rows whose value is not the table's, to the worse.  An attribute
 * that the module does not have is that for a row that may never be left out. */
KB_MUST_CHECK enum kb_err attributes_read(struct keystore *ks, CK_OBJECT_HANDLE object,
					  enum key_kind kind, enum key_half half, attr_rows *weak);
/* "CKA_COPYABLE is not false, …" for people; appended to `out`. */
void attributes_describe(enum key_kind kind, enum key_half half, attr_rows weak, struct buf *out);

#endif
