/* broker/ctl/import_fault.h — what is wrong with a file that was given as a key, in words for the
 * operator.  Decides which keys keystore_import() can be asked for. */
#ifndef KB_CTL_IMPORT_FAULT_H
#define KB_CTL_IMPORT_FAULT_H
#include <openssl/types.h>

#include "base/bytes.h"

enum { IMPORT_WHY = 256 };

/* The file is no private key that OpenSSL reads: what it is instead, and what to do. */
void import_file_fault(struct span file, char why[static IMPORT_WHY]);
/* False: a key of a type, size or curve that is not supported. */
bool import_key_ok(EVP_PKEY *key, char why[static IMPORT_WHY]);
/* False: raw bytes that cannot be meant as a symmetric key.  True with text in `why`: they may be,
 * but look like something else; "" otherwise. */
bool import_raw_ok(struct span file, char why[static IMPORT_WHY]);

#endif
