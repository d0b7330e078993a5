/* tests/unit/supervisor/test_child.c — how the supervisor starts, watches and holds a process.  The
 * processes are this program again: spawn executes /proc/self/exe, and main() below acts as
 * --config names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "supervisor/child.h"

enum { WAIT_MS = 5000, ARCHIVE_SIZE = 3, FIRST_SIZE = 11, SECOND_SIZE = 22 };

/* ---- a process, as an exec of this program ---- */

static off_t size_of(int fd)
{
	return lseek(fd, 0, SEEK_END);
}

/* Exactly the descriptors of process.h, each the right one, and nothing else. */
static int look_at_descriptors(void)
{
	if (size_of(FD_ARCHIVE) != ARCHIVE_SIZE || size_of(FD_FIRST) != FIRST_SIZE ||
	    size_of(FD_FIRST + 1) != SECOND_SIZE)
		return 1;
	if (size_of(FD_PAGE) != (off_t)sizeof(struct page) ||
	    (fcntl(FD_PAGE, F_GETFL) & O_ACCMODE) != O_RDWR)
		return 2;
	for (int i = FD_FIRST + 2; i < 1024; i++) {
		int flags = fcntl(i, F_GETFL);
		bool is_page = i >= FD_PAGES && i < FD_PAGES_END;
		if (is_page ? flags < 0 || (flags & O_ACCMODE) != O_RDONLY : flags >= 0)
			return 3;
	}
	char path[64] = "";
	if (readlink("/proc/self/fd/0", path, sizeof path - 1) < 0 ||
	    strcmp(path, "/dev/null") != 0)
		return 4;
	struct sigaction a;
	sigset_t blocked;
	if (sigaction(SIGUSR2, NULL, &a) != 0 || a.sa_handler != SIG_DFL ||
	    sigprocmask(SIG_BLOCK, NULL, &blocked) != 0)
		return 5;
	return sigismember(&blocked, SIGTERM) == 0 ? 0 : 6;
}

static int act(char **argv)
{
	const char *how = argv[10];

	if (strcmp(argv[0], "keybrokerd: vault") != 0 || strcmp(argv[2], "vault") != 0 ||
	    strcmp(argv[8], "3") != 0)
		return 90;
	if (strncmp(how, "exit:", 5) == 0)
		return atoi(how + 5);
	if (strcmp(how, "descriptors") == 0)
		return look_at_descriptors();
	if (strcmp(how, "failed") == 0 &&
	    control_send(FD_CONTROL, CONTROL_FAILED, 0, KB_E_HSM_PIN) != KB_OK)
		return 91;
	if (strcmp(how, "garbage") == 0 && write(FD_CONTROL, "x", 1) != 1)
		return 92;
	if (strcmp(how, "silent") != 0 && control_send(FD_CONTROL, CONTROL_READY, 3, 0) != KB_OK)
		return 93;
	pause();
	return 94;
}

/* ---- the supervisor's side ---- */

static bool is_requests_closed; /* what processes send cannot be received */

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	errno = ENOBUFS;
	return is_requests_closed ? -1 : syscall(SYS_recvmsg, fd, message, flags);
}

static struct host host;
static struct child child;
static int archive, fds[2];
static unsigned readies;
static struct page *own;

static void on_ready(void *ctx, struct child *c)
{
	assert_ptr_equal(ctx, &host);
	assert_ptr_equal(c, &child);
	readies++;
}

static int sized(off_t size)
{
	int fd = memfd_create("x", MFD_CLOEXEC);

	return ftruncate(fd, size) == 0 ? fd : -1;
}

