/* Many processes log in to one token at once: workers that start together, an admin's command beside them.  SoftHSM rewrites its token at each login. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/softhsm.h"

#include <cmocka.h>

enum { PROCESSES = 5, LOGINS = 40 };

/* How many logins of all fail.  Each process opens the lock's file itself, as those do that the supervisor starts. */
static unsigned failed_logins(bool is_locked)
{
	struct softhsm hsm;
	char lock[128];
	unsigned failed = 0;

	assert_true(softhsm_start(&hsm));
	snprintf(lock, sizeof lock, "%s/softhsm2.conf", hsm.dir);
	pid_t pid[PROCESSES];
	for (unsigned i = 0; i < PROCESSES; i++) {
		if ((pid[i] = fork()) != 0)
			continue;
		unsigned bad = 0;
		int fd = open(lock, O_RDONLY | O_CLOEXEC);
		struct secret *pin = softhsm_secret(SOFTHSM_PIN);
		struct keystore_params p = {.module = SOFTHSM_MODULE, .token = SOFTHSM_TOKEN, .pin = pin, .login_lock = is_locked ? fd : 0};
		for (unsigned n = 0; n < LOGINS; n++) {
			struct keystore *ks;
			bad += keystore_open(&p, &ks) != KB_OK || keystore_alive(ks) != KB_OK;
			keystore_close(ks);
		}
		_exit(bad > 255 ? 255 : (int)bad);
	}
	for (unsigned i = 0; i < PROCESSES; i++) {
		int status = -1;
		assert_true(pid[i] > 0 && waitpid(pid[i], &status, 0) == pid[i]);
		failed += WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : LOGINS;
	}
	softhsm_stop(&hsm);
	return failed;
}

static void test_c04_logins_take_turns(void **state)
{
	(void)state;
	assert_int_equal(failed_logins(true), 0);
}

/* The fault is there, and the lock is what keeps it away: without it some of many rounds fail. */
static void test_c04_control_logins_at_once_fail(void **state)
{
	unsigned failed = 0;
	(void)state;
	for (unsigned round = 0; round < 20 && failed == 0; round++)
		failed = failed_logins(false);
	assert_true(failed > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_c04_logins_take_turns), cmocka_unit_test(test_c04_control_logins_at_once_fail)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
