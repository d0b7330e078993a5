/* broker/config/document.h — one configuration document while it is read: its members, checked and
 * typed, and the faults found, each with path and line. Private to config*.c. */
#ifndef KB_CONFIG_DOCUMENT_H
#define KB_CONFIG_DOCUMENT_H
#include "base/json.h"
#include "config/config.h"

struct loader { /* one config_load() */
	struct snapshot *src;
	unsigned parts;
	struct config *c;
	struct config_faults *faults;
	size_t n_faults;        /* found, told or not; nothing is loaded unless it is zero */
	bool is_issuers_faulty; /* then what does not fit them is no fault of its own */
};
struct doc {
	struct loader *l;
	char *path, *dir;
	struct span text;
	struct json_t *json; /* an object */
};
struct node { /* an object in a document */
	const struct doc *doc;
	const struct json_t *obj;
	char at[96]; /* its path as json_line() takes it, "" for the root */
};

void fault_add(struct loader *l, const char *path, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* About member `name` of the node; "" means the node itself. */
void node_fault(const struct node *n, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Read and parse; false after a fault was told.  doc_close() in either case. */
bool doc_open(struct loader *l, const char *path, unsigned parts, struct doc *d);
void doc_close(struct doc *d);
struct node doc_root(const struct doc *d);

/* `rel` as seen from `dir` (absolute): lexically normal ("." and ".." resolved, "//" gone), so that
 * a file has one name.  NULL on no memory. */
char *path_join(const char *dir, const char *rel);
char *path_dir(const char *path);

/* Each tells a fault and returns false when something is wrong; a missing or null optional member
 * is fine and leaves *out as it was. */
bool node_known(const struct node *n, const char *const *known);
bool node_obj(const struct node *n, const char *name, struct node *out);
bool node_entry(const struct node *n, const char *name, size_t i,
		struct node *out); /* object number i of the array `name` */
bool node_str(const struct node *n, const char *name, size_t max_bytes, char **out);
bool node_str_opt(const struct node *n, const char *name, size_t max_bytes, char **out);
bool node_bool_opt(const struct node *n, const char *name, bool *out);
bool node_int_opt(const struct node *n, const char *name, int64_t min, int64_t max, int64_t *out);
bool node_time_opt(const struct node *n, const char *name, int64_t min_s, int64_t max_s,
		   int64_t *out_s);                                 /* "60s" */
bool node_path(const struct node *n, const char *name, char **out); /* required; made absolute */
/* The bytes of the file that the required member names, for the processes of `parts`; when none of
 * those is being loaded *out stays empty. */
bool node_file(const struct node *n, const char *name, size_t max_bytes, bool is_private,
	       unsigned parts, struct span *out);

/* config_listeners.c, config_issuers.c, config_keys.c */
void listeners_load(struct loader *l, const struct node *root);
void listeners_free(struct config *c);
void issuers_load(struct loader *l, const struct node *root);
void issuers_free(struct config *c);
void keys_load(struct loader *l, const struct node *root);
void keys_free(struct config *c);
bool address_ok(
	const char *text); /* "127.0.0.1:8443", "[::1]:8443": a literal address and a port */

#endif
