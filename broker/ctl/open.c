/* broker/ctl/open.c — the configuration and the HSM of a command.  Trusts the configuration's own
 * checks.  Never prints a PIN. */
#include "ctl/open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "ctl/output.h"
#include "ctl/user.h"
#include "keystore/keystore.h"
#include "keystore/softhsm.h"
#include "process/sandbox.h"

/* ---- the configuration ---- */

/* Where the configuration is not root's alone, root acts for the user whose it is, and has that
 * user's rights from here on: the paths in it are that user's choice. */
static enum kb_err become_owner(const struct config *cfg)
{
	char why[FILE_WHY];

	if (geteuid() != 0 || config_is_roots(cfg, why) == KB_OK)
		return KB_OK;
	enum kb_err err = user_become(&cfg->service);
	if (err != KB_OK)
		ctl_fail(CTL_FAILED, "cannot become user %s: %s", cfg->service.name,
			 strerror(errno));
	return err;
}

enum kb_err ctl_config_open(const struct ctl *c, unsigned parts, bool is_change,
			    struct ctl_config *out)
{
	struct config_faults faults = {0};

	*out = (struct ctl_config){.lock_fd = -1};
	if (is_change) {
		out->lock_fd = open(c->config_path, O_RDONLY | O_CLOEXEC);
		if (out->lock_fd < 0 || flock(out->lock_fd, LOCK_EX) != 0) {
			ctl_fail(CTL_FAILED, "%s: %s; name the configuration with -c FILE",
				 c->config_path, strerror(errno));
			return KB_E_FILE;
		}
	}
	enum kb_err err = snapshot_files(&out->source);
	if (err == KB_OK)
		err = config_load(out->source, c->config_path, parts, &out->config, &faults);
	if (err != KB_OK && faults.n == 0)
		ctl_fail(CTL_FAILED, "%s: %s", c->config_path, kb_err_name(err));
	for (size_t i = 0; i < faults.n; i++)
		ctl_say("%s", faults.text[i]);
	config_faults_free(&faults);
	return err == KB_OK ? become_owner(out->config) : err;
}

void ctl_config_cleanup(struct ctl_config *cc)
{
	config_free(cc->config);
	snapshot_free(cc->source);
	if (cc->lock_fd >= 0)
		close(cc->lock_fd);
	*cc = (struct ctl_config){.lock_fd = -1};
}

int ctl_ledger_open(const struct ctl *c, const char *dir)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};

	if (dir == NULL) {
		if (ctl_config_open(c, CONFIG_LEDGER, false, &cc) != KB_OK)
			return -1;
		dir = cc.config->ledger_dir;
	}
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		ctl_fail(CTL_FAILED, "%s: %s", dir, strerror(errno));
	return fd;
}

/* ---- the HSM ---- */

/* Open while the HSM is: its lock lets one process at a time log in. */
static int pin_fd = -1;

static void pin_close(void)
{
	if (pin_fd >= 0)
		close(pin_fd);
	pin_fd = -1;
}

static enum kb_err pin_read(const struct config *cfg, struct secret **out)
{
	const char *path = cfg->hsm_pin_file;
	char why[FILE_WHY];
	int fd;
	enum kb_err err = config_pin_open(cfg, &fd, why);

	if (err != KB_OK) {
		ctl_fail(CTL_FAILED, "%s: %s", path, why);
		return err;
	}
	if ((err = secret_read_fd(fd, out)) != KB_OK)
		ctl_fail(CTL_FAILED, "%s: no PIN in it (%s)", path, kb_err_name(err));
	pin_fd = fd;
	if (err != KB_OK)
		pin_close();
	return err;
}

enum kb_err ctl_hsm_open(const struct config *cfg, bool is_writable, struct keystore **out)
{
	enum kb_err err = KB_E_BUG;
	KB_AUTO(secret) struct secret *pin = NULL;
	char token_dir[SOFTHSM_TOKEN_DIR];

	*out = NULL;
	if ((err = become_owner(cfg)) != KB_OK)
		return err;
	if ((err = secret_arena_init()) != KB_OK) {
		ctl_fail(CTL_FAILED,
			 "%d KiB of memory cannot be locked for the PIN; raise `ulimit -l`",
			 KB_SECRET_ARENA / 1024);
		return err;
	}
	if ((err = pin_read(cfg, &pin)) != KB_OK)
		return err;
	/* The vault has no other variables: what is good here is good there. */
	if (sandbox_is_complete() && clearenv() != 0)
		return KB_E_NOMEM;
	for (char **e = cfg->hsm_environment; e != NULL && *e != NULL; e++) {
		KB_AUTO(cstr) char *name = strndup(*e, strcspn(*e, "="));
		if (name == NULL || (*e)[strlen(name)] != '=' ||
		    setenv(name, *e + strlen(name) + 1, 1) != 0)
			return KB_E_NOMEM;
	}
	if ((err = ctl_user_enter(&cfg->service)) != KB_OK)
		return err;
	struct keystore_params params = {
		.module = cfg->hsm_module,
		.token = cfg->hsm_token,
		.pin = pin,
		.is_writable = is_writable,
		.login_lock = pin_fd,
		.token_dir = softhsm_own_token_dir(cfg->hsm_module, token_dir) ? token_dir : NULL};
	if ((err = keystore_open(&params, out)) != KB_OK) {
		pin_close();
		user_leave();
		ctl_fail(CTL_FAILED, "the HSM (%s, %s%s%s) does not open: %s. %s", cfg->hsm_module,
			 cfg->hsm_token, params.token_dir == NULL ? "" : ", token directory ",
			 params.token_dir == NULL ? "" : params.token_dir, kb_err_name(err),
			 kb_err_text(err));
	}
	return err;
}

void ctl_hsm_close(struct keystore *ks)
{
	keystore_close(ks);
	pin_close();
	user_leave();
}
