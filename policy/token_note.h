/* policy/token_note.h — what a token that has not the form of one looks like, for `explain`. */
#ifndef KB_POLICY_TOKEN_NOTE_H
#define KB_POLICY_TOKEN_NOTE_H
#include "base/bytes.h"

/* What stands in `compact`, which token_open() refused with `err`: the size, the number of parts,
 * the header or the claims; bounded, and not yet escaped for a terminal. */
void token_note(struct span compact, enum kb_err err, struct buf *out);

#endif
