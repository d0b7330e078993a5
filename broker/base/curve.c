/* broker/base/curve.c — the one table of elliptic curves.  A curve that is not in it does not exist
 * for the broker. */
#include "base/curve.h"

#include <openssl/obj_mac.h>

static const struct curve curves[] = {
	{.crv = KB_CRV_P256,
	 .name = "P-256",
	 .group = "prime256v1",
	 .nid = NID_X9_62_prime256v1,
	 .bytes = 32,
	 .oid = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
	 .oid_len = 10},
	{.crv = KB_CRV_P384,
	 .name = "P-384",
	 .group = "secp384r1",
	 .nid = NID_secp384r1,
	 .bytes = 48,
	 .oid = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22},
	 .oid_len = 7},
	{.crv = KB_CRV_P521,
	 .name = "P-521",
	 .group = "secp521r1",
	 .nid = NID_secp521r1,
	 .bytes = 66,
	 .oid = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23},
	 .oid_len = 7},
};

enum { CURVES = sizeof curves / sizeof curves[0] };

const struct curve *curve_of(enum kb_crv crv)
{
	for (size_t i = 0; i < CURVES; i++)
		if (curves[i].crv == crv)
			return &curves[i];
	return NULL;
}

const struct curve *curve_by_name(struct span name)
{
	for (size_t i = 0; i < CURVES; i++)
		if (span_eq_cstr(name, curves[i].name))
			return &curves[i];
	return NULL;
}

const struct curve *curve_by_group(const char *group)
{
	for (size_t i = 0; i < CURVES; i++)
		if (strcmp(group, curves[i].group) == 0)
			return &curves[i];
	return NULL;
}

const struct curve *curve_by_oid(struct span der)
{
	for (size_t i = 0; i < CURVES; i++)
		if (span_eq(der, span_of(curves[i].oid, curves[i].oid_len)))
			return &curves[i];
	return NULL;
}

const char *crv_name(enum kb_crv crv)
{
	const struct curve *c = curve_of(crv);

	return c == NULL ? "" : c->name;
}
