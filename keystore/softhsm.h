/* keystore/softhsm.h — where SoftHSM keeps its token. */
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
