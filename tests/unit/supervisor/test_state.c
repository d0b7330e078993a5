/* tests/unit/supervisor/test_state.c — before the first process: directories, the pid file's lock,
 * listening sockets, rights, the service manager. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/sandbox.h"
#include "supervisor/listen.h"
#include "supervisor/notify.h"
#include "supervisor/state.h"

static char root[64], state_dir[96], ledger_dir[128], conf_path[128], conf_env[160], token_dir[128];
static char *environment[2];
static struct config config;
static struct sandbox_user user;
static char why[512];

static int set_up(void **state)
{
	(void)state;
	snprintf(root, sizeof root, "/tmp/keybroker-state-XXXXXX");
	if (mkdtemp(root) == NULL)
		return -1;
	snprintf(state_dir, sizeof state_dir, "%s/state", root);
	snprintf(ledger_dir, sizeof ledger_dir, "%s/ledger", state_dir);
	snprintf(conf_path, sizeof conf_path, "%s/softhsm2.conf", root);
	snprintf(conf_env, sizeof conf_env, "SOFTHSM2_CONF=%s", conf_path);
	snprintf(token_dir, sizeof token_dir, "%s/tokens", root);
	environment[0] = NULL;
	config = (struct config){
		.state_dir = state_dir, .ledger_dir = ledger_dir, .hsm_environment = environment};
	user = (struct sandbox_user){0};
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", root);
	return system(command);
}

static enum kb_err open_state(void)
{
	struct state s;
	enum kb_err err = state_open(&config, &user, &s, why);

	assert_int_equal(err == KB_OK, why[0] == '\0');
	state_close(&s);
	return err;
}

/* ---- the state directory ---- */

static void test_state_is_made_and_names_its_owner(void **state)
{
	struct state s;
	char path[160], pid[32] = "";
	struct stat st;

	(void)state;
	assert_int_equal(state_open(&config, &user, &s, why), KB_OK);
	assert_int_equal(stat(ledger_dir, &st), 0);
	assert_int_equal(st.st_mode & 07777 & ~0750u, 0);
	snprintf(path, sizeof path, "%s/keybrokerd.pid", state_dir);
	int fd = open(path, O_RDONLY);
	assert_true(read(fd, pid, sizeof pid - 1) > 0);
	assert_int_equal(atoi(pid), getpid());
	state_close(&s);
	assert_int_equal(pread(fd, pid, 1, 0), 0); /* after the end it is empty */
	close(fd);
	assert_int_equal(open_state(), KB_OK);
}

static void test_d07_state_second_broker_is_refused(void **state)
{
	struct state s;

	(void)state;
	assert_int_equal(state_open(&config, &user, &s, why), KB_OK);
	assert_int_equal(open_state(), KB_E_LEDGER_LOCKED);
	assert_non_null(strstr(why, "another broker (pid "));
	state_close(&s);
}

static void test_e04_state_writable_by_others(void **state)
{
	(void)state;
	assert_int_equal(mkdir(state_dir, 0750), 0);
	assert_int_equal(chmod(state_dir, 0770), 0);
	assert_int_equal(open_state(), KB_E_FILE_MODE);
	assert_non_null(strstr(why, "chmod 0750"));
	assert_int_equal(chmod(state_dir, 0750), 0);
	assert_int_equal(mkdir(ledger_dir, 0750), 0);
	assert_int_equal(chmod(ledger_dir, 0757), 0);
	assert_int_equal(open_state(), KB_E_FILE_MODE);
}

static void test_e04_state_symlinks(void **state)
{
	char path[160];

	(void)state;
	assert_int_equal(symlink("/tmp", state_dir), 0);
	assert_int_equal(open_state(), KB_E_FILE);
	assert_int_equal(unlink(state_dir), 0);
	assert_int_equal(mkdir(state_dir, 0750), 0);
	snprintf(path, sizeof path, "%s/keybrokerd.pid", state_dir);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_int_equal(open_state(), KB_E_FILE);
}

static void test_state_no_parent(void **state)
{
	char path[160], long_path[5000];

	(void)state;
	snprintf(path, sizeof path, "%s/none/state", root);
	config.state_dir = path;
	assert_int_equal(open_state(), KB_E_FILE);
	memset(long_path, 'x', sizeof long_path);
	long_path[sizeof long_path - 1] = '\0';
	config.state_dir = long_path;
	assert_int_equal(open_state(), KB_E_FILE);
}

