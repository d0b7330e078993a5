/* broker/base/hex.h — bytes as hexadecimal text (RFC 4648 section 8), and back. */
#ifndef KB_BASE_HEX_H
#define KB_BASE_HEX_H
#include "base/bytes.h"

/* The value of one digit, 0 to 15, upper or lower case; -1 for any other character. */
int hex_digit(uint8_t c);
/* Write 2 × bytes.len lower-case digits to `out`, without a NUL.  Returns the end. */
char *hex_put(char *out, struct span bytes);
void hex_encode(struct buf *out, struct span bytes); /* appended, lower case */
/* Exactly `len` bytes, written as 2 × len lower-case digits: one form only, so that text can be
 * compared.  False for anything else; `out` may then hold part of it. */
bool hex_decode(struct span text, uint8_t *out, size_t len);

#endif
