/* broker/ctl/ledger.h — the commands `keybrokerctl ledger …`. */
#ifndef KB_CTL_LEDGER_H
#define KB_CTL_LEDGER_H
#include "ctl/ctl.h"

/* The first option of each; a command's own begin at LEDGER_OPT_OWN. */
enum { LEDGER_OPT_DIR, LEDGER_OPT_OWN };
#define LEDGER_OPT_DIR_ROW                                                                         \
	[LEDGER_OPT_DIR] = {"dir", 'd', "DIR", "the ledger's directory (of the configuration)"}

extern const struct ctl_opt ledger_verify_opts[], ledger_show_opts[], ledger_tail_opts[],
	ledger_archive_opts[];
int ledger_verify_run(struct ctl *c);
int ledger_show_run(struct ctl *c);
int ledger_tail_run(struct ctl *c);
int ledger_archive_run(struct ctl *c);

#endif
