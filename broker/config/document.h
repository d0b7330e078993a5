/* broker/config/document.h — one configuration document while it is read: its members, checked and
 * typed, and the faults that were found, each with path and line.  Private to this folder. */
#ifndef KB_CONFIG_DOCUMENT_H
#define KB_CONFIG_DOCUMENT_H
#include "base/json.h"
#include "config/config.h"

struct loader { /* one config_load() */
	struct snapshot *src;
	unsigned parts;
	struct config *c;
	struct config_faults *faults;
	size_t n_faults;        /* all, also those beyond KB_MAX_FAULTS */
	bool is_issuers_faulty; /* then do not report policies that name no issuer */
};
struct doc {
	struct loader *l;
	char *path, *dir;
	struct span text;
	struct json_t *json; /* an object */
};
struct section { /* a JSON object in a document */
	const struct doc *doc;
	const struct json_t *obj;
	char at[96]; /* its path as json_line() takes it, "" for the root */
};

void fault_add(struct loader *l, const char *path, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A fault of member `name`; "" means the section itself. */
void section_fault(const struct section *n, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same, and what is there instead of what should be.  Not for members that may hold a
 * secret. */
void section_wrong(const struct section *n, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Read and parse; false after a fault was added.  doc_close() in either case. */
bool doc_open(struct loader *l, const char *path, unsigned parts, struct doc *d);
void doc_close(struct doc *d);
struct section doc_root(const struct doc *d);

/* service.c: c->service, by path and directory.  When "user" is no account here, it is ours. */
void service_user(const struct config *c, struct user *out);

char *path_dir(const char *path);

/* Each adds a fault and returns false when something is wrong.  An optional member may be missing
 * or null: then *out is not changed. */
bool section_known(const struct section *n, const char *const *known);
bool section_object(const struct section *n, const char *name, struct section *out);
/* Object number i of the array `name`. */
bool section_entry(const struct section *n, const char *name, size_t i, struct section *out);
bool section_str(const struct section *n, const char *name, size_t max_bytes, char **out);
bool section_str_opt(const struct section *n, const char *name, size_t max_bytes, char **out);
bool section_bool_opt(const struct section *n, const char *name, bool *out);
bool section_int_opt(const struct section *n, const char *name, int64_t min, int64_t max,
		     int64_t *out);
/* "60s", "5m", "8h" or "1d". */
bool section_time_opt(const struct section *n, const char *name, int64_t min_s, int64_t max_s,
		      int64_t *out_s);
/* Required; made absolute. */
bool section_path(const struct section *n, const char *name, char **out);
/* The bytes of the file that the required member names, for the processes of `parts`.  When none of
 * them is being loaded, *out stays empty. */
bool section_file(const struct section *n, const char *name, size_t max_bytes, bool is_private,
		  unsigned parts, struct span *out);

/* listeners.c, issuers.c, keys.c */
void listeners_load(struct loader *l, const struct section *root);
void listeners_free(struct config *c);
void issuers_load(struct loader *l, const struct section *root);
void issuers_free(struct config *c);
void keys_load(struct loader *l, const struct section *root);
void keys_free(struct config *c);
/* penalties.c */
void penalties_load(const struct section *root, struct config *c);
void penalties_config_free(struct config *c);
/* A literal address and a port: "127.0.0.1:8443", "[::1]:8443". */
bool address_ok(const char *text);

#endif
