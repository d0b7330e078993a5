/* broker/ctl/import.h — a private key from an operator's file. */
#ifndef KB_CTL_IMPORT_H
#define KB_CTL_IMPORT_H
#include "keystore/keystore.h"

struct secret;

/* Read `path` into what keystore_import() takes.  *kty: what the file must hold; zero: RSA or EC,
 * set to what it is.  Raw bytes are accepted for oct only, because any file would do.  Reports what
 * is wrong: KB_E_FILE, KB_E_KEY_FORMAT, KB_E_KEY_TYPE, KB_E_KEY_SIZE.  On KB_OK *out is the
 * caller's. */
KB_MUST_CHECK enum kb_err import_read(const char *path, enum kb_kty *kty, struct secret **out);

#endif
