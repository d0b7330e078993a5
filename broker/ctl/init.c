/* broker/ctl/init.c — `keybrokerctl init`: a directory from which keybrokerd can be started at
 * once. Trusts nothing in the directory: it must be new or empty. */
#include "ctl/init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/secret.h"
#include "base/x509.h"
#include "ctl/output.h"
#include "keystore/keystore.h"

enum {
	OPT_USER,
	OPT_NAME,
	OPT_MODULE,
	OPT_TOKEN,
	OPT_ADDRESS,
	OPT_PORT,
	OPT_METRICS,
	OPT_ISSUER,
	OPT_JWKS,
	OPT_STATE
};
static const struct ctl_opt init_opts[] = {
	[OPT_USER] = {"user", 'u', "NAME",
		      "as root: the user that the processes become; owns the token's files and the "
		      "state"},
	[OPT_NAME] = {"name", 'n', "HOST",
		      "a host name or address that clients use; the first one is in key ids "
		      "(repeat)"},
	[OPT_MODULE] = {"module", 'm', "PATH",
			"the PKCS#11 module (/usr/lib/softhsm/libsofthsm2.so)"},
	[OPT_TOKEN] = {"token", 't', "LABEL", "the new token's label (keybroker)"},
	[OPT_ADDRESS] = {"address", 'a', "IP", "the address to listen on (127.0.0.1)"},
	[OPT_PORT] = {"port", 'p', "N", "the port to listen on (8443)"},
	[OPT_METRICS] = {"metrics", 0, "PORT",
			 "the port of /metrics and /readyz on 127.0.0.1 (9464; 0: none)"},
	[OPT_ISSUER] =
		{"issuer", 'i', "URL",
		 "whose attestation tokens are accepted (https://sharedweu.weu.attest.azure.net)"},
	[OPT_JWKS] = {"jwks", 0, "FILE", "that issuer's keys from a file instead of discovery"},
	[OPT_STATE] = {"state", 's', "DIR",
		       "where the broker writes: ledger, fetched keys, the token (in DIR)"},
	{NULL, 0, NULL, NULL},
};

static enum kb_err dirs_make(struct instance *in, const char *dir)
{
	static const char *const owners[] = {"issuers.d", "keys.d", "policies", "tls", "hsm"};
	static const char *const processes[] = {"", "/issuers", "/ledger"};
	enum kb_err err = KB_E_BUG;
	char path[PATH_BYTES];

	if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
		ctl_fail(CTL_FAILED, "%s: %s", dir, strerror(errno));
		return KB_E_FILE;
	}
	if (realpath(dir, in->dir) == NULL || !init_is_empty(dir)) {
		if (errno == ENOTEMPTY || errno == ENOTDIR)
			ctl_fail(CTL_FAILED,
				 "%s is not an empty directory: an instance is never overwritten. "
				 "Name another one",
				 dir);
		else
			ctl_fail(CTL_FAILED, "%s: %s", dir, strerror(errno));
		return KB_E_FILE;
	}
	in->is_begun = true;
	if ((err = init_dir(in, ".", false)) != KB_OK)
		return err;
	for (size_t i = 0; i < sizeof owners / sizeof owners[0]; i++)
		if ((err = init_dir(in, owners[i], false)) != KB_OK)
			return err;
	for (size_t i = 0; i < sizeof processes / sizeof processes[0]; i++) {
		if ((size_t)snprintf(path, sizeof path, "%s%s", in->state, processes[i]) >=
		    sizeof path)
			return KB_E_CONFIG;
		if ((err = init_dir(in, path, true)) != KB_OK)
			return err;
	}
	return init_dir(in, in->tokens, true);
}

