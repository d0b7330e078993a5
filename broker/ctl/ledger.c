/* broker/ctl/ledger.c — `keybrokerctl ledger …`: the table of its commands.  They open files for
 * reading only; a running broker does not notice. */
#include "ctl/ledger.h"

const struct ctl_command ctl_ledger_commands[] = {
	{"ledger verify", NULL, "Check the whole chain, or name the line where it breaks.",
	 ledger_verify_opts, ledger_verify_run,
	 "Save the printed head elsewhere; --expect-head proves later that nothing before it was "
	 "cut or rewritten.\n\n"
	 "Exit: 0 good, 1 not, 2 it cannot be read.\n"},
	{"ledger show", NULL, "Records, all or chosen ones; --json gives the lines as they are.",
	 ledger_show_opts, ledger_show_run,
	 "Example:\n  keybrokerctl ledger show --key disk-key --code POLICY --since "
	 "2026-11-21T00:00:00Z\n"},
	{"ledger tail", NULL, "The last records (10), and with --follow those that come.",
	 ledger_tail_opts, ledger_tail_run, NULL},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
