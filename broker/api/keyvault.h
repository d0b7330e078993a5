/* broker/api/keyvault.h — the Key Vault dialect from the inside: what its files share.  Others use
 * keyvault_api (api/api.h). */
#ifndef KB_API_KEYVAULT_H
#define KB_API_KEYVAULT_H
#include "api/api.h"

/* keyvault_version.c: 7.0 … 7.2 have no release call; whatever is newer is served. */
enum api_age { API_UNKNOWN, API_TOO_OLD, API_BEFORE_RELEASE, API_SERVED };
enum api_age keyvault_version_age(struct span text);

/* keyvault_error.c */
extern const struct api_body keyvault_bodies[];
int keyvault_refuse(enum kb_err code, const struct call *call, struct buf *body);

/* keyvault_key.c: the KeyBundle, and its parts.  The version in a kid may be empty.  jwk: kid …
 * public numbers, the object left open.  rest: attributes, tags, release policy. */
void keyvault_key(const struct api_key *key, struct buf *body);
void keyvault_add_kid(struct buf *b, const struct api_key *key, struct span version);
void keyvault_add_jwk(struct buf *b, const struct api_key *key);
void keyvault_add_rest(struct buf *b, const struct api_key *key, bool has_content_type);

/* keyvault_release.c */
/* The protected header of every release reply, base64url: alg, kid, x5t, typ, x5t#S256, x5c (leaf …
 * root).  `chain` is PEM; *leaf_der is appended to.  KB_E_CONFIG unless it holds 2 … KB_MAX_X5C
 * certificates, each issued by the next, an RSA leaf and a self-signed last. */
KB_MUST_CHECK enum kb_err keyvault_prepare(struct span chain, struct buf *header_b64,
					   struct buf *leaf_der);
/* header "." base64url(payload) */
void keyvault_sign_input(const struct call *call, const struct api_release *r, struct buf *payload,
			 struct buf *input);
void keyvault_release(const struct api_release *r, struct buf *body); /* {"value":"<JWS>"} */
void keyvault_nonce(struct span nonce, struct buf *body);             /* {"value":"<nonce>"} */

#endif
