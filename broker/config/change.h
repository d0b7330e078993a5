/* broker/config/change.h — what a new configuration changes, for requests that the old one would
 * judge, and for an operator who reloads it. */
#ifndef KB_CONFIG_CHANGE_H
#define KB_CONFIG_CHANGE_H
#include "config/config.h"

enum change {
	CHANGE_NONE, /* nothing that judges a request */
	CHANGE_ADDS, /* only files of keys, policies or issuers: each release of the old is right */
	CHANGE_JUDGES, /* anything else: the old one must not judge any more */
};

/* When a member of keybroker.json takes effect. */
enum effect {
	EFFECT_JUDGES,  /* at a reload, for every request that a worker has not yet */
	EFFECT_RELOAD,  /* at a reload, for what comes then; judges nothing */
	EFFECT_RESTART, /* never at a reload, which refuses it */
};
struct config_member {
	const char *name; /* "hsm.workers" */
	enum effect effect;
	size_t resolved; /* EFFECT_RESTART: offset of its text in struct config */
};
extern const struct config_member config_members[]; /* ends with name NULL */

/* Both with their snapshots, loaded with CONFIG_ALL.  Whatever is not known to be harmless is
 * CHANGE_JUDGES. */
enum change config_change(const struct config *old, const struct snapshot *old_src,
			  const struct config *now, const struct snapshot *now_src);
/* The names of changed members that only a restart takes up: "state, user"; "": none. */
void config_restart_names(const struct config *old, const struct config *now, char out[static 64]);

#endif
