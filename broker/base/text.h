/* broker/base/text.h — the beginning of a text that people write: which encoding is it in? */
#ifndef KB_BASE_TEXT_H
#define KB_BASE_TEXT_H
#include "base/bytes.h"

/* Passes over the byte order mark that some editors write before UTF-8 (RFC 8259 section 8.1 lets a
 * reader do so).  KB_E_ENCODING, and *text as it was: the text is UTF-16 or UTF-32. */
KB_MUST_CHECK enum kb_err text_begin(struct span *text);

#endif
