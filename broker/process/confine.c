/* broker/process/confine.c — the rights of each process's sandbox: the gateway has no files, the
 * ledger its directory, the vault the HSM's token and the issuers' keys, the fetcher the issuers'
 * keys and what DNS and TLS need.  Decides by the configuration, and trusts its paths.  No path is
 * allowed only because it might be useful. */
#include "process/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <nss.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "keystore/softhsm.h"
#include "process/sandbox.h"

enum { MAX_PATH = 4096 };

/* The resolver reads them for each name.  Landlock rules bind to the inode: when the system's
 * network tools replace one by rename, the process cannot read the new one. */
static struct resolver_file {
	const char *path;
	bool was_there;
	dev_t device;
	ino_t inode;
} resolver[] = {{.path = "/etc/resolv.conf"},
		{.path = "/etc/hosts"},
		{.path = "/etc/host.conf"},
		{.path = "/etc/gai.conf"}};

static const char *const trust[] = {"/etc/ssl",
				    "/usr/lib/ssl",
				    "/usr/share/ca-certificates",
				    "/usr/local/share/ca-certificates",
				    "/etc/pki",
				    "/usr/share/pki"};

static void note_file(struct resolver_file *f)
{
	struct stat st;

	f->was_there = stat(f->path, &st) == 0;
	f->device = f->was_there ? st.st_dev : 0;
	f->inode = f->was_there ? st.st_ino : 0;
}

const char *confine_outdated(void)
{
	for (size_t i = 0; i < sizeof resolver / sizeof resolver[0]; i++) {
		struct resolver_file now = resolver[i];
		note_file(&now);
		if (now.was_there != resolver[i].was_there || now.device != resolver[i].device ||
		    now.inode != resolver[i].inode)
			return resolver[i].path;
	}
	return NULL;
}

static void need_network(struct sandbox_needs *needs)
{
	/* The two sources that are part of libc.  The module of another one may make calls that our
	 * list does not have.  A local resolver is reached by DNS, as resolv.conf says. */
	if (__nss_configure_lookup("hosts", "files dns") != 0)
		log_event(LOG_WARN, "sandbox.names", NULL);
	needs->has_network = true;
	for (size_t i = 0; i < sizeof resolver / sizeof resolver[0]; i++) {
		note_file(&resolver[i]);
		sandbox_need(needs, resolver[i].path, false);
	}
	for (size_t i = 0; i < sizeof trust / sizeof trust[0]; i++)
		sandbox_need(needs, trust[i], false);
}

/* A path that the configuration gives the module: it may write to a directory or device, and read a
 * file. */
static void need_module_path(struct sandbox_needs *needs, const char *path)
{
	struct stat st;

	if (path[0] == '/' && stat(path, &st) == 0)
		sandbox_need(needs, path, !S_ISREG(st.st_mode));
}

static void need_hsm(struct sandbox_needs *needs, const struct config *c,
		     char token_dir[static SOFTHSM_TOKEN_DIR], char module_dir[static MAX_PATH])
{
	static const char softhsm[] = "SOFTHSM2_CONF";
	char *slash;

	if (softhsm_own_token_dir(c->hsm_module, token_dir))
		sandbox_need(needs, token_dir, true);
	for (char **e = c->hsm_environment; e != NULL && *e != NULL; e++)
		if (strncmp(*e, softhsm, sizeof softhsm - 1) !=
		    0) /* it has read that file by now */
			need_module_path(needs, strchr(*e, '=') + 1);
	if (!c->hsm_is_network)
		return;
	need_network(needs);
	snprintf(module_dir, MAX_PATH, "%s", c->hsm_module);
	if ((slash = strrchr(module_dir, '/')) != NULL && slash != module_dir) {
		*slash = '\0';
		sandbox_need(needs, module_dir, false);
	}
}

static enum kb_err confine_vault(const struct config *c)
{
	struct sandbox_needs needs = {0};
	char token_dir[SOFTHSM_TOKEN_DIR], module_dir[MAX_PATH], issuers[MAX_PATH];

	if (snprintf(issuers, sizeof issuers, "%s/issuers", c->state_dir) >= (int)sizeof issuers)
		return KB_E_FILE;
	sandbox_need(&needs, issuers, false);
	need_hsm(&needs, c, token_dir, module_dir);
	return sandbox_enter(PROCESS_VAULT, &needs);
}

static enum kb_err confine_fetcher(const struct config *c)
{
	struct sandbox_needs needs = {0};
	char issuers[MAX_PATH];

	if (snprintf(issuers, sizeof issuers, "%s/issuers", c->state_dir) >= (int)sizeof issuers)
		return KB_E_FILE;
	/* As the supervisor did.  Landlock needs an existing directory for a rule. */
	(void)mkdir(issuers, 0750);
	sandbox_need(&needs, issuers, true);
	need_network(&needs);
	return sandbox_enter(PROCESS_FETCHER, &needs);
}

enum kb_err confine_process(const struct process_start *start, const struct config *config,
			    size_t n_listeners)
{
	struct sandbox_needs needs = {0};

	/* The archive has the process's configuration, a gateway's TLS keys among it, and is not
	 * needed again.  Its descriptor must stay in use: see own_fd. */
	if (dup3(STDIN_FILENO, FD_ARCHIVE, O_CLOEXEC) != FD_ARCHIVE) {
		log_event(LOG_ERROR, "sandbox.descriptors", "why", strerror(errno), NULL);
		return KB_E_SYS;
	}
	if (config == NULL &&
	    (start->process == PROCESS_VAULT || start->process == PROCESS_FETCHER))
		KB_BUG();
	switch (start->process) {
	case PROCESS_GATEWAY:
		needs.own_fd = FD_GATEWAY_LISTEN + (int)n_listeners;
		return sandbox_enter(PROCESS_GATEWAY, &needs);
	case PROCESS_VAULT:
		return confine_vault(config);
	case PROCESS_LEDGER:
		sandbox_need(&needs, NULL, true);
		needs.path[0].fd = FD_LEDGER_DIR;
		return sandbox_enter(PROCESS_LEDGER, &needs);
	case PROCESS_FETCHER:
		return confine_fetcher(config);
	case PROCESS_NONE:
	case PROCESS_SUPERVISOR:
	case PROCESS_COUNT:
		break;
	}
	KB_BUG();
}
