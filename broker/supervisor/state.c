/* broker/supervisor/state.c — makes and checks the directories before any process starts, so that a
 * wrong owner is one clear message and not a process that fails.  Trusts the configuration's paths.
 * Never follows a symlink at their end, never changes the owner of what exists. */
#include "supervisor/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keystore/softhsm.h"

static enum kb_err open_dir(const char *path, const struct sandbox_user *user, int *fd,
			    char why[static 512])
{
	struct stat st;
	bool is_new = mkdir(path, 0750) == 0;

	*fd = -1;
	if (!is_new && errno != EEXIST) {
		snprintf(why, 512, "%s: cannot be made: %s", path, strerror(errno));
		return KB_E_FILE;
	}
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0) {
		snprintf(why, 512, "%s: cannot be opened: %s", path, strerror(errno));
		return KB_E_FILE;
	}
	if (is_new && user->name != NULL && fchown(*fd, user->uid, user->gid) != 0) {
		snprintf(why, 512, "%s: cannot be given to %s: %s", path, user->name,
			 strerror(errno));
		return KB_E_FILE;
	}
	if (fd_stat(*fd, &st) != 0 || (st.st_mode & 022) != 0) {
		snprintf(why, 512, "%s: others can write to it; chmod 0750 %s", path, path);
		return KB_E_FILE_MODE;
	}
	if (!sandbox_can_use(user, path, R_OK | W_OK | X_OK)) {
		if (user->name != NULL)
			snprintf(why, 512,
				 "%s: user %s cannot use it; chown -R %s %s, and let it search the "
				 "directories above",
				 path, user->name, user->name, path);
		else
			snprintf(why, 512, "%s: cannot be written by this user", path);
		return KB_E_FILE_MODE;
	}
	return KB_OK;
}

enum kb_err state_check_hsm(const struct config *c, const struct sandbox_user *user,
			    char why[static 512])
{
	static const char name[] = "SOFTHSM2_CONF=";
	char dir[SOFTHSM_TOKEN_DIR];

	for (char **e = c->hsm_environment; e != NULL && *e != NULL; e++) {
		if (strncmp(*e, name, sizeof name - 1) != 0)
			continue;
		const char *conf = *e + sizeof name - 1;
		if (!sandbox_can_use(user, conf, R_OK)) {
			snprintf(why, 512, "%s: cannot be read by the broker's user", conf);
			return KB_E_FILE_MODE;
		}
		if (softhsm_token_dir(conf, dir) &&
		    !sandbox_can_use(user, dir, R_OK | W_OK | X_OK)) {
			snprintf(why, 512,
				 "%s: the HSM's token directory cannot be used by the broker's "
				 "user%s%s; chown -R it",
				 dir, user->name == NULL ? "" : " ",
				 user->name == NULL ? "" : user->name);
			return KB_E_FILE_MODE;
		}
	}
	return KB_OK;
}

static enum kb_err take_pid_file(const char *dir, int *fd, char why[static 512])
{
	char path[4096], pid[32] = "";

	*fd = -1;
	if (snprintf(path, sizeof path, "%s/keybrokerd.pid", dir) >= (int)sizeof path) {
		snprintf(why, 512, "the path of the state directory is too long");
		return KB_E_FILE;
	}
	int f = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (f < 0) {
		snprintf(why, 512, "%.400s: %s", path, strerror(errno));
		return KB_E_FILE;
	}
	if (flock(f, LOCK_EX | LOCK_NB) != 0) {
		ssize_t n = pread(f, pid, sizeof pid - 1, 0);
		pid[n < 0 ? 0 : strcspn(pid, "\n")] = '\0';
		snprintf(why, 512, "%.400s: another broker (pid %s) uses this state directory",
			 path, pid);
		close(f);
		return KB_E_LEDGER_LOCKED;
	}
	snprintf(pid, sizeof pid, "%d\n", getpid());
	if (ftruncate(f, 0) != 0 || pwrite(f, pid, strlen(pid), 0) != (ssize_t)strlen(pid)) {
		snprintf(why, 512, "%.400s: %s", path, strerror(errno));
		close(f);
		return KB_E_FILE;
	}
	*fd = f;
	return KB_OK;
}

/* A new file: the processes' user can write to the directory, and we may be root. */
static enum kb_err make_report(const char *dir, int *fd, char why[static 512])
{
	char path[4096];

	if (snprintf(path, sizeof path, "%s/keybrokerd.report", dir) >= (int)sizeof path) {
		snprintf(why, 512, "the path of the state directory is too long");
		return KB_E_FILE;
	}
	(void)unlink(path);
	*fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (*fd >= 0 && fchmod(*fd, 0644) == 0)
		return KB_OK;
	snprintf(why, 512, "%.400s: %s", path, strerror(errno));
	return KB_E_FILE;
}

enum kb_err state_open(const struct config *c, const struct sandbox_user *user, struct state *out,
		       char why[static 512])
{
	char issuers[4096];
	int state_dir = -1, issuers_dir = -1;
	enum kb_err err;

	*out = (struct state){.ledger_dir = -1, .pid_file = -1, .report = -1};
	why[0] = '\0';
	if (snprintf(issuers, sizeof issuers, "%s/issuers", c->state_dir) >= (int)sizeof issuers) {
		snprintf(why, 512, "the path of the state directory is too long");
		return KB_E_FILE;
	}
	if ((err = open_dir(c->state_dir, user, &state_dir, why)) != KB_OK)
		goto out;
	if ((err = open_dir(issuers, user, &issuers_dir, why)) != KB_OK)
		goto out;
	if ((err = open_dir(c->ledger_dir, user, &out->ledger_dir, why)) != KB_OK)
		goto out;
	if ((err = state_check_hsm(c, user, why)) != KB_OK)
		goto out;
	if ((err = take_pid_file(c->state_dir, &out->pid_file, why)) == KB_OK)
		err = make_report(c->state_dir, &out->report, why);
out:
	if (state_dir >= 0)
		close(state_dir);
	if (issuers_dir >= 0)
		close(issuers_dir);
	if (err != KB_OK)
		state_close(out);
	return err;
}

void state_close(struct state *s)
{
	if (s->pid_file >= 0) {
		/* The lock ends with the descriptor. */
		(void)!ftruncate(s->pid_file, 0);
		close(s->pid_file);
	}
	if (s->report >= 0) {
		(void)!ftruncate(s->report, 0);
		close(s->report);
	}
	if (s->ledger_dir >= 0)
		close(s->ledger_dir);
	*s = (struct state){.ledger_dir = -1, .pid_file = -1, .report = -1};
}
