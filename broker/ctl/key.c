/* broker/ctl/key.c — `keybrokerctl key …`: the table of its commands. */
#include "ctl/key.h"

const struct ctl_command ctl_key_commands[] = {
	{"key create", "NAME", "Make a key in the HSM and its record in keys.d.", key_create_opts,
	 key_create_run,
	 "Example:\n  keybrokerctl key create disk-key --kty RSA-HSM --policy policies/cvm.json "
	 "--reload\n\nExit: 0 made, 2 not.\n"},
	{"key import", "NAME", "Import a key of yours into the HSM, and make its record.",
	 key_import_opts, key_import_run,
	 "Example:\n  keybrokerctl key import db-key --file db-key.pem --policy "
	 "policies/cvm.json\n\nExit: 0 imported, 2 not.\n"},
	{"key list", NULL, "All keys, and whether each can be released.", NULL, key_list_run, NULL},
	{"key show", "NAME", "A key's record.", NULL, key_show_run, NULL},
	{"key rotate", "NAME",
	 "A new version of the same type and size; it becomes the current one.", key_change_opts,
	 key_rotate_run, NULL},
	{"key disable", "NAME", "Nothing of this key is released until it is enabled.",
	 key_change_opts, key_disable_run, NULL},
	{"key enable", "NAME", "Undo `key disable`.", key_change_opts, key_enable_run, NULL},
	{"key delete", "NAME", "Remove the record and destroy all its versions in the HSM.",
	 key_delete_opts, key_delete_run, NULL},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
