/* broker/api/url.h — parts of a request's URL as text. */
#ifndef KB_API_URL_H
#define KB_API_URL_H
#include "base/bytes.h"

struct url_text { /* where decoded parts are stored; zero it before the first use */
	char bytes[512];
	size_t used;
};

/* Percent-decode `in` (RFC 3986 section 2.1) into `text`; *out points there.  False on a broken
 * escape, a NUL byte, or when `text` is full. */
KB_MUST_CHECK bool url_decode(struct url_text *text, struct span in, struct span *out);
/* The path below the path of `base_url`; an empty span when `path` is not below it. */
struct span url_below(struct span path, const char *base_url);

#endif
