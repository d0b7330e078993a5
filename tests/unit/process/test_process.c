/* tests/unit/process/test_process.c — control messages between supervisor and processes, and the
 * first steps of a process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/process.h"
#include "tests/unit/pages.h"

static int pair[2];

static int set_up(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int tear_down(void **state)
{
	(void)state;
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

/* ---- control messages ---- */

static void test_control_message_arrives(void **state)
{
	struct control_message m;
	size_t n = 0;

	(void)state;
	assert_int_equal(control_send(pair[0], CONTROL_LOST, 7, UINT64_C(0x8877665544332211)),
			 KB_OK);
	assert_int_equal(control_recv(pair[1], &m, NULL, &n), KB_OK);
	assert_int_equal(m.type, CONTROL_LOST);
	assert_int_equal(m.generation, 7);
	assert_true(m.value == UINT64_C(0x8877665544332211));
	assert_string_equal(m.digest, "");
	assert_int_equal(control_send(pair[0], CONTROL_DRAIN, 0, 0), KB_OK);
	assert_int_equal(control_recv(pair[1], &m, NULL, NULL), KB_OK);
}

static void test_control_digest_arrives_and_ends(void **state)
{
	struct control_message m = {.type = CONTROL_GENERATION};

	(void)state;
	memset(m.digest, 'a', sizeof m.digest);
	assert_int_equal(control_send_message(pair[0], &m, NULL, 0), KB_OK);
	memset(&m, 0, sizeof m);
	assert_int_equal(control_recv(pair[1], &m, NULL, NULL), KB_OK);
	assert_int_equal(strlen(m.digest), sizeof m.digest - 1);
}

static void test_control_descriptors_arrive(void **state)
{
	struct control_message m;
	int fds[16], got[16];
	size_t n = 16;

	(void)state;
	for (size_t i = 0; i < 16; i++)
		assert_true((fds[i] = memfd_create("fd", 0)) >= 0);
	unsigned before = open_fds();
	assert_int_equal(write(fds[15], "hello", 5), 5);
	assert_int_equal(control_send_fds(pair[0], CONTROL_GENERATION, 1, 1, fds, 16), KB_OK);
	assert_int_equal(control_recv(pair[1], &m, got, &n), KB_OK);
	assert_int_equal(n, 16);
	assert_int_equal(lseek(got[15], 0, SEEK_END), 5);
	assert_true((fcntl(got[0], F_GETFD) & FD_CLOEXEC) != 0);
	for (size_t i = 0; i < 16; i++)
		close(got[i]);
	assert_int_equal(open_fds(), before);
	for (size_t i = 0; i < 16; i++)
		close(fds[i]);
}

static void test_control_unwanted_descriptors_are_closed(void **state)
{
	struct control_message m;
	int fds[2] = {0, 0}, got[1];
	size_t n = 1;
	unsigned before = open_fds();

	(void)state;
	assert_int_equal(control_send_fds(pair[0], CONTROL_READY, 1, 1, fds, 2), KB_OK);
	assert_int_equal(control_recv(pair[1], &m, got, &n), KB_E_FRAME);
	assert_int_equal(n, 0);
	assert_int_equal(control_send_fds(pair[0], CONTROL_READY, 1, 1, fds, 2), KB_OK);
	assert_int_equal(control_recv(pair[1], &m, NULL, NULL), KB_E_FRAME);
	assert_int_equal(open_fds(), before);
}

static void test_i06_control_message_of_a_wrong_size(void **state)
{
	struct control_message m = {.type = CONTROL_READY};
	char longer[sizeof m + 1] = {0};

	(void)state;
	assert_int_equal(send(pair[0], &m, sizeof m - 1, 0), sizeof m - 1);
	assert_int_equal(control_recv(pair[1], &m, NULL, NULL), KB_E_FRAME);
	assert_int_equal(send(pair[0], longer, sizeof longer, 0), sizeof longer);
	assert_int_equal(control_recv(pair[1], &m, NULL, NULL), KB_E_FRAME);
}

static void test_control_end_of_file(void **state)
{
	struct control_message m;

	(void)state;
	close(pair[0]);
	assert_int_equal(control_recv(pair[1], &m, NULL, NULL), KB_E_FILE);
	assert_int_equal(control_send(pair[1], CONTROL_READY, 0, 0), KB_E_SYS);
	assert_int_equal(control_recv(-1, &m, NULL, NULL), KB_E_SYS);
	pair[0] = -1;
}

