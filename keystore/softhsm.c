/* keystore/softhsm.c — reads SoftHSM's own configuration (softhsm2.conf(5)).  Trusts the file: the
 * operator's. */
#include "keystore/softhsm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool softhsm_token_dir(const char *conf, char dir[static SOFTHSM_TOKEN_DIR])
{
	char line[512];
	bool found = false;
	FILE *f = fopen(conf, "re");

	if (f == NULL)
		return false;
	while (!found && fgets(line, sizeof line, f) != NULL)
		found = sscanf(line, " directories.tokendir = %255s", dir) == 1;
	fclose(f);
	return found;
}

bool softhsm_own_token_dir(const char *module, char dir[static SOFTHSM_TOKEN_DIR])
{
	const char *conf = getenv("SOFTHSM2_CONF");

	if (conf == NULL && strstr(module, "softhsm") != NULL)
		conf = "/etc/softhsm/softhsm2.conf";
	return conf != NULL && softhsm_token_dir(conf, dir);
}
