/* broker/base/terminal.h — strangers' text for people: characters on which a terminal or a viewer
 * acts, or that nobody can see, are written as \uXXXX.  Everything else stays as it is. */
#ifndef KB_BASE_TERMINAL_H
#define KB_BASE_TERMINAL_H
#include "base/bytes.h"

/* Length of the valid UTF-8 sequence at p, of at least one byte, and its character; 0 when there is
 * none.  RFC 3629: no overlong form, no surrogate, at most U+10FFFF. */
size_t utf8_read(const uint8_t *p, size_t left, uint32_t *c);
/* Controls (C0, DEL, C1), line and paragraph separators, marks and overrides of direction, and what
 * is invisible: zero width, soft hyphen, tags. */
bool terminal_is_active(uint32_t c);
/* One character as \uXXXX; above U+FFFF two of them, as JSON has it. */
void terminal_add_escape(struct buf *out, uint32_t c);
/* `s` with active characters escaped, and U+FFFD's escape for each byte that is not UTF-8.
 * `with_lines`: newlines are ours and stay. */
void terminal_add(struct buf *out, struct span s, bool with_lines);

#endif
