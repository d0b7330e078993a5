/* keystore/provision.h — a fresh token, before there is anything to open: C_InitToken, then the
 * user's PIN.  keybrokerctl init only. */
#ifndef KB_KEYSTORE_PROVISION_H
#define KB_KEYSTORE_PROVISION_H
#include "base/bytes.h"

struct secret;

enum { TOKEN_LABEL_BYTES = 32, PROVISION_WHY = 160 };

/* Initialise the module's first uninitialised token as `label` (1 … 32 printable bytes, not in use)
 * with both PINs.  The module is loaded for this call only. `why` (always terminated) names what
 * failed.  Errors: KB_E_HSM_MODULE (path not absolute, not a PKCS#11 module, does not initialise),
 * KB_E_HSM_TOKEN (label bad or in use, no free slot), KB_E_HSM_PIN (the module refuses a PIN),
 * KB_E_HSM_DEVICE (any other failure). */
KB_MUST_CHECK enum kb_err keystore_init_token(const char *module, const char *label,
					      const struct secret *so_pin,
					      const struct secret *user_pin,
					      char why[static PROVISION_WHY]);

/* The same with a module that is loaded and initialised; tests pass one of their own. */
struct _CK_FUNCTION_LIST;
KB_MUST_CHECK enum kb_err provision_token(struct _CK_FUNCTION_LIST *p11, const char *label,
					  const struct secret *so_pin,
					  const struct secret *user_pin,
					  char why[static PROVISION_WHY]);

#endif
