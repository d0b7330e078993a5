/* broker/config/certificates.h — are the certificates of a configuration good now?  For every
 * program that asks: check, start and reload. */
#ifndef KB_CONFIG_CERTIFICATES_H
#define KB_CONFIG_CERTIFICATES_H
#include "config/config.h"

enum certificate_state {
	CERTIFICATE_BAD,     /* no process can use it */
	CERTIFICATE_ENDED,   /* clients will refuse it: it has ended, or is not valid yet */
	CERTIFICATE_WARNING, /* it ends within 30 days, one of several has ended, or some clients
				refuse it */
};
/* `pem` are the bytes of the file that is spoken of, `text` says which, and what is wrong. */
typedef void certificate_note(void *ctx, enum certificate_state state, struct span pem,
			      const char *text);

/* Every certificate that is not good at now_s.  `c` was loaded with CONFIG_ALL. */
void config_certificates(const struct config *c, int64_t now_s, certificate_note *note, void *ctx);

#endif