/* As root: what the processes' user cannot use is reported before a process starts. */
static void test_state_of_another_user(void **state)
{
	(void)state;
	if (getuid() != 0)
		skip();
	assert_int_equal(sandbox_find_user("nobody", &user), KB_OK);
	assert_int_equal(open_state(), KB_E_FILE_MODE); /* the directory above is ours alone */
	assert_int_equal(chmod(root, 0755), 0);
	assert_int_equal(open_state(), KB_OK);
	assert_int_equal(chown(ledger_dir, 0, 0), 0);
	assert_int_equal(open_state(), KB_E_FILE_MODE);
	assert_non_null(strstr(why, "chown -R nobody"));
	assert_int_equal(geteuid(), 0);
	assert_int_equal(getegid(), 0);
}

static void test_state_token_directory_must_be_usable(void **state)
{
	(void)state;
	environment[0] = conf_env;
	config.hsm_environment = (char *[]){(char[]){"OTHER=1"}, conf_env, NULL};
	assert_int_equal(open_state(), KB_E_FILE_MODE); /* no such file */
	FILE *f = fopen(conf_path, "w");
	fprintf(f, "# a comment\ndirectories.tokendir = %s\nobjectstore.backend = file\n",
		token_dir);
	fclose(f);
	assert_int_equal(open_state(), KB_E_FILE_MODE);
	assert_non_null(strstr(why, token_dir));
	assert_int_equal(mkdir(token_dir, 0700), 0);
	assert_int_equal(open_state(), KB_OK);
	f = fopen(conf_path, "w");
	fprintf(f, "objectstore.backend = file\n"); /* it names no directory: no check */
	fclose(f);
	assert_int_equal(open_state(), KB_OK);
}

/* ---- listening ---- */

static void test_listen_addresses(void **state)
{
	static const char *const bad[] = {"",
					  "localhost:1",
					  "127.0.0.1",
					  "127.0.0.1:",
					  "127.0.0.1:65536",
					  "127.0.0.1:1x",
					  "127.0.0.1:-1",
					  "[::1",
					  "[::1]",
					  "::1:80",
					  "[::1:80",
					  "[]:1",
					  "256.0.0.1:1",
					  "0x7f.1:1",
					  ":1",
					  "127.0.0.1: 1",
					  "1.2.3:4"};
	int fd;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(listen_open(bad[i], &fd), KB_E_CONFIG);
		assert_int_equal(fd, -1);
	}
	assert_int_equal(listen_open("127.0.0.1:0", &fd), KB_OK);
	assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
	close(fd);
	if (listen_open("[::1]:0", &fd) == KB_OK) {
		int on = 0;
		socklen_t len = sizeof on;
		assert_int_equal(getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, &len), 0);
		assert_int_equal(on, 1);
		close(fd);
	}
}

static void test_listen_address_in_use(void **state)
{
	struct sockaddr_in where;
	socklen_t len = sizeof where;
	char address[32];
	int fd, other;

	(void)state;
	assert_int_equal(listen_open("127.0.0.1:0", &fd), KB_OK);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&where, &len), 0);
	snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(where.sin_port));
	assert_int_equal(listen_open(address, &other), KB_E_SYS);
	assert_int_equal(errno, EADDRINUSE);
	assert_int_equal(listen_open("192.0.2.1:1", &other), KB_E_SYS);
	close(fd);
}

/* ---- rights ---- */

