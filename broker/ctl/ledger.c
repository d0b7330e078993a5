/* broker/ctl/ledger.c — `keybrokerctl ledger …`: the table of its commands.  A running
 * broker does not notice them. */
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
	{"ledger archive", NULL,
	 "Move closed segments to another directory, and remember the border.", ledger_archive_opts,
	 ledger_archive_run,
	 "What is left verifies as good from the border on; the archive does too, with --dir. It "
	 "may "
	 "be stopped at any time: the same command goes on.\n\n"
	 "Example:\n  keybrokerctl ledger archive --to /archive/ledger --keep 4\n"},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
