/* broker/ctl/key.h — the commands `keybrokerctl key …`. */
#ifndef KB_CTL_KEY_H
#define KB_CTL_KEY_H
#include "ctl/ctl.h"

struct key_record;

/* key_new.c */
extern const struct ctl_opt key_create_opts[], key_import_opts[];
int key_create_run(struct ctl *c);
int key_import_run(struct ctl *c);
const char *key_type_text(const struct key_record *r); /* "RSA-HSM" */
/* key_change.c */
extern const struct ctl_opt key_change_opts[], key_delete_opts[];
int key_rotate_run(struct ctl *c);
int key_disable_run(struct ctl *c);
int key_enable_run(struct ctl *c);
int key_delete_run(struct ctl *c);
/* key_list.c */
int key_list_run(struct ctl *c);
int key_show_run(struct ctl *c);

#endif
