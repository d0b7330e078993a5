/* broker/supervisor/spawn.c — starts a process.  Never with a descriptor or a right more than it is
 * given: every step is checked, and the new process ends when one fails. */
#include "supervisor/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

int spawn_exe(void)
{
	return open("/proc/self/exe", O_PATH | O_CLOEXEC);
}

/* Copy every descriptor above first: its number may be one that we fill. */
static bool place_fds(const struct spawn *s, int *exe)
{
	int end = FD_CONTROL + (int)s->n_fds;
	int above = FD_PAGES_END;
	int high[SPAWN_MAX_FDS];

	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		return false;
	*exe = fcntl(s->exe, F_DUPFD_CLOEXEC, above);
	if (*exe < 0)
		return false;
	for (size_t i = 0; i < s->n_fds; i++)
		if ((high[i] = fcntl(s->fds[i], F_DUPFD_CLOEXEC, above)) < 0)
			return false;
	for (size_t i = 0; i < s->n_fds; i++)
		if (dup2(high[i], FD_CONTROL + (int)i) < 0)
			return false;
	if (sandbox_close_from(end) != KB_OK)
		return false;
	for (int i = 0; i < PROCESS_SLOTS; i++)
		if (dup2(s->pages[i], FD_PAGES + i) < 0)
			return false;
	return true;
}

static bool reset_signals(void)
{
	const struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < 32; sig++)
		if (sig != SIGKILL && sig != SIGSTOP && sigaction(sig, &standard, NULL) != 0)
			return false;
	return sigemptyset(&none) == 0 && sigprocmask(SIG_SETMASK, &none, NULL) == 0;
}

/* None: what a PKCS#11 module needs is in the configuration ("environment" of "hsm").  Counters and
 * sanitizers of a build for tests are told by variables where to write. */
static char *const *environment(void)
{
	static char *const none[] = {NULL};

	return sandbox_is_complete() ? none : environ;
}

__attribute__((noreturn)) static void become_process(const struct spawn *s)
{
	char title[32], slot[16], index[16], generation[16];
	int exe = -1;

	snprintf(title, sizeof title, "keybrokerd: %s", process_name(s->process));
	snprintf(slot, sizeof slot, "%u", s->slot);
	snprintf(index, sizeof index, "%u", s->index);
	snprintf(generation, sizeof generation, "%u", s->generation);
	const char *const args[] = {title,      "--process",    process_name(s->process),
				    "--slot",   slot,           "--index",
				    index,      "--generation", generation,
				    "--config", s->config_path, NULL};
	if (!reset_signals())
		log_event(LOG_ERROR, "spawn.signals", NULL);
	else if (!place_fds(s, &exe))
		log_event(LOG_ERROR, "spawn.descriptors", NULL);
	else if (sandbox_become(s->user) != KB_OK)
		log_event(LOG_ERROR, "spawn.user", "user", s->user->name, NULL);
	else {
		union {
			const char *const *in;
			char *const *out;
		} argv = {.in = args}; /* exec's prototype lacks const */
		execveat(exe, "", argv.out, environment(), AT_EMPTY_PATH);
		log_event(LOG_ERROR, "spawn.exec", NULL);
	}
	_exit(127);
}

enum kb_err spawn_process(const struct spawn *s, pid_t *pid)
{
	sigset_t all, before;

	if (s->n_fds > SPAWN_MAX_FDS)
		KB_BUG();
	/* No signal handler of the supervisor may run in the new process. */
	if (sigfillset(&all) != 0 || sigprocmask(SIG_SETMASK, &all, &before) != 0)
		return KB_E_SYS;
	*pid = fork();
	if (*pid == 0)
		become_process(s);
	if (sigprocmask(SIG_SETMASK, &before, NULL) != 0)
		KB_BUG();
	return *pid > 0 ? KB_OK : KB_E_SYS;
}
