/* Many processes log in to one token at once: workers that start together, an admin's command
 * beside them.  SoftHSM rewrites its token at each login. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/softhsm.h"

#include <cmocka.h>

enum { PROCESSES = 5, LOGINS = 40 };

/* How many logins of all fail.  Each process opens the lock's file itself, as those do that the
 * supervisor starts. */
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
		struct keystore_params p = {.module = SOFTHSM_MODULE,
					    .token = SOFTHSM_TOKEN,
					    .pin = pin,
					    .login_lock = is_locked ? fd : 0};
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

/* ---- a process that ends in the middle of a login ---- */

static char tokens[96];

static enum kb_err open_with(bool is_kept, const char *pin_text)
{
	struct keystore *ks;
	struct secret *pin = softhsm_secret(pin_text);
	struct keystore_params p = {.module = SOFTHSM_MODULE,
				    .token = SOFTHSM_TOKEN,
				    .pin = pin,
				    .token_dir = is_kept ? tokens : NULL};
	enum kb_err err = keystore_open(&p, &ks);

	keystore_close(ks);
	secret_free(pin);
	return err;
}

static enum kb_err open_kept(bool is_kept)
{
	return open_with(is_kept, SOFTHSM_PIN);
}

static void tear(long size)
{
	char command[256];

	snprintf(command, sizeof command, "truncate -s %ld %s/*/token.object", size, tokens);
	assert_int_equal(system(command), 0);
}

static void test_c15_torn_token_is_restored(void **state)
{
	struct softhsm hsm;
	(void)state;
	assert_true(softhsm_start(&hsm));
	snprintf(tokens, sizeof tokens, "%s/tokens", hsm.dir);
	assert_int_equal(open_kept(true), KB_OK);
	for (long size = 0; size < 300; size += 60) {
		tear(size);
		assert_int_equal(open_kept(true), KB_OK);
	}
	/* an instance that has no copy yet has one before its first login */
	char command[256];
	snprintf(command, sizeof command, "cd %s && rm */token.keep && cp */token.object ..",
		 tokens);
	assert_int_equal(system(command), 0);
	assert_int_equal(open_with(true, "not the PIN"), KB_E_HSM_PIN);
	snprintf(command, sizeof command, "cd %s && cmp */token.keep ../token.object", tokens);
	assert_int_equal(system(command), 0);
	assert_int_equal(open_kept(true), KB_OK);
	tear(100); /* and without the copy it is lost */
	assert_int_not_equal(open_kept(false), KB_OK);
	softhsm_stop(&hsm);
}

static void test_c15_killed_while_logging_in(void **state)
{
	enum { KILLS = 60 };
	struct softhsm hsm;
	unsigned seed = 1;
	(void)state;
	assert_true(softhsm_start(&hsm));
	snprintf(tokens, sizeof tokens, "%s/tokens", hsm.dir);
	for (unsigned i = 0; i < KILLS; i++) {
		pid_t pid = fork();
		if (pid == 0)
			for (;;)
				(void)open_kept(true);
		usleep(2000 + (unsigned)rand_r(&seed) % 9000);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	assert_int_equal(open_kept(true), KB_OK);
	softhsm_stop(&hsm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_c04_logins_take_turns),
					   cmocka_unit_test(test_c04_control_logins_at_once_fail),
					   cmocka_unit_test(test_c15_torn_token_is_restored),
					   cmocka_unit_test(test_c15_killed_while_logging_in)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
