/* keystore/token_keep.h — private to keystore/: a copy of what SoftHSM cannot lose. */
#ifndef KB_KEYSTORE_TOKEN_KEEP_H
#define KB_KEYSTORE_TOKEN_KEEP_H

/* SoftHSM 2.6.1 writes a token's file token.object anew, in place, at each login.  A process that
 * is killed then leaves a torn file, and no key of the token can be read again: what they are
 * encrypted under stands in it.  So a copy stands beside it, token.keep, made after a login that
 * the file was good for (and before the first one, of the file as it is).  Before each login a file
 * that is shorter than its copy, or gone, is torn and is replaced by it.  Both to be called while
 * nobody else logs in.  `dir` is the directory of all tokens.  What fails is logged: the login says
 * whether it matters. */
void token_restore(const char *dir);
void token_keep(const char *dir);

#endif
