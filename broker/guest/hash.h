/* broker/guest/hash.h — which hash an OAEP of ours uses: the three that Key Vault's wrapping
 * schemes name. */
#ifndef KB_GUEST_HASH_H
#define KB_GUEST_HASH_H

enum guest_hash { GUEST_SHA1, GUEST_SHA256, GUEST_SHA384 };

#endif