static void test_control_never_waits_for_a_deaf_process(void **state)
{
	enum kb_err err = KB_OK;

	(void)state;
	for (int i = 0; i < 100000 && err == KB_OK; i++)
		err = control_send(pair[0], CONTROL_LOST, 0, 0);
	assert_int_equal(err, KB_E_SYS);
}

/* ---- the first steps ---- */

/* In a child: descriptors as the supervisor places them, then process_begin(), then `look`. Returns
 * its exit code. */
static int begin(enum process_kind process, unsigned slot, int own,
		 int (*look)(const struct process_start *))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct process_start start = {
			.process = process, .slot = slot, .generation = 3, .config_path = "/x"};
		int control = fcntl(pair[1], F_DUPFD, 800), page = fcntl(own, F_DUPFD, 800);
		close(pair[0] == FD_CONTROL ? -1 : pair[0]);
		if (dup2(control, FD_CONTROL) < 0 || dup2(page, FD_PAGE) < 0)
			_exit(99);
		for (int i = 0; i < PROCESS_SLOTS; i++)
			if (dup2(pages.fd[i], FD_PAGES + i) < 0)
				_exit(98);
		enum kb_err err = process_begin(&start);
		_exit(err != KB_OK ? 100 + (err == KB_E_SYS ? 1 : 2) : look(&start));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status);
}

static bool is_ignored(int sig)
{
	struct sigaction a;

	return sigaction(sig, NULL, &a) == 0 && a.sa_handler == SIG_IGN;
}

static int look_at_all(const struct process_start *start)
{
	struct rlimit core;
	int death = 0;
	struct stat st;

	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return 1;
	if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_max != 0)
		return 2;
	if (prctl(PR_GET_PDEATHSIG, &death, 0, 0, 0) != 0 ||
	    death != (start->process == PROCESS_LEDGER ? 0 : SIGKILL))
		return 3;
	if (!is_ignored(SIGPIPE) || !is_ignored(SIGINT) || !is_ignored(SIGHUP) ||
	    is_ignored(SIGTERM) != (start->process != PROCESS_FETCHER))
		return 4;
	health_beat(start->health);
	stats_count(start->stats, COUNT_FETCHES, 1);
	if (atomic_load(&start->shared->page[5]->health.beats) != 1 ||
	    atomic_load(&start->shared->page[5]->stats.counter[COUNT_FETCHES]) != 1)
		return 5;
	if ((umask(0) & 027) != 027)
		return 6;
	/* Mapped and closed. */
	for (int fd = FD_PAGES; fd < FD_PAGES_END; fd++)
		if (fstat(fd, &st) == 0)
			return 7;
	return fstat(FD_PAGE, &st) == 0 ? 8 : 0;
}

static void make_pages(void)
{
	assert_int_equal(shared_create(&pages, FD_PAGES_END), KB_OK);
}

static void test_i04_process_begins_with_its_rights_taken(void **state)
{
	(void)state;
	for (enum process_kind r = PROCESS_GATEWAY; r < PROCESS_COUNT; r++) {
		make_pages();
		assert_int_equal(begin(r, 5, shared_open_own(&pages, 5), look_at_all), 0);
		pages_free();
	}
}

static void test_process_needs_its_page(void **state)
{
	int not_one = memfd_create("x", 0);

	(void)state;
	make_pages();
	assert_int_equal(begin(PROCESS_VAULT, 5, not_one, look_at_all), 101);
	assert_int_equal(begin(PROCESS_VAULT, 5, pages.fd[5], look_at_all), 101); /* to read */
	assert_int_equal(
		begin(PROCESS_VAULT, PROCESS_SLOTS, shared_open_own(&pages, 5), look_at_all), 102);
	pages_free();
	close(not_one);
}

static void test_process_ends_when_its_supervisor_is_gone(void **state)
{
	(void)state;
	make_pages();
	close(pair[0]);
	pair[0] = -1;
	assert_int_equal(begin(PROCESS_VAULT, 5, shared_open_own(&pages, 5), look_at_all), 101);
	pages_free();
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_control_message_arrives),
		T(test_control_digest_arrives_and_ends),
		T(test_control_descriptors_arrive),
		T(test_control_unwanted_descriptors_are_closed),
		T(test_i06_control_message_of_a_wrong_size),
		T(test_control_end_of_file),
		T(test_control_never_waits_for_a_deaf_process),
		T(test_i04_process_begins_with_its_rights_taken),
		T(test_process_needs_its_page),
		T(test_process_ends_when_its_supervisor_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
