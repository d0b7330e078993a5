/* broker/ctl/confirm.c — anything but the exact answer means no. */
#include "ctl/confirm.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/output.h"

bool ctl_confirm(const char *question, const char *answer)
{
	char line[256] = "";

	if (!isatty(STDIN_FILENO))
		return ctl_fail(false, "standard input is no terminal: confirm with --yes");
	fputs(question, stderr);
	if (fgets(line, sizeof line, stdin) == NULL)
		return false;
	line[strcspn(line, "\n")] = '\0';
	return strcmp(line, answer) == 0;
}