static int in_child(int (*what)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(what());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int become_nobody(void)
{
	struct sandbox_user u;
	gid_t groups[4];

	if (sandbox_find_user("nobody", &u) != KB_OK || sandbox_become(&u) != KB_OK)
		return 1;
	if (getuid() != u.uid || getegid() != u.gid || getgroups(4, groups) != 0)
		return 2;
	if (setuid(0) == 0)
		return 3;
	return sandbox_become(&u) == KB_E_SYS ? 0 : 4; /* only root can drop to another user */
}

static void test_i04_sandbox_becomes_its_user_for_good(void **state)
{
	(void)state;
	if (getuid() != 0)
		skip();
	assert_int_equal(in_child(become_nobody), 0);
}

static void test_sandbox_users(void **state)
{
	struct sandbox_user u;
	const struct sandbox_user none = {0};

	(void)state;
	assert_int_equal(sandbox_find_user("no-such-user-here", &u), KB_E_CONFIG);
	assert_null(u.name);
	assert_int_equal(sandbox_find_user("root", &u), KB_E_CONFIG);
	assert_int_equal(sandbox_become(&none), getuid() == 0 ? KB_E_SYS : KB_OK);
}

static int harden(void)
{
	if (sandbox_harden() != KB_OK || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return 1;
	sandbox_oom(100); /* not allowed any more, or allowed: never fatal */
	if (sandbox_die_with_parent() != KB_OK || sandbox_close_from(3) != KB_OK)
		return 2;
	return sandbox_close_from(-1) == KB_OK ? 0 : 3;
}

static void test_i01_sandbox_hardens(void **state)
{
	(void)state;
	assert_int_equal(in_child(harden), 0);
}

/* ---- the service manager ---- */

static void expect_text(int fd, const char *want)
{
	char text[1024];
	ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);

	assert_true(n > 0);
	text[n] = '\0';
	if (strncmp(text, want, strlen(want)) != 0)
		fail_msg("%s", text);
}

static void test_notify_speaks_to_the_manager(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	(void)state;
	notify_init(); /* no NOTIFY_SOCKET: nothing happens */
	notify_ready("x");
	snprintf(a.sun_path, sizeof a.sun_path, "%s/notify", root);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", "relative", 1), 0);
	notify_init();
	notify_ready("x");
	assert_int_equal(setenv("NOTIFY_SOCKET", a.sun_path, 1), 0);
	notify_init();
	assert_null(getenv("NOTIFY_SOCKET"));
	notify_ready("serving");
	expect_text(fd, "READY=1\nSTATUS=serving\n");
	notify_reloading();
	expect_text(fd, "RELOADING=1\nMONOTONIC_USEC=");
	notify_stopping();
	expect_text(fd, "STOPPING=1\n");
	notify_watchdog(1000); /* the manager does not ask for it */
	assert_int_equal(recv(fd, &a, sizeof a, MSG_DONTWAIT), -1);
	close(fd);
	notify_stopping(); /* no listener: nothing happens */
}

static void test_i17_notify_watchdog(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char pid[24], byte;
	static const struct {
		const char *usec, *pid;
		bool is_ours;
	} row[] = {{"3000000", NULL, true}, {"3000000", "", true}, {"3000000", "1", false},
		   {"x", NULL, false},      {"", NULL, false},     {"0", NULL, false},
		   {"-1", NULL, false},     {"30s", NULL, false}};

	(void)state;
	snprintf(a.sun_path, sizeof a.sun_path, "%s/watchdog", root);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	snprintf(pid, sizeof pid, "%d", getpid());
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		setenv("NOTIFY_SOCKET", a.sun_path, 1);
		setenv("WATCHDOG_USEC", row[i].usec, 1);
		if (row[i].pid != NULL)
			setenv("WATCHDOG_PID", row[i].pid[0] == '\0' ? pid : row[i].pid, 1);
		notify_init();
		assert_true(getenv("WATCHDOG_USEC") == NULL && getenv("WATCHDOG_PID") == NULL);
		notify_watchdog(5000);
		if (!row[i].is_ours) {
			assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
			continue;
		}
		expect_text(fd, "WATCHDOG=1\n");
		notify_watchdog(5999); /* a third has not passed */
		assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
		notify_watchdog(6000);
		expect_text(fd, "WATCHDOG=1\n");
	}
	close(fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_state_is_made_and_names_its_owner),
		T(test_d07_state_second_broker_is_refused),
		T(test_e04_state_writable_by_others),
		T(test_e04_state_symlinks),
		T(test_state_no_parent),
		T(test_state_of_another_user),
		T(test_state_token_directory_must_be_usable),
		T(test_listen_addresses),
		T(test_listen_address_in_use),
		T(test_i04_sandbox_becomes_its_user_for_good),
		T(test_sandbox_users),
		T(test_i01_sandbox_hardens),
		T(test_notify_speaks_to_the_manager),
		T(test_i17_notify_watchdog),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
