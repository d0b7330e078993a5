/* keystore/softhsm.h — where SoftHSM keeps its token.
 *
 * All that is SoftHSM's alone (Debian 12's 2.6.1):
 * - the token directory, which the sandbox must allow: below;
 * - a login rewrites the token file: struct module_hooks of module.h, in softhsm.c;
 * - CKM_AES_KEY_WRAP_PAD pads with zeros before RFC 5649: pkcs8.c cuts them, and the start-up
 *   self-test (self_test.c) finds out which module needs that;
 * - the token directory is gone: C_FindObjects gives no object and CKR_OK, so find.c asks for the
 *   token before it reports a missing key. */
#ifndef KB_KEYSTORE_SOFTHSM_H
#define KB_KEYSTORE_SOFTHSM_H
#include <stdbool.h>

enum { SOFTHSM_TOKEN_DIR = 256 };
/* The token directory that SoftHSM's configuration file `conf` names.  False: it names none, or the
 * file cannot be read. */
bool softhsm_token_dir(const char *conf, char dir[static SOFTHSM_TOKEN_DIR]);
/* The same for SOFTHSM2_CONF in the environment of this process, or SoftHSM's default file when
 * `module` is SoftHSM.  False: neither, or the file names no directory. */
bool softhsm_own_token_dir(const char *module, char dir[static SOFTHSM_TOKEN_DIR]);

#endif
