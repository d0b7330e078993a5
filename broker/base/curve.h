/* broker/base/curve.h — the elliptic curves of the product, with every name that they have.  RFC
 * 7518 section 6.2.1.1, SP 800-186. */
#ifndef KB_BASE_CURVE_H
#define KB_BASE_CURVE_H
#include "base/bytes.h"

enum kb_crv { KB_CRV_NONE, KB_CRV_P256, KB_CRV_P384, KB_CRV_P521 };
enum { CURVE_MAX_BYTES = 66 };
#define CURVE_NAMES "P-256, P-384 or P-521" /* the table, for people */

struct curve {
	enum kb_crv crv;
	const char *name;  /* in a JWK */
	const char *group; /* OpenSSL's */
	int nid;           /* OpenSSL's and cjose's */
	size_t bytes;      /* of a coordinate, of the private number and of the group's order */
	uint8_t oid[10];   /* DER, tag and length included: CKA_EC_PARAMS of a named curve */
	size_t oid_len;
};

/* Each gives NULL when it is none of the table. */
const struct curve *curve_of(enum kb_crv crv);
const struct curve *curve_by_name(struct span name);
const struct curve *curve_by_group(const char *group);
const struct curve *curve_by_oid(struct span der);
const char *crv_name(enum kb_crv crv); /* "P-256" …; "" for KB_CRV_NONE */

#endif