static int set_up(void **state)
{
	(void)state;
	host = (struct host){.base = event_base_new(),
			     .exe = spawn_exe(),
			     .on_ready = on_ready,
			     .ctx = &host,
			     .config_path = "ready"};
	if (getuid() == 0 && sandbox_find_user("nobody", &host.user) != KB_OK)
		return -1;
	readies = 0;
	archive = sized(ARCHIVE_SIZE);
	fds[0] = sized(FIRST_SIZE);
	fds[1] = sized(SECOND_SIZE);
	child_init(&child, &host, PROCESS_VAULT, 3, 0);
	return shared_create(&host.shared, FD_PAGES_END) == KB_OK && host.exe >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	if (child.pid > 0) {
		kill(child.pid, SIGKILL);
		waitpid(child.pid, NULL, 0);
		child.pid = 0;
	}
	child_release(&child);
	event_base_free(host.base);
	if (own != NULL)
		munmap(own, sizeof *own);
	own = NULL;
	shared_free(&host.shared);
	close(host.exe);
	close(archive);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

static void start(const char *how)
{
	host.config_path = how;
	child_start(&child, archive, fds, 2);
	assert_true(child.pid > 0);
}

static int wait_status(void)
{
	int status;

	assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
	return status;
}

static void run_until_ready(void)
{
	int64_t until_ms = clock_mono_ms() + WAIT_MS;

	while (!child.is_ready && clock_mono_ms() < until_ms)
		assert_true(event_base_loop(host.base, EVLOOP_NONBLOCK) >= 0);
	assert_true(child.is_ready);
}

/* As the process itself writes it. */
static struct process_health *health(void)
{
	assert_in_range(child.slot, SLOT_FIRST, PROCESS_SLOTS - 1);
	if (own == NULL) {
		int fd = shared_open_own(&host.shared, (unsigned)child.slot);
		own = mmap(NULL, sizeof *own, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		assert_true(own != MAP_FAILED);
		close(fd);
	}
	return &own->health;
}

static struct seat *seat(void)
{
	return &host.shared.board->seat[child.slot];
}

static void test_i05_child_gets_exactly_its_descriptors(void **state)
{
	int left_open =
		open("/dev/null", O_RDONLY); /* not close-on-exec, as a library may leave one */

	(void)state;
	signal(SIGUSR2, SIG_IGN);
	assert_true(fds[1] < FD_FIRST + 8); /* numbers to be filled are taken here */
	start("descriptors");
	assert_int_equal(wait_status(), 0);
	child.pid = 0;
	close(left_open);
}

static void test_child_reports_ready(void **state)
{
	(void)state;
	start("ready");
	assert_int_equal(atomic_load(&seat()->pid), child.pid);
	assert_int_equal(atomic_load(&seat()->kind), PROCESS_VAULT);
	assert_int_equal(atomic_load(&seat()->generation), 3);
	run_until_ready();
	assert_int_equal(readies, 1);
	assert_false(child_is_due(&child, clock_mono_ms()));
}

static void test_child_failed_message_is_not_ready(void **state)
{
	(void)state;
	start("failed"); /* sends READY afterwards */
	run_until_ready();
	child_signal(&child, SIGKILL);
	(void)child_ended(&child, wait_status(), true);
	assert_int_equal(readies, 1);
}

/* It is started as `how`, and killed for what it sends. */
static void assert_killed(const char *how)
{
	int status = 0;
	int64_t until_ms = clock_mono_ms() + WAIT_MS;

	start(how);
	while (waitpid(child.pid, &status, WNOHANG) != child.pid && clock_mono_ms() < until_ms)
		assert_true(event_base_loop(host.base, EVLOOP_NONBLOCK) >= 0);
	is_requests_closed = false;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	(void)child_ended(&child, status, false);
}

static void test_i06_child_that_sends_garbage_is_killed(void **state)
{
	(void)state;
	/* no process sends such a message: it is faulty, or an attacker runs it */
	assert_killed("garbage");
}

static void test_i06_child_that_cannot_be_heard_is_killed(void **state)
{
	(void)state;
	is_requests_closed = true;
	assert_killed("ready"); /* the lost message may be just that one */
	assert_int_equal(readies, 0);
}

static void test_i07_child_backs_off_and_resets(void **state)
{
	static const int64_t wait_ms[] = {100, 200, 400, 800, 1600, 3000, 3000, 3000, 3000};

	(void)state;
	for (size_t i = 0; i < sizeof wait_ms / sizeof wait_ms[0]; i++) {
		start("exit:1");
		(void)child_ended(&child, wait_status(), false);
		int64_t now_ms = clock_mono_ms();
		assert_true(child.next_ms - now_ms <= wait_ms[i] &&
			    child.next_ms - now_ms > wait_ms[i] - 100);
		assert_false(child_is_due(&child, child.next_ms - 1));
		assert_true(child_is_due(&child, child.next_ms));
	}
	assert_int_equal(
		atomic_load(
			&host.shared.board->retired[PROCESS_VAULT].stats.counter[COUNT_RESTARTS]),
		8);
	start("ready");
	run_until_ready();
	child.ready_ms -= 30000; /* healthy for long enough */
	child_signal(&child, SIGKILL);
	(void)child_ended(&child, wait_status(), false);
	assert_true(child.next_ms - clock_mono_ms() <= 100);
}

static void test_c04_child_with_a_refused_pin_is_never_started_again(void **state)
{
	(void)state;
	start("exit:40");
	(void)child_ended(&child, wait_status(), false);
	assert_int_equal(child.held, KB_E_HSM_PIN);
	assert_int_equal(atomic_load(&seat()->fault), KB_E_HSM_PIN);
	assert_false(child_is_due(&child, INT64_MAX));
}

/* Killed between the refusal and its exit: its page tells. */
static void test_c04_child_killed_after_a_refused_pin_is_held(void **state)
{
	(void)state;
	start("silent");
	atomic_store(&health()->pin_refused, 1);
	child_signal(&child, SIGKILL);
	(void)child_ended(&child, wait_status(), false);
	assert_int_equal(child.held, KB_E_HSM_PIN);
}

static void test_child_with_a_bad_configuration_is_held(void **state)
{
	(void)state;
	start("exit:41");
	(void)child_ended(&child, wait_status(), false);
	assert_int_equal(child.held, KB_E_CONFIG);
	assert_false(child_is_due(&child, INT64_MAX));
}

/* It was ready with this configuration before, so its HSM has a fault, not the configuration. */
static void test_c03_child_that_was_ready_is_not_held(void **state)
{
	(void)state;
	start("ready");
	run_until_ready();
	child_signal(&child, SIGKILL);
	(void)child_ended(&child, wait_status(), false);
	start("exit:41");
	(void)child_ended(&child, wait_status(), false);
	assert_int_equal(child.held, KB_OK);
	assert_true(child_is_due(&child, child.next_ms));
}

static void test_c08_child_takes_its_request_along(void **state)
{
	(void)state;
	start("ready");
	run_until_ready();
	health_busy(health(), 7, 0x0102);
	child_signal(&child, SIGKILL);
	struct lost_request lost = child_ended(&child, wait_status(), false);
	assert_true(lost.id == 0x0102 && lost.gateway == 7);
	assert_int_equal(atomic_load(&seat()->pid), 0);
	start("ready");
	child_signal(&child, SIGKILL);
	assert_true(child_ended(&child, wait_status(), false).id == 0);
}

static void test_child_fault_is_kept_until_it_is_ready_again(void **state)
{
	(void)state;
	start("ready");
	atomic_store(&health()->fault, KB_E_HSM_TOKEN);
	child_signal(&child, SIGKILL);
	(void)child_ended(&child, wait_status(), false);
	start("silent");
	assert_int_equal(atomic_load(&seat()->fault), KB_E_HSM_TOKEN);
	child_signal(&child, SIGKILL);
	(void)child_ended(&child, wait_status(), false);
	start("ready");
	run_until_ready();
	assert_int_equal(atomic_load(&seat()->fault), KB_OK);
}

/* The supervisor looks at it at that time. */
static bool is_killed_at(int64_t now_ms)
{
	bool was = child.is_killed;

	child_watch(&child, now_ms);
	return !was && child.is_killed;
}

static void test_c06_child_hung_in_a_request_is_killed(void **state)
{
	(void)state;
	start("ready");
	run_until_ready();
	int64_t now_ms = clock_mono_ms();
	assert_false(is_killed_at(now_ms + 60000)); /* idle is not hung */
	health_busy(health(), 0, 5);
	assert_false(is_killed_at(clock_mono_ms() + KB_HSM_CALL_MS - 1000));
	health_set(health(), HEALTH_HANDOVER); /* waiting for the ledger is not hung */
	assert_false(is_killed_at(now_ms + 60000));
	health_busy(health(), 0, 5);
	assert_true(is_killed_at(clock_mono_ms() + KB_HSM_CALL_MS + 1));
	int status = wait_status();
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_true(child_ended(&child, status, false).id == 5);
	assert_false(is_killed_at(now_ms + 60000));
}

/* At the start and between requests not the state but the call shows that it hangs. */
static void test_c06_child_hung_in_a_call_is_killed(void **state)
{
	(void)state;
	for (unsigned is_started = 0; is_started < 2; is_started++) {
		start(is_started ? "ready" : "silent");
		if (is_started)
			run_until_ready();
		int64_t now_ms = clock_mono_ms();
		atomic_store(&health()->call_since_ms, now_ms);
		assert_false(is_killed_at(now_ms + KB_HSM_CALL_MS - 1000));
		atomic_store(&health()->call_since_ms, 0);
		assert_false(is_killed_at(now_ms + KB_HSM_CALL_MS + 1));
		atomic_store(&health()->call_since_ms, now_ms);
		assert_true(is_killed_at(
			now_ms + KB_HSM_CALL_MS)); /* the client must have its answer by then */
		int status = wait_status();
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		(void)child_ended(&child, status, false);
		assert_int_equal(atomic_load(&seat()->fault), KB_E_HSM_DEVICE);
	}
}

/* From `now_ms` on, a look each 100 ms, until it is killed: how long that took; at most `most_ms`.
 */
static int64_t watch(int64_t now_ms, int64_t most_ms, bool has_beat)
{
	for (int64_t at_ms = 0; at_ms <= most_ms; at_ms += 100) {
		if (has_beat && at_ms % 10000 == 0)
			health_beat(health());
		if (is_killed_at(now_ms + at_ms))
			return at_ms;
	}
	return INT64_MAX;
}

static void end_it(void)
{
	int status = wait_status();

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	(void)child_ended(&child, status, false);
}

/* Whatever it is: nobody asks it anything, and it says that it is ready. */
static void test_i17_child_whose_loop_does_not_turn_is_killed(void **state)
{
	(void)state;
	start("ready");
	run_until_ready();
	health_set(health(), HEALTH_READY);
	const int64_t now_ms = clock_mono_ms();
	assert_true(watch(now_ms, 100000, true) == INT64_MAX);
	const int64_t took = watch(now_ms + 200000, 100000, false);
	assert_in_range(took, KB_HEARTBEAT_MS - 10500, KB_HEARTBEAT_MS + 500);
	end_it();
	assert_int_equal(atomic_load(&seat()->fault), KB_E_PROCESS_LOST);
	assert_int_equal(atomic_load(&host.shared.board->retired[PROCESS_SUPERVISOR]
					      .stats.counter[COUNT_KILLED_HUNG]),
			 1);
}

/* The supervisor itself did not run, or the machine slept: that is no silence of others. */
static void test_i17_child_is_not_blamed_for_the_supervisor(void **state)
{
	(void)state;
	start("ready");
	run_until_ready();
	health_set(health(), HEALTH_READY);
	int64_t now_ms = clock_mono_ms();
	for (unsigned i = 0; i < 20; i++)
		assert_false(is_killed_at(now_ms += 60000));
	assert_false(is_killed_at(now_ms - 1000000)); /* nor is a clock that goes back */
	/* One that waits for the ledger is not hung. */
	health_set(health(), HEALTH_HANDOVER);
	assert_true(watch(now_ms, 100000, false) == INT64_MAX);
}

/* A disk may take long for one sync. */
static void test_i17_ledger_has_longer_for_a_sync(void **state)
{
	(void)state;
	start("ready");
	run_until_ready();
	child.process = PROCESS_LEDGER;
	health_busy(health(), 0, 0);
	const int64_t took = watch(clock_mono_ms(), 100000, false);
	assert_in_range(took, KB_HEARTBEAT_SYNC_MS - 500, KB_HEARTBEAT_SYNC_MS + 500);
	child.process = PROCESS_VAULT;
	end_it();
}

/* Noise in its page: it may be killed for that, nothing else. */
static void test_i13_child_with_noise_in_its_page(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		start("ready");
		run_until_ready();
		memset(health(), i == 0 ? 0xff : 0x80, sizeof *own);
		(void)watch(clock_mono_ms(), 2 * KB_HEARTBEAT_MS, false);
		assert_true(child.is_killed);
		int status = wait_status();
		struct lost_request lost = child_ended(&child, status, false);
		assert_true(lost.id != 0); /* generation.c bounds its gateway */
		assert_true(atomic_load(&seat()->fault) < KB_ERR_COUNT);
		assert_int_equal(child.held, KB_E_HSM_PIN); /* it says so, of itself */
		child.held = KB_OK;
	}
}

static void test_child_that_never_gets_ready_is_killed(void **state)
{
	(void)state;
	start("silent");
	assert_false(is_killed_at(child.started_ms + 20000));
	assert_int_equal(kill(child.pid, 0), 0);
	assert_true(is_killed_at(child.started_ms + 20001));
	int status = wait_status();
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	(void)child_ended(&child, status, false);
}

static void test_g08_child_without_a_slot_backs_off(void **state)
{
	(void)state;
	for (int i = SLOT_FIRST; i < PROCESS_SLOTS; i++)
		assert_int_equal(shared_take(&host.shared, PROCESS_VAULT, 1), i);
	child_start(&child, archive, fds, 2);
	assert_int_equal(child.pid, 0);
	assert_false(child_is_due(&child, clock_mono_ms()));
	assert_true(child_is_due(&child, clock_mono_ms() + 100));
	assert_int_equal(child.control, -1);
}

static void test_child_exec_that_fails_is_an_exit(void **state)
{
	(void)state;
	close(host.exe);
	host.exe = open("/dev/null", O_RDONLY | O_CLOEXEC);
	start("ready");
	int status = wait_status();
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 127);
	(void)child_ended(&child, status, false);
	assert_int_equal(child.held, KB_OK);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_i05_child_gets_exactly_its_descriptors),
		T(test_child_reports_ready),
		T(test_child_failed_message_is_not_ready),
		T(test_i06_child_that_sends_garbage_is_killed),
		T(test_i06_child_that_cannot_be_heard_is_killed),
		T(test_i07_child_backs_off_and_resets),
		T(test_c04_child_with_a_refused_pin_is_never_started_again),
		T(test_c04_child_killed_after_a_refused_pin_is_held),
		T(test_child_with_a_bad_configuration_is_held),
		T(test_c03_child_that_was_ready_is_not_held),
		T(test_c08_child_takes_its_request_along),
		T(test_child_fault_is_kept_until_it_is_ready_again),
		T(test_c06_child_hung_in_a_request_is_killed),
		T(test_c06_child_hung_in_a_call_is_killed),
		T(test_i17_child_whose_loop_does_not_turn_is_killed),
		T(test_i17_child_is_not_blamed_for_the_supervisor),
		T(test_i17_ledger_has_longer_for_a_sync),
		T(test_i13_child_with_noise_in_its_page),
		T(test_child_that_never_gets_ready_is_killed),
		T(test_g08_child_without_a_slot_backs_off),
		T(test_child_exec_that_fails_is_an_exit),
	};

	/* started as a process: never run the tests again in it, whatever the arguments have
	 * become */
	if (argc > 1)
		return argc == 11 && strcmp(argv[1], "--process") == 0 ? act(argv) : 127;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
