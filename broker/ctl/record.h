/* broker/ctl/record.h — key records on disk.  Each function reports what went wrong. */
#ifndef KB_CTL_RECORD_H
#define KB_CTL_RECORD_H
#include "config/config.h"
#include "ctl/ctl.h"

struct keystore;

char *ctl_record_path(const struct config *cfg, const char *name); /* caller frees */
/* The key of the command line, as a copy that may be changed, and its text as it is now. */
KB_MUST_CHECK enum kb_err ctl_record_find(const struct ctl *c, const struct config *cfg,
					  struct key_record **out, struct buf *before);
/* Write the record, and undo that when the configuration is refused with it.  `before`: its text
 * until now; NULL: it is new.  *is_left: it failed, and the
 * record may yet be on the disk, with the objects that it names: they must not be destroyed. */
KB_MUST_CHECK enum kb_err ctl_record_put(const struct ctl *c, const struct config *cfg,
					 const struct key_record *r, const struct buf *before,
					 bool *is_left);
/* Report `what` was done, and reload (`with_wait`: until older generations are over), or print how
 * to reload. */
int ctl_record_done(const struct ctl *c, const struct config *cfg, const char *what,
		    const char *name, bool with_reload, bool with_wait);

/* version.c: add the object `made` (taken over; NULL when the HSM failed with `err`) to the record
 * and write the record, or undo all of it. */
KB_MUST_CHECK enum kb_err ctl_version_commit(const struct ctl *c, const struct config *cfg,
					     struct keystore *ks, struct key_record *r,
					     enum kb_err err, char *made, const struct buf *before);

#endif
