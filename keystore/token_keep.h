/* keystore/token_keep.h — private to keystore/: a copy of what SoftHSM cannot lose. */
#ifndef KB_KEYSTORE_TOKEN_KEEP_H
#define KB_KEYSTORE_TOKEN_KEEP_H

/* SoftHSM 2.6.1 writes a token's file token.object anew, in place, at each login.  A process that is killed then leaves a torn file, and no key of the token can be
 * read again: what they are encrypted under stands in it.  So before each login the file is compared with a copy beside it, token.keep: a shorter one is
 * torn and is replaced by the copy, any other one is copied.  To be called while nobody else logs in.  `dir` is the directory of all tokens.  What fails is
 * logged: the login that follows says whether it matters. */
void token_keep(const char *dir);

#endif
