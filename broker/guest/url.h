/* broker/guest/url.h — the https URLs of the command line. Pure. */
#ifndef KB_GUEST_URL_H
#define KB_GUEST_URL_H
#include "base/bytes.h"

struct url {
	char host[254]; /* as it is resolved and verified: no brackets round IPv6 */
	char port[6];
	char authority[264]; /* as in the Host header */
	char path[512];      /* "" or "/prefix", no slash at the end */
	bool is_ip;
};

/* https://HOST[:PORT][/PREFIX]; no user, query or fragment.  KB_E_HTTP_URI. */
KB_MUST_CHECK enum kb_err url_parse(struct span text, struct url *out);
/* A list separated by commas, 1 … cap entries. */
KB_MUST_CHECK enum kb_err url_list(struct span text, struct url *out, size_t cap, size_t *n);

#endif
