/* tests/unit/process/test_sandbox.c — what each process can do in its sandbox.  Each act runs in a
 * child of its own, which enters the sandbox by the product's own function.  A forbidden call must
 * end it with SIGSYS, a forbidden file must be EACCES; outside the same act must succeed, or the
 * test could not fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "config/config.h"
#include "process/confine.h"
#include "process/sandbox.h"

static char dir[64];
static int dir_fd = -1, stream = -1;
static bool has_landlock;
static struct sockaddr_in listening; /* a socket of the test on loopback */

/* No accept: the backlog takes all connections of the tests. */
static int set_up(void **state)
{
	socklen_t len = sizeof listening;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	snprintf(dir, sizeof dir, "/tmp/keybroker-sandbox-XXXXXX");
	listening =
		(struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	has_landlock = sandbox_landlock() > 0;
	if (mkdtemp(dir) == NULL ||
	    bind(fd, (struct sockaddr *)&listening, sizeof listening) != 0 ||
	    listen(fd, 1024) != 0 || getsockname(fd, (struct sockaddr *)&listening, &len) != 0)
		return -1;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

/* ---- acts: 0, or errno ---- */

enum { OWN_FD = 200 };

static int outcome(long r)
{
	return r < 0 ? errno : 0;
}
static int open_passwd(void)
{
	return outcome(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}
static int openat_passwd(void)
{
	return outcome(openat(dir_fd, "../../etc/passwd", O_RDONLY | O_CLOEXEC));
}
static int write_elsewhere(void)
{
	return outcome(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
}
static int stat_passwd(void)
{
	struct stat st;
	return outcome(stat("/etc/passwd", &st));
}
/* The flag of glibc's fstat(): a filter sees it, and not the path. */
static int stat_passwd_empty(void)
{
	struct stat st;
	return outcome((int)syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", &st, AT_EMPTY_PATH));
}
static int socket_inet(void)
{
	return outcome(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}
static int socket_unix(void)
{
	return outcome(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}
static int socket_syslog(void)
{
	return outcome(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}
static int socket_packet(void)
{
	return outcome(socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}
static int connect_there(void)
{
	return outcome(connect(stream, (struct sockaddr *)&listening, sizeof listening));
}
static int bind_port(void)
{
	const struct sockaddr_in any = {.sin_family = AF_INET,
					.sin_addr = {htonl(INADDR_LOOPBACK)}};
	return outcome(bind(stream, (const struct sockaddr *)&any, sizeof any));
}
static int end_socket(void) /* of which others have the same end */
{
	long r = shutdown(stream, SHUT_RDWR);
	return r < 0 && errno == ENOTCONN ? 0 : outcome(r);
}
static int end_own_socket(void) /* a client's */
{
	long r = shutdown(OWN_FD, SHUT_RDWR);
	return r < 0 && errno == EBADF ? 0 : outcome(r);
}
static int other_number(void) /* for a socket that calls may be allowed on by its number */
{
	return outcome(fcntl(stream, F_DUPFD_CLOEXEC, 100));
}
static int run_true(void)
{
	char *const argv[] = {(char *)(uintptr_t) "true", NULL};
	return outcome(execv("/bin/true", argv));
}
static int fork_one(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	return outcome(pid);
}
static int vfork_one(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	return outcome(pid);
}
static void *nothing(void *arg)
{
	return arg;
}
static int start_thread(void)
{
	pthread_t t;
	int err = pthread_create(&t, NULL, nothing, NULL);
	return err != 0 ? err : pthread_join(t, NULL);
}
static int trace_parent(void)
{
	return outcome(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}
static int read_parent(void)
{
	char byte;
	struct iovec here = {&byte, 1}, there = {&dir, 1};
	return outcome(process_vm_readv(getpid(), &here, 1, &there, 1, 0));
}
static int undo_dumpable(void)
{
	return outcome(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}
static int undo_seccomp(void)
{
	return outcome(prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
}
static int io_uring(void)
{
	char params[512] = {0};
	return outcome(syscall(SYS_io_uring_setup, 1, params));
}
static int bpf(void)
{
	return outcome(syscall(SYS_bpf, 0, NULL, 0));
}
static int mount_it(void)
{
	return outcome(syscall(SYS_mount, "none", "/nowhere", "tmpfs", 0, NULL));
}
static int new_namespace(void)
{
	return outcome(unshare(CLONE_NEWUSER));
}
static int perf(void)
{
	return outcome(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
}
static int user_faults(void)
{
	return outcome(syscall(SYS_userfaultfd, 0));
}
static int keyring(void)
{
	return outcome(syscall(SYS_keyctl, 0, -3, 0));
}
static int memory_file(void)
{
	return outcome(memfd_create("x", MFD_CLOEXEC));
}
static int code_in_memory(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	return p == MAP_FAILED ? errno : 0;
}
static int memory_to_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? 255 : outcome(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}
static int signal_parent(void)
{
	return outcome(kill(getppid(), 0));
}
static int signal_thread(void)
{
	return outcome(syscall(SYS_tgkill, getppid(), getppid(), 0));
}
static int raise_limit(void)
{
	const struct rlimit r = {0, 0};
	return outcome(setrlimit(RLIMIT_CORE, &r));
}
static int change_user(void)
{
	return outcome(setuid(getuid()));
}
static int set_clock(void)
{
	return outcome(syscall(SYS_clock_settime, 9999, NULL));
}
static int link_here(void)
{
	int err = outcome(symlinkat("/etc/passwd", dir_fd, "link"));
	(void)unlinkat(dir_fd, "link", 0);
	return err;
}
static int change_mode(void)
{
	return outcome(chmod(dir, 0755));
}
static int terminal_input(void)
{
	return outcome(ioctl(0, TIOCSTI, "x"));
}
static int other_numbers(void)
{
#if defined(__x86_64__)
	long r;
	__asm__ volatile("int $0x80"
			 : "=a"(r)
			 : "a"(20L)
			 : "memory", "r8", "r9", "r10", "r11"); /* getpid of 32-bit programs */
	return r > 0 ? 0 : 255;
#else
	return syscall(-2) < 0 ? errno : 0;
#endif
}

/* ---- a child ---- */

enum { KILLED = 1000, SIGNALLED = 2000 }; /* SIGSYS; any other signal + its number */

static const struct sandbox_needs *needs_of(enum process_kind process)
{
	static struct sandbox_needs n;

	n = (struct sandbox_needs){.has_network = process == PROCESS_FETCHER,
				   .own_fd = process == PROCESS_GATEWAY ? OWN_FD : 0};
	if (process != PROCESS_GATEWAY)
		sandbox_need(&n, dir, true);
	if (process == PROCESS_FETCHER)
		sandbox_need(&n, "/etc/resolv.conf", false);
	if (process == PROCESS_FETCHER)
		sandbox_need(&n, "/etc/hosts", false);
	sandbox_need(&n, "/no/such/path", true); /* needs no rule */
	return &n;
}

/* PROCESS_NONE: outside of any sandbox. */
static int in_process(enum process_kind process, int (*act)(void))
{
	int status;

	stream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (process == PROCESS_SUPERVISOR &&
		    (sandbox_harden() != KB_OK || sandbox_enter_supervisor() != KB_OK))
			_exit(254);
		if (process > PROCESS_SUPERVISOR &&
		    (sandbox_harden() != KB_OK ||
		     sandbox_enter(process, needs_of(process)) != KB_OK))
			_exit(254);
		_exit(act());
	}
	assert_true(pid > 0);
	close(stream);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? KILLED : SIGNALLED + WTERMSIG(status);
	return WEXITSTATUS(status);
}

enum { OUT = 99, NO_FILE = EACCES }; /* OUT: not tested */
static const struct {
	const char *name;
	int (*act)(void);
	int gateway, vault, ledger, fetcher, supervisor; /* the expected result */
} acts[] = {
	{"open", open_passwd, KILLED, NO_FILE, NO_FILE, NO_FILE, 0},
	{"openat of a path with dots", openat_passwd, KILLED, NO_FILE, NO_FILE, NO_FILE, 0},
	{"a file elsewhere", write_elsewhere, KILLED, NO_FILE, NO_FILE, NO_FILE, OUT},
	{"stat", stat_passwd, KILLED, OUT, KILLED, OUT, 0},
	{"stat of a path, as if it were empty", stat_passwd_empty, ENOSYS, OUT, ENOSYS, OUT, 0},
	{"socket", socket_inet, KILLED, KILLED, KILLED, 0, 0},
	{"local socket", socket_unix, KILLED, KILLED, KILLED, EAFNOSUPPORT, 0},
	{"syslog", socket_syslog, KILLED, EACCES, KILLED, EAFNOSUPPORT, 0},
	{"packet socket", socket_packet, KILLED, KILLED, KILLED, KILLED, OUT},
	{"connect", connect_there, KILLED, KILLED, KILLED, 0, 0},
	{"bind", bind_port, KILLED, KILLED, KILLED, KILLED, 0},
	{"shutdown", end_socket, KILLED, KILLED, KILLED, 0, 0},
	{"shutdown of a client", end_own_socket, 0, KILLED, KILLED, 0, 0},
	{"fcntl, another number", other_number, KILLED, KILLED, KILLED, KILLED, 0},
	{"execve", run_true, KILLED, KILLED, KILLED, KILLED, 0},
	{"fork", fork_one, KILLED, KILLED, KILLED, KILLED, 0},
	{"clone of a process", vfork_one, KILLED, KILLED, KILLED, KILLED, 0},
	{"thread", start_thread, KILLED, KILLED, KILLED, 0, 0},
	{"ptrace", trace_parent, KILLED, KILLED, KILLED, KILLED, KILLED},
	{"process_vm_readv", read_parent, KILLED, KILLED, KILLED, KILLED, KILLED},
	{"prctl, dumpable again", undo_dumpable, KILLED, KILLED, KILLED, KILLED, 0},
	{"prctl, seccomp", undo_seccomp, KILLED, KILLED, KILLED, KILLED, OUT},
	{"io_uring_setup", io_uring, KILLED, KILLED, KILLED, KILLED, KILLED},
	{"bpf", bpf, KILLED, KILLED, KILLED, KILLED, KILLED},
	{"mount", mount_it, KILLED, KILLED, KILLED, KILLED, KILLED},
	{"unshare", new_namespace, KILLED, KILLED, KILLED, KILLED, KILLED},
	{"perf_event_open", perf, KILLED, KILLED, KILLED, KILLED, KILLED},
	{"userfaultfd", user_faults, KILLED, KILLED, KILLED, KILLED, KILLED},
	{"keyctl", keyring, KILLED, KILLED, KILLED, KILLED, KILLED},
	{"memfd_create", memory_file, KILLED, KILLED, KILLED, KILLED, 0},
	{"mmap of code", code_in_memory, KILLED, KILLED, KILLED, KILLED, 0},
	{"mprotect to code", memory_to_code, KILLED, KILLED, KILLED, KILLED, 0},
	{"kill", signal_parent, KILLED, KILLED, KILLED, KILLED, 0},
	{"tgkill", signal_thread, KILLED, KILLED, KILLED, KILLED, 0},
	{"setrlimit", raise_limit, KILLED, KILLED, KILLED, KILLED, 0},
	{"setuid", change_user, KILLED, KILLED, KILLED, KILLED, 0},
	{"clock_settime", set_clock, KILLED, KILLED, KILLED, KILLED, KILLED},
	{"symlink", link_here, KILLED, KILLED, KILLED, KILLED, OUT},
	{"chmod", change_mode, KILLED, KILLED, KILLED, KILLED, 0},
	{"ioctl", terminal_input, KILLED, KILLED, KILLED, KILLED, OUT},
	{"call by the numbers of 32 bits", other_numbers, OUT, OUT, OUT, OUT, OUT},
};
enum { ACTS = sizeof acts / sizeof acts[0] };

static void each_act(enum process_kind process, size_t offset)
{
	unsigned failed = 0;

	if (!sandbox_is_complete())
		skip(); /* not in this build */
	for (size_t i = 0; i < ACTS; i++) {
		int want;
		memcpy(&want, (const char *)&acts[i] + offset, sizeof want);
		if (want == OUT ||
		    (want == NO_FILE && acts[i].act != socket_syslog && !has_landlock))
			continue;
		int got = in_process(process, acts[i].act),
		    outside = in_process(PROCESS_NONE, acts[i].act);
		if (got != want)
			print_error("%s in %s: %d, expected %d\n", acts[i].name,
				    process_name(process), got, want);
		if (outside == KILLED || (want == NO_FILE && outside != 0))
			print_error("%s outside: %d\n", acts[i].name, outside);
		failed += got != want || outside == KILLED || (want == NO_FILE && outside != 0);
	}
	assert_int_equal(failed, 0);
}

#define COLUMN(process) offsetof(__typeof__(acts[0]), process)
static void test_i02_gateway_forbidden_acts(void **state)
{
	(void)state;
	each_act(PROCESS_GATEWAY, COLUMN(gateway));
}
static void test_i02_vault_forbidden_acts(void **state)
{
	(void)state;
	each_act(PROCESS_VAULT, COLUMN(vault));
}
static void test_i02_ledger_forbidden_acts(void **state)
{
	(void)state;
	each_act(PROCESS_LEDGER, COLUMN(ledger));
}
static void test_i02_fetcher_forbidden_acts(void **state)
{
	(void)state;
	each_act(PROCESS_FETCHER, COLUMN(fetcher));
}
static void test_i02_supervisor_forbidden_acts(void **state)
{
	(void)state;
	each_act(PROCESS_SUPERVISOR, COLUMN(supervisor));
}

/* The planted failure: outside of a sandbox these acts succeed.  If they did not, being killed
 * would prove nothing. */
static void test_i02_control_outside_acts_succeed(void **state)
{
	static int (*const possible[])(void) = {
		open_passwd,    openat_passwd, stat_passwd,   socket_inet, socket_unix,
		connect_there,  bind_port,     run_true,      fork_one,    vfork_one,
		start_thread,   trace_parent,  undo_dumpable, memory_file, code_in_memory,
		memory_to_code, signal_parent, signal_thread, raise_limit, change_user,
		change_mode,    link_here};

	(void)state;
	for (size_t i = 0; i < sizeof possible / sizeof possible[0]; i++)
		assert_int_equal(in_process(PROCESS_NONE, possible[i]), 0);
}

/* A call by another architecture's number must be refused: the 32-bit getpid is 20, which is writev
 * here. */
static void test_i02_other_architecture_is_killed(void **state)
{
	(void)state;
	if (!sandbox_is_complete())
		skip();
	for (enum process_kind r = PROCESS_SUPERVISOR; r < PROCESS_COUNT; r++) {
		int got = in_process(r, other_numbers);
		assert_true(got == KILLED ||
			    got == SIGNALLED +
					    SIGSEGV); /* SEGV: this kernel has no 32-bit programs */
	}
}

/* ---- what must still work ---- */

static int write_a_segment(void)
{
	struct stat st;
	char back[4];
	int fd = openat(dir_fd, "ledger.new",
			O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);

	if (fd < 0 || fchmod(fd, 0640) != 0 || write(fd, "line", 4) != 4 || fsync(fd) != 0 ||
	    fdatasync(fd) != 0)
		return 1;
	if (renameat(dir_fd, "ledger.new", dir_fd, "ledger-1.jsonl") != 0 || fsync(dir_fd) != 0)
		return 2;
	if (fd_stat(fd, &st) != 0 || st.st_size != 4 || pread(fd, back, 4, 0) != 4 ||
	    memcmp(back, "line", 4) != 0)
		return 3;
	if (ftruncate(fd, 0) != 0 || unlinkat(dir_fd, "ledger-1.jsonl", 0) != 0)
		return 4;
	log_event(LOG_ERROR, "test.still_logs", "fd", log_i64(fd), NULL);
	return 0;
}

static int use_a_token(void)
{
	char path[96];
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	snprintf(path, sizeof path, "%s/token.object", dir);
	FILE *f = fopen(path, "w+");
	if (f == NULL || fputs("object", f) < 0 || fflush(f) != 0)
		return 1;
	if (fcntl(fileno(f), F_SETLKW, &lock) != 0)
		return 2;
	lock.l_type = F_UNLCK;
	if (fcntl(fileno(f), F_SETLK, &lock) != 0 || fclose(f) != 0)
		return 3;
	return access(path, R_OK) == 0 && remove(path) == 0 ? 0 : 4;
}

static int fetch_something(void)
{
	struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM};
	char path[96], to[96];

	if (start_thread() != 0 || getaddrinfo("localhost", "443", &hints, &found) != 0)
		return 1;
	freeaddrinfo(found);
	if (connect_there() != 0)
		return 2;
	snprintf(path, sizeof path, "%s/.issuer.1.tmp", dir);
	snprintf(to, sizeof to, "%s/issuer.keys", dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd < 0 || write(fd, "{}", 2) != 2 || fsync(fd) != 0 || rename(path, to) != 0)
		return 3;
	return access("/etc/resolv.conf", F_OK) != 0 ||
			       open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC) >= 0
		       ? 0
		       : 4;
}

static int serve_a_client(void)
{
	int pair[2] = {stream, dir_fd}, on = 1;
	char text[64];
	time_t now = time(NULL);
	struct tm tm;

	(void)setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	void *p = malloc(8 * 1024 * 1024); /* mmap, munmap, and brk */
	if (p == NULL || gmtime_r(&now, &tm) == NULL ||
	    strftime(text, sizeof text, "%FT%TZ", &tm) == 0)
		return 1;
	free(p);
	log_event(LOG_ERROR, "test.still_logs", "when", text, NULL);
	return nanosleep(&(struct timespec){0, 1000}, NULL);
}

static void test_i02_processes_can_do_their_work(void **state)
{
	(void)state;
	assert_int_equal(in_process(PROCESS_LEDGER, write_a_segment), 0);
	assert_int_equal(in_process(PROCESS_VAULT, use_a_token), 0);
	assert_int_equal(in_process(PROCESS_FETCHER, fetch_something), 0);
	assert_int_equal(in_process(PROCESS_GATEWAY, serve_a_client), 0);
}

/* A vault with a network HSM's module: a wide list, and still no way to start or trace a process,
 * or to map code. */
static int network_vault(void)
{
	const struct sandbox_needs needs = {.has_network = true};

	if (sandbox_harden() != KB_OK || sandbox_enter(PROCESS_VAULT, &needs) != KB_OK)
		return 1;
	if (socket_inet() != 0 || socket_unix() != 0 || connect_there() != 0 || start_thread() != 0)
		return 2;
	return has_landlock && open_passwd() != EACCES ? 3 : 0;
}
static int network_vault_runs(void)
{
	return network_vault() != 0 ? 1 : run_true();
}
static int network_vault_traces(void)
{
	return network_vault() != 0 ? 1 : read_parent();
}
static int network_vault_makes_code(void)
{
	return network_vault() != 0 ? 1 : memory_to_code();
}

static void test_i02_vault_of_a_network_hsm(void **state)
{
	(void)state;
	if (!sandbox_is_complete())
		skip();
	assert_int_equal(in_process(PROCESS_NONE, network_vault), 0);
	assert_int_equal(in_process(PROCESS_NONE, network_vault_runs), KILLED);
	assert_int_equal(in_process(PROCESS_NONE, network_vault_traces), KILLED);
	assert_int_equal(in_process(PROCESS_NONE, network_vault_makes_code), KILLED);
}

static int abort_it(void)
{
	abort();
}
static int crash_it(void)
{
	signal(SIGSEGV, SIG_DFL);
	raise(SIGSEGV);
	return 0;
}

/* A process that finds a bug in itself ends by abort(), not as a breach of its sandbox. */
static void test_i02_abort_is_still_an_abort(void **state)
{
	(void)state;
	for (enum process_kind r = PROCESS_GATEWAY; r < PROCESS_COUNT; r++) {
		assert_int_equal(in_process(r, abort_it), SIGNALLED + SIGABRT);
		if (sandbox_is_complete())
			assert_int_equal(in_process(r, crash_it), SIGNALLED + SIGSEGV);
	}
}

static rlim_t limit_of(int what)
{
	struct rlimit r;

	return getrlimit((__rlimit_resource_t)what, &r) == 0 ? r.rlim_max : RLIM_INFINITY;
}
static int limits_are_low(void)
{
	return limit_of(RLIMIT_CORE) == 0 && limit_of(RLIMIT_NPROC) == 0 &&
			       limit_of(RLIMIT_MSGQUEUE) == 0
		       ? 0
		       : 1;
}
static int vault_limits(void)
{
	return limits_are_low() == 0 && limit_of(RLIMIT_NOFILE) == 64 ? 0 : 1;
}
static int ledger_limits(void)
{
	return limits_are_low() == 0 && limit_of(RLIMIT_NOFILE) == 256 &&
			       limit_of(RLIMIT_MEMLOCK) == 0 &&
			       limit_of(RLIMIT_DATA) != RLIM_INFINITY
		       ? 0
		       : 1;
}

static void test_i02_limits(void **state)
{
	(void)state;
	if (!sandbox_is_complete())
		skip();
	assert_int_equal(in_process(PROCESS_GATEWAY, limits_are_low), 0);
	assert_int_equal(in_process(PROCESS_VAULT, vault_limits), 0);
	assert_int_equal(in_process(PROCESS_LEDGER, ledger_limits), 0);
}

static int without_no_new_privs(void)
{
	const struct sandbox_needs none = {0};

	/* Only root may load a filter without it, and a process is never root. */
	if (getuid() == 0 && setuid(65534) != 0)
		return 255;
	return sandbox_enter(PROCESS_GATEWAY, &none) == KB_E_SYS ? 0 : 1;
}

static void test_i02_no_process_without_its_sandbox(void **state)
{
	(void)state;
	if (!sandbox_is_complete())
		skip();
	assert_int_equal(in_process(PROCESS_NONE, without_no_new_privs), 0);
}

/* A process that cannot be confined must end: its own preparations fail before the sandbox is
 * entered. */
static int beyond_a_path(enum process_kind process)
{
	static char state_dir[8192];
	struct config config = {.state_dir = state_dir};
	const struct process_start start = {.process = process};

	memset(state_dir, 'x', sizeof state_dir - 1);
	return confine_process(&start, &config, 0) == KB_E_FILE ? 0 : 1;
}
static int vault_beyond_a_path(void)
{
	return beyond_a_path(PROCESS_VAULT);
}
static int fetcher_beyond_a_path(void)
{
	return beyond_a_path(PROCESS_FETCHER);
}
static int without_standard_input(void)
{
	const struct process_start start = {.process = PROCESS_LEDGER};

	close(STDIN_FILENO);
	return confine_process(&start, NULL, 0) == KB_E_SYS ? 0 : 1;
}

static void test_i02_no_process_without_its_needs(void **state)
{
	(void)state;
	assert_int_equal(in_process(PROCESS_NONE, vault_beyond_a_path), 0);
	assert_int_equal(in_process(PROCESS_NONE, fetcher_beyond_a_path), 0);
	assert_int_equal(in_process(PROCESS_NONE, without_standard_input), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_i02_gateway_forbidden_acts),
		cmocka_unit_test(test_i02_vault_forbidden_acts),
		cmocka_unit_test(test_i02_ledger_forbidden_acts),
		cmocka_unit_test(test_i02_fetcher_forbidden_acts),
		cmocka_unit_test(test_i02_supervisor_forbidden_acts),
		cmocka_unit_test(test_i02_control_outside_acts_succeed),
		cmocka_unit_test(test_i02_other_architecture_is_killed),
		cmocka_unit_test(test_i02_processes_can_do_their_work),
		cmocka_unit_test(test_i02_vault_of_a_network_hsm),
		cmocka_unit_test(test_i02_abort_is_still_an_abort),
		cmocka_unit_test(test_i02_limits),
		cmocka_unit_test(test_i02_no_process_without_its_sandbox),
		cmocka_unit_test(test_i02_no_process_without_its_needs),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
