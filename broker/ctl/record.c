/* broker/ctl/record.c — key records on disk.  A record that the whole configuration does not accept
 * is undone at once. */
#include "ctl/record.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "ctl/broker.h"
#include "ctl/files.h"
#include "ctl/open.h"
#include "ctl/output.h"

enum { RECORD_MODE = 0640 };

char *ctl_record_path(const struct config *cfg, const char *name)
{
	char *path = NULL;

	return asprintf(&path, "%s/%s.json", cfg->keys_dir, name) < 0 ? NULL : path;
}

/* Does the configuration load with the record as it is on disk now? */
static bool config_still_good(const struct ctl *c)
{
	struct ctl_config again;
	enum kb_err err = ctl_config_open(c, CONFIG_VAULT, false, &again);

	ctl_config_cleanup(&again);
	return err == KB_OK;
}

/* The broker reads what root writes by its group; a user who is not root writes as before. */
static gid_t ctl_group(const struct config *cfg)
{
	return geteuid() == 0 && cfg->service.uid != 0 ? cfg->service.gid : FILE_OWN_GROUP;
}

enum kb_err ctl_record_put(const struct ctl *c, const struct config *cfg,
			   const struct key_record *r, const struct buf *before, bool *is_left)
{
	enum kb_err err = KB_E_BUG;
	KB_AUTO(cstr) char *path = ctl_record_path(cfg, r->name);
	KB_AUTO(buf) struct buf text = {0};

	*is_left = false;
	buf_init(&text, KB_MAX_CONFIG);
	key_record_write(r, &text);
	if (path == NULL || buf_ok(&text) != KB_OK)
		return KB_E_NOMEM;
	const bool was_there = access(path, F_OK) == 0;
	err = ctl_write(path, RECORD_MODE, ctl_group(cfg), before == NULL, buf_span(&text));
	if (err == KB_OK && config_still_good(c))
		return KB_OK;
	/* A write that failed at its last step is there until the power goes, or after. */
	bool is_undone = before != NULL
				 ? ctl_write(path, RECORD_MODE, ctl_group(cfg), false,
					     buf_span(before)) == KB_OK
				 : was_there || (access(path, F_OK) != 0 && errno == ENOENT) ||
					   ctl_remove(path) == KB_OK;
	if (!is_undone) {
		ctl_fail(CTL_FAILED, "%s may be in force: it cannot be undone. %s", path,
			 before == NULL ? "Remove it by hand" : "Write it again");
		*is_left = true;
		return KB_E_FILE;
	}
	ctl_fail(CTL_FAILED, "%s: nothing was changed", r->name);
	return err == KB_OK ? KB_E_CONFIG : err;
}

int ctl_record_done(const struct ctl *c, const struct config *cfg, const char *what,
		    const char *name, bool with_reload, bool with_wait)
{
	struct broker_state state;
	int64_t generation;

	ctl_say("%s: %s", name, what);
	if (with_reload || with_wait)
		return ctl_reload(c, cfg, with_wait, &generation);
	if (ctl_broker_look(cfg, &state) != BROKER_ENDED)
		ctl_say("The running broker loads it with: keybrokerctl -c %s reload",
			c->config_path);
	return CTL_OK;
}

enum kb_err ctl_record_find(const struct ctl *c, const struct config *cfg, struct key_record **out,
			    struct buf *before)
{
	struct record_fault fault;
	const struct key_config *found = config_key(cfg, span_str(c->arg));

	buf_init(before, KB_MAX_CONFIG);
	*out = NULL;
	if (found == NULL) {
		ctl_fail(CTL_FAILED,
			 "there is no key '%s'; `keybrokerctl key list` shows what there is",
			 c->arg);
		return KB_E_KEY_NOT_FOUND;
	}
	key_record_write(found->record, before);
	if (buf_ok(before) != KB_OK)
		return KB_E_NOMEM;
	return key_record_parse(span_str(found->record->name), buf_span(before), out, &fault);
}
