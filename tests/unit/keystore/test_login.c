/* tests/unit/keystore/test_login.c — many processes log in to one token at once: workers that start
 * together, an admin's command beside them.  SoftHSM rewrites its token at each login. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/softhsm.h"

#include <cmocka.h>

enum { PROCESSES = 5, LOGINS = 40 };

/* ---- calls of this program, of SoftHSM too, that a test stops at or is informed of ---- */

static int at_torn = -1, go_on = -1; /* ends of pipes: "the token is torn now", "go on" */
static int at_wait = -1;             /* "another process has the lock" */
static bool is_clock_still;

/* SoftHSM cuts the token's file, unlocks it, and writes its new text when it closes it. */
int fclose(FILE *f)
{
	static int (*real)(FILE *);
	struct stat st;
	char byte;

	if (real == NULL)
		real = (int (*)(FILE *))dlsym(RTLD_NEXT, "fclose");
	if (at_torn >= 0 && fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0 &&
	    (fcntl(fileno(f), F_GETFL) & O_ACCMODE) == O_RDWR) {
		int said = at_torn;
		at_torn = -1;
		if (write(said, "t", 1) != 1 || read(go_on, &byte, 1) != 1)
			_exit(100);
	}
	return real(f);
}

int flock(int fd, int operation)
{
	long rc = syscall(SYS_flock, fd, operation);

	if (rc != 0 && errno == EWOULDBLOCK && at_wait >= 0) {
		if (write(at_wait, "w", 1) != 1)
			_exit(101);
		at_wait = -1;
		errno = EWOULDBLOCK;
	}
	return (int)rc;
}

/* Many processes at one lock on a slow machine: each comes to it at some time, which is what
 * counts. With a clock that stands still none of them gives up before. */
int clock_gettime(clockid_t id, struct timespec *t)
{
	*t = (struct timespec){1000, 0};
	return is_clock_still ? 0 : (int)syscall(SYS_clock_gettime, id, t);
}

/* ---- many at once ---- */

/* Opens the lock's file itself, as each process does that the supervisor starts. */
static struct keystore_params params_of(const struct softhsm *hsm, bool is_locked)
{
	char lock[128];

	snprintf(lock, sizeof lock, "%s/softhsm2.conf", hsm->dir);
	return (struct keystore_params){.module = SOFTHSM_MODULE,
					.token = SOFTHSM_TOKEN,
					.pin = softhsm_secret(SOFTHSM_PIN),
					.login_lock =
						is_locked ? open(lock, O_RDONLY | O_CLOEXEC) : 0};
}

static unsigned failed_logins(const struct keystore_params *p, unsigned logins)
{
	unsigned bad = 0;

	for (unsigned n = 0; n < logins; n++) {
		struct keystore *ks;
		bad += keystore_open(p, &ks) != KB_OK || keystore_alive(ks) != KB_OK;
		keystore_close(ks);
	}
	return bad;
}

static unsigned status_of(pid_t pid)
{
	int status = -1;

	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : 255;
}

static void test_c04_logins_take_turns(void **state)
{
	struct softhsm hsm;
	pid_t pid[PROCESSES];

	(void)state;
	assert_true(softhsm_start(&hsm));
	for (unsigned i = 0; i < PROCESSES; i++) {
		if ((pid[i] = fork()) != 0)
			continue;
		struct keystore_params p = params_of(&hsm, true);
		is_clock_still = true;
		_exit((int)failed_logins(&p, LOGINS));
	}
	for (unsigned i = 0; i < PROCESSES; i++)
		assert_int_equal(status_of(pid[i]), 0);
	softhsm_stop(&hsm);
}

/* ---- one in the middle of its login, and another comes ---- */

/* One process stops while its login has the token torn.  Does the login of another fail that comes
 * then?  With the lock it waits, and the first goes on only then. */
static unsigned failed_beside_a_torn_token(bool is_locked)
{
	struct softhsm hsm;
	int torn[2], go[2], waits[2];
	char byte;

	assert_true(softhsm_start(&hsm));
	assert_true(pipe(torn) == 0 && pipe(go) == 0 && pipe(waits) == 0);
	pid_t first = fork();
	if (first == 0) {
		struct keystore_params p = params_of(&hsm, is_locked);
		at_torn = torn[1];
		go_on = go[0];
		_exit((int)failed_logins(&p, 1));
	}
	assert_int_equal(read(torn[0], &byte, 1), 1);
	pid_t second = fork();
	if (second == 0) {
		struct keystore_params p = params_of(&hsm, is_locked);
		at_wait = waits[1];
		_exit((int)failed_logins(&p, 1));
	}
	unsigned failed = 0;
	if (is_locked)
		assert_int_equal(read(waits[0], &byte, 1), 1);
	else
		failed = status_of(second);
	assert_int_equal(write(go[1], "g", 1), 1);
	assert_int_equal(status_of(first), 0);
	if (is_locked)
		failed = status_of(second);
	for (unsigned i = 0; i < 2; i++) {
		close(torn[i]);
		close(go[i]);
		close(waits[i]);
	}
	softhsm_stop(&hsm);
	return failed;
}

static void test_c04_login_waits_for_another(void **state)
{
	(void)state;
	assert_int_equal(failed_beside_a_torn_token(true), 0);
}

/* The fault is there, and the lock is what prevents it. */
static void test_c04_control_logins_at_once_fail(void **state)
{
	(void)state;
	assert_int_equal(failed_beside_a_torn_token(false), 1);
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
					   cmocka_unit_test(test_c04_login_waits_for_another),
					   cmocka_unit_test(test_c04_control_logins_at_once_fail),
					   cmocka_unit_test(test_c15_torn_token_is_restored),
					   cmocka_unit_test(test_c15_killed_while_logging_in)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