static bool arguments_read(const struct ctl *c, struct instance *in)
{
	static const char *const always[] = {"localhost", "127.0.0.1", "::1"};
	KB_AUTO(cstr) char *module_copy = NULL;
	uint8_t bytes[16];
	const char *v;

	in->user = ctl_value(c, OPT_USER);
	in->module = (v = ctl_value(c, OPT_MODULE)) != NULL ? v : "/usr/lib/softhsm/libsofthsm2.so";
	in->label = (v = ctl_value(c, OPT_TOKEN)) != NULL ? v : "keybroker";
	in->address = (v = ctl_value(c, OPT_ADDRESS)) != NULL ? v : "127.0.0.1";
	in->issuer = (v = ctl_value(c, OPT_ISSUER)) != NULL
			     ? v
			     : "https://sharedweu.weu.attest.azure.net";
	in->jwks = ctl_value(c, OPT_JWKS);
	in->state = (v = ctl_value(c, OPT_STATE)) != NULL ? v : "state";
	if (v != NULL && (v[0] != '/' || strlen(v) > PATH_BYTES / 2))
		return ctl_fail(false, "--state: an absolute path is wanted, not '%s'", v);
	snprintf(in->tokens, sizeof in->tokens, "%s/tokens", v != NULL ? v : "hsm");
	in->port = 8443;
	in->metrics = 9464;
	in->uid = geteuid();
	in->gid = getegid();
	if ((v = ctl_value(c, OPT_PORT)) != NULL && !ctl_number("--port", v, 1, 65535, &in->port))
		return false;
	if ((v = ctl_value(c, OPT_METRICS)) != NULL &&
	    !ctl_number("--metrics", v, 0, 65535, &in->metrics))
		return false;
	if (inet_pton(AF_INET, in->address, bytes) != 1 && !init_is_ipv6(in->address))
		return ctl_fail(false, "--address: an IP address is wanted, not '%s'", in->address);
	if (strncmp(in->issuer, "https://", 8) != 0)
		return ctl_fail(false, "--issuer: an https URL is wanted, not '%s'", in->issuer);
	if ((module_copy = strdup(in->module)) == NULL)
		return false;
	in->is_softhsm = strstr(basename(module_copy), "softhsm") != NULL;
	for (size_t i = 0; i < 3; i++)
		in->names[in->n_names++] = always[i];
	if (c->n_values[OPT_NAME] > X509_MAX_NAMES - in->n_names)
		return ctl_fail(false, "--name: at most %zu", X509_MAX_NAMES - in->n_names);
	for (unsigned i = 0; i < c->n_values[OPT_NAME]; i++)
		in->names[in->n_names++] = c->value[OPT_NAME][i];
	in->host = ctl_has(c, OPT_NAME) ? c->value[OPT_NAME][0] : "localhost";
	if (in->user == NULL)
		return true;
	const struct passwd *pw = getpwnam(in->user);
	if (geteuid() != 0 || pw == NULL)
		return ctl_fail(false,
				geteuid() != 0
					? "--user %s: only root can change the owner of files"
					: "--user: there is no user '%s'",
				in->user);
	in->uid = pw->pw_uid;
	in->gid = pw->pw_gid;
	return true;
}

static enum kb_err instance_make(struct instance *in)
{
	struct hsm_public signer = {0};
	enum kb_err err = init_hsm(in, &signer);

	if (err != KB_OK || (err = init_tls(in, &signer)) != KB_OK)
		return err;
	return init_config(in);
}

static int init_run(struct ctl *c)
{
	static struct instance in;

	in = (struct instance){0};
	if (!arguments_read(c, &in))
		return CTL_FAILED;
	umask(077);
	if (secret_arena_init() != KB_OK)
		return ctl_fail(CTL_FAILED,
				"%d KiB of memory cannot be locked for secrets; raise `ulimit -l`",
				KB_SECRET_ARENA / 1024);
	enum kb_err err = dirs_make(&in, c->arg);
	if (err == KB_OK)
		err = instance_make(&in);
	free(in.signer);
	if (err != KB_OK)
		return in.is_begun ? ctl_fail(CTL_FAILED,
					      "init stopped (%s); remove %s before the next try",
					      kb_err_name(err), in.dir)
				   : CTL_FAILED;

	ctl_say("Made %s. Next:", in.dir);
	ctl_say("  keybrokerctl -c %s/keybroker.json key create disk-key --kty RSA-HSM --policy "
		"%s/policies/cvm.json",
		in.dir, in.dir);
	ctl_say("  keybrokerd -c %s/keybroker.json", in.dir);
	ctl_say("Clients trust %s/tls/root.pem. The issuing CA's key is %s/tls/ca.key: good for a "
		"demo; for more, replace tls/ by your own CA's.",
		in.dir, in.dir);
	ctl_say("It accepts tokens of %s, see %s/issuers.d. Move hsm/so-pin to a safe place: it "
		"sets a "
		"new PIN.",
		in.issuer, in.dir);
	return CTL_OK;
}

const struct ctl_command ctl_init_commands[] = {
	{"init", "DIR",
	 "Make DIR a ready instance: an HSM token with a random PIN, certificates, a "
	 "configuration.",
	 init_opts, init_run,
	 "Example:\n  keybrokerctl init /etc/keybroker --user keybroker --name skr.example.net "
	 "--address 0.0.0.0 --port 443\n\n"
	 "DIR must not exist or be empty. Exit: 0 made, 2 not.\n"},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
