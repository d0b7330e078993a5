/* broker/api/operation.h — every call of every API dialect, as one table: method and path, the verb
 * it means, the pool of workers that serves it, and the kind of ledger record it makes.  A
 * dialect's route() and the gateway's choice of a pool read the same rows. */
#ifndef KB_API_OPERATION_H
#define KB_API_OPERATION_H
#include "api/url.h"
#include "base/err.h"
#include "base/method.h"

enum verb { VERB_NONE, VERB_GET_KEY, VERB_NONCE, VERB_RELEASE, VERB_COUNT };
enum pool { POOL_VAULT, POOL_COUNT }; /* unknown paths go to POOL_VAULT, which refuses them */
enum record_kind { RECORD_NONE, RECORD_RELEASE };

struct operation {
	const char *api; /* name of the dialect */
	enum verb verb;
	enum kb_method method;
	/* Path below the base URL, compared after decoding.  A part in braces is a variable:
	 * {key} a key's name; {version} 32 lower-case hex digits, or empty for the current version;
	 * {text} anything. */
	const char *path;
	enum pool pool;
	enum record_kind record;
};

enum { OPERATION_PARTS = 8 }; /* parts of a path; the longest one in use has 4 */

struct operation_match {
	const struct operation *operation; /* NULL: no row has this path */
	struct span part[OPERATION_PARTS]; /* the path's parts, decoded, in `text` */
	size_t n;
};

/* The row for this method and path (as sent, below the base URL).  KB_E_PATH: no row has this path.
 * KB_E_METHOD: rows have the path, with other methods; *out then holds the first of them. */
KB_MUST_CHECK enum kb_err operation_find(const char *api, unsigned method, struct span path,
					 struct url_text *text, struct operation_match *out);
struct operation_way {  /* what a gateway must know of a request */
	enum pool pool; /* that serves it, or refuses it */
	/* Of a success.  A path that no row has gets no success: it is taken for the strictest. */
	enum record_kind record;
};
struct operation_way operation_way(const char *api, unsigned method, struct span path);
/* Is this a key version as keys.d has it: 32 lower-case hex digits? */
bool operation_is_version(struct span text);

#endif
