/* tests/e2e/test_processes.c — the processes of a running broker, looked at from outside: their
 * rights, their descriptors, where the PIN is, and what becomes of one that does what it must
 * not.  Long: one instance serves all. */
#include "tests/e2e/check.h"
#include "tests/e2e/invariants.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static EVP_PKEY *kek;
static char *token;
static struct good good;
static bool is_complete; /* not a build with a sanitizer, which enters no sandbox */
static const uint8_t secret[32] = "canary-of-the-imported-key-7f3a";
static const char *const processes[] = {"process gateway", "process vault", "process ledger",
					"process fetcher"};
enum { PROCESSES = 4 };

static bool log_has(const char *text)
{
	char line[4096];
	bool found = false;
	FILE *f = fopen(in.log, "r");
	while (f != NULL && !found && fgets(line, sizeof line, f) != NULL)
		found = strstr(line, text) != NULL;
	if (f != NULL)
		fclose(f);
	return found;
}

static unsigned log_count(const char *text)
{
	char line[4096];
	unsigned n = 0;
	FILE *f = fopen(in.log, "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		n += strstr(line, text) != NULL;
	if (f != NULL)
		fclose(f);
	return n;
}

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = policy_platform(in.issuer_url);
	GOOD(instance_import(&in, "key", NULL, secret, sizeof secret, policy));
	free(policy);
	kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &token));
	good = (struct good){
		.ask = {.name = "key", .token = token},
		.want = {.root = in.root,
			 .host = "localhost",
			 .base_url = in.base_url,
			 .kek = kek,
			 .kek_kid = KID_PLATFORM},
		.plain = secret,
		.plain_len = sizeof secret,
	};
	GOOD(broker_start(&in));
	GOOD(invariants_begin(&in, &good));
	is_complete = !log_has("\"event\":\"sandbox.incomplete\"");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(kek);
	free(token);
	GOOD(instance_end(&in));
	return 0;
}

static const char *release_once(void)
{
	struct released got;
	struct link *l;
	const char *why = link_open(&in.at, &l);
	if (why == NULL) {
		why = guest_release(l, &good.ask, &good.want, &got);
		released_free(&got);
	}
	link_close(l);
	return why;
}

static const char *release_within(unsigned ms)
{
	const char *why;
	unsigned long long end = now_ms() + ms;
	while ((why = release_once()) != NULL && now_ms() < end)
		sleep_ms(50);
	return why;
}

static pid_t process_of(const char *name, unsigned nth)
{
	for (unsigned long long end = now_ms() + 10000; now_ms() < end; sleep_ms(20)) {
		pid_t pid = broker_process(&in, name, nth);
		if (pid != 0)
			return pid;
	}
	fail_msg("%s does not run", name);
	return 0;
}

/* Another process of that name than `old`, and the broker ready. */
static void wait_for_another(const char *name, pid_t old)
{
	unsigned long long end = now_ms() + READY_MS;
	pid_t now;
	while (((now = broker_process(&in, name, 0)) == 0 || now == old) && now_ms() < end)
		sleep_ms(20);
	assert_true(now != 0 && now != old);
	GOOD(broker_wait_ready(&in, READY_MS));
	GOOD(release_within(READY_MS));
}

/* ---- rights ---- */

/* A line of /proc/PID/status after its name and tab, in a static buffer. */
static const char *status_of(pid_t pid, const char *name)
{
	static char line[512];
	char path[64];
	size_t n = strlen(name);
	bool found = false;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	while (!found && fgets(line, sizeof line, f) != NULL)
		found = strncmp(line, name, n) == 0 && line[n] == ':';
	fclose(f);
	assert_true(found);
	line[strcspn(line, "\n")] = '\0';
	return line + n + 1 + strspn(line + n + 1, "\t ");
}

static void has_no_rights(pid_t pid)
{
	static const char *const none[] = {"CapInh", "CapPrm", "CapEff", "CapAmb"};
	unsigned uid[4], gid[4];
	assert_int_equal(
		sscanf(status_of(pid, "Uid"), "%u %u %u %u", &uid[0], &uid[1], &uid[2], &uid[3]),
		4);
	assert_int_equal(
		sscanf(status_of(pid, "Gid"), "%u %u %u %u", &gid[0], &gid[1], &gid[2], &gid[3]),
		4);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(uid[i] != 0 && gid[i] != 0);
		assert_string_equal(status_of(pid, none[i]), "0000000000000000");
	}
	if (geteuid() == 0)
		assert_string_equal(status_of(pid, "Groups"), "");
	assert_string_equal(status_of(pid, "NoNewPrivs"), "1");
	assert_string_equal(status_of(pid, "Seccomp"), is_complete ? "2" : "0");
}

static void test_i04_every_process_has_no_rights(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PROCESSES; i++)
		has_no_rights(process_of(processes[i], 0));
	has_no_rights(process_of("process vault", 1));
	assert_true(strtol(status_of(process_of("process vault", 0), "VmLck"), NULL, 10) > 0);
	assert_true(strtol(status_of(process_of("process vault", 1), "VmLck"), NULL, 10) > 0);
	/* The supervisor is root's when we are, and can gain nothing more. */
	assert_string_equal(status_of(in.broker, "NoNewPrivs"), "1");
	assert_string_equal(status_of(in.broker, "Seccomp"), is_complete ? "2" : "0");
	GOOD(invariants_hold(&in));
}

/* ---- descriptors ---- */

enum { KINDS = 8 };
static const char *const kinds[KINDS] = {"null", "log", "socket", "eventpoll",
					 "pipe", "pin", "ledger", "segment"};

static const char *kind_of(const char *target)
{
	const char *end = strrchr(target, '/');
	end = end == NULL ? target : end + 1;
	if (strcmp(target, "/dev/null") == 0)
		return "null";
	if (strcmp(target, in.log) == 0)
		return "log";
	if (strncmp(target, "socket:", 7) == 0)
		return "socket";
	if (strncmp(target, "pipe:", 5) == 0)
		return "pipe";
	if (strcmp(target, "anon_inode:[eventpoll]") == 0)
		return "eventpoll";
	if (strcmp(end, "pin") == 0)
		return "pin";
	if (strcmp(end, "ledger") == 0)
		return "ledger";
	return strncmp(end, "ledger-", 7) == 0 ? "segment" : target;
}

/* "null 1, log 2, …" of what the process has open, in the order of `kinds`; what is of no kind
 * comes last. */
static void describe(pid_t pid, char *out, size_t size)
{
	char path[64], link[96], target[512];
	unsigned count[KINDS] = {0};
	size_t n = 0;
	char other[512] = "";
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(link, sizeof link, "%s/%.16s", path, e->d_name);
		ssize_t len = readlink(link, target, sizeof target - 1);
		if (len < 0)
			continue;
		target[len] = '\0';
		unsigned k = 0;
		while (k < KINDS && strcmp(kind_of(target), kinds[k]) != 0)
			k++;
		if (k < KINDS)
			count[k]++;
		else
			snprintf(other, sizeof other, ", %.400s", target);
	}
	closedir(d);
	*out = '\0';
	for (unsigned k = 0; k < KINDS; k++)
		if (count[k] > 0)
			n += (size_t)snprintf(out + n, size - n, "%s%s %u", n == 0 ? "" : ", ",
					      kinds[k], count[k]);
	snprintf(out + n, size - n, "%s", other);
}

/* The documented list ("gateway: null 4, log 2, …"), from the comment that has it, whatever its
 * line breaks are. */
static bool documented(const char *process, char *out, size_t size)
{
	static char text[65536];
	char start[32];
	size_t len = 0, n = 0;
	FILE *f = fopen("broker/process/process.h", "r");
	assert_non_null(f);
	for (int c, last = ' '; (c = getc(f)) != EOF && len < sizeof text - 1;) {
		c = isspace(c) || c == '*' ? ' ' : c;
		if (c != ' ' || last != ' ')
			text[len++] = (char)c;
		last = c;
	}
	fclose(f);
	text[len] = '\0';
	snprintf(start, sizeof start, " %s: null ", process);
	const char *at = strstr(text, start);
	at = at == NULL ? "" : at + strlen(process) + 3;
	for (bool goes_on = true; goes_on;) {
		int used = 0;
		(void)sscanf(at + n, "%*[a-z] %*u%n", &used);
		goes_on = used > 0 && at[n + (size_t)used] == ',';
		n += (size_t)used + (goes_on ? 2 : 0);
	}
	snprintf(out, size, "%.*s", (int)n, at);
	return n > 0;
}

static void test_i05_descriptors_are_the_documented_ones(void **state)
{
	(void)state;
	char want[512], got[1024];
	if (geteuid() != 0)
		skip(); /* only root can look: the processes are undumpable */
	for (unsigned i = 0; i < PROCESSES; i++) {
		pid_t pid = process_of(processes[i], 0);
		assert_true(documented(processes[i] + strlen("process "), want, sizeof want));
		/* A client's connection or a fetch may still be there for a moment. */
		for (unsigned long long end = now_ms() + 10000; now_ms() < end; sleep_ms(100)) {
			describe(pid, got, sizeof got);
			if (strcmp(got, want) == 0)
				break;
		}
		if (strcmp(got, want) != 0)
			fail_msg("%s has %s, and should have %s", processes[i] + strlen("process "),
				 got, want);
	}
	GOOD(invariants_hold(&in));
}

/* ---- the PIN in memory ---- */

struct hits {
	unsigned locked, unlocked;
};

/* Where these bytes are in a process, by the flags of their mapping ("lo": locked). */
static struct hits search(pid_t pid, const void *bytes, size_t len)
{
	char path[64], line[512];
	struct hits found = {0};
	unsigned long long from = 0, to = 0;
	char rights[8] = "";
	unsigned here = 0;
	snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
	int mem = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
	FILE *f = fopen(path, "r");
	assert_true(mem >= 0 && f != NULL);
	while (fgets(line, sizeof line, f) != NULL) {
		unsigned long long a, b;
		char r[8];
		if (sscanf(line, "%llx-%llx %7s", &a, &b, r) == 3) {
			from = a, to = b, here = 0;
			memcpy(rights, r, sizeof rights);
			uint8_t *copy = rights[0] == 'r' && to - from < (256u << 20)
						? malloc((size_t)(to - from))
						: NULL;
			ssize_t n = copy == NULL
					    ? -1
					    : pread(mem, copy, (size_t)(to - from), (off_t)from);
			for (const uint8_t *p = copy;
			     n > 0 && (p = memmem(p, (size_t)(copy + n - p), bytes, len)) != NULL;
			     p++)
				here++;
			free(copy);
		} else if (strncmp(line, "VmFlags:", 8) == 0 && here > 0) {
			if (strstr(line, " lo ") != NULL || strstr(line, " lo\n") != NULL)
				found.locked += here;
			else
				found.unlocked += here;
		}
	}
	fclose(f);
	close(mem);
	return found;
}

static void test_i03_pin_is_only_in_locked_memory(void **state)
{
	(void)state;
	char pin[256], path[128];
	if (geteuid() != 0)
		skip(); /* only root can look: the processes are undumpable */
	snprintf(path, sizeof path, "%s/hsm/pin", in.dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, pin, sizeof pin - 1);
	close(fd);
	assert_true(n >= 32);
	while (n > 0 && pin[n - 1] == '\n')
		n--;
	for (unsigned i = 0; i < 10; i++)
		GOOD(release_once());
	sleep_ms(1000);
	for (unsigned nth = 0; nth < 2; nth++) {
		pid_t vault = process_of("process vault", nth);
		/* The search finds what is there: a name out of the configuration, in ordinary
		 * memory. */
		struct hits control = search(vault, "pkcs11:token=keybroker", 22),
			    of_pin = search(vault, pin, (size_t)n),
			    of_key = search(vault, secret, sizeof secret - 1);
		assert_true(control.unlocked > 0);
		/* One, in the arena of secrets: a lost session logs in again.  Copies of the
		 * module's and of ours are wiped. */
		assert_int_equal(of_pin.unlocked, 0);
		assert_true(of_pin.locked <= 1);
		assert_int_equal(of_key.unlocked + of_key.locked, 0);
	}
	for (unsigned i = 0; i < PROCESSES; i++) {
		if (i == 1)
			continue;
		struct hits of_pin = search(process_of(processes[i], 0), pin, (size_t)n),
			    of_key = search(process_of(processes[i], 0), secret, sizeof secret - 1);
		assert_int_equal(of_pin.unlocked + of_pin.locked + of_key.unlocked + of_key.locked,
				 0);
	}
	GOOD(invariants_hold(&in));
}

/* ---- attaching, memory, cores ---- */

/* By a process of the process's own user: 0, or errno, of attaching and of opening its memory. */
static void try_to_look(pid_t pid, int *attached, int *opened)
{
	unsigned uid, gid;
	int status, fds[2], result[2] = {255, 255};
	char path[64];
	assert_int_equal(sscanf(status_of(pid, "Uid"), "%u", &uid), 1);
	assert_int_equal(sscanf(status_of(pid, "Gid"), "%u", &gid), 1);
	assert_int_equal(pipe(fds), 0);
	pid_t child = fork();
	if (child == 0) {
		if (geteuid() == 0 &&
		    (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0))
			_exit(1);
		snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
		result[1] = open(path, O_RDONLY | O_CLOEXEC) < 0 ? errno : 0;
		result[0] = ptrace(PTRACE_ATTACH, pid, NULL, NULL) < 0 ? errno : 0;
		if (result[0] == 0 && waitpid(pid, &status, __WALL) == pid)
			ptrace(PTRACE_DETACH, pid, NULL, NULL);
		_exit(write(fds[1], result, sizeof result) == sizeof result ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(read(fds[0], result, sizeof result), sizeof result);
	close(fds[0]);
	close(fds[1]);
	*attached = result[0];
	*opened = result[1];
}

static void test_i01_nobody_attaches_or_reads_memory(void **state)
{
	(void)state;
	int attached, opened;
	for (unsigned i = 0; i < PROCESSES; i++) {
		try_to_look(process_of(processes[i], 0), &attached, &opened);
		assert_int_equal(attached, EPERM);
		assert_true(opened == EACCES || opened == EPERM);
	}
	/* The control: an ordinary process of that user lets itself be looked at. */
	unsigned uid, gid;
	assert_int_equal(sscanf(status_of(process_of("process vault", 0), "Uid"), "%u", &uid), 1);
	assert_int_equal(sscanf(status_of(process_of("process vault", 0), "Gid"), "%u", &gid), 1);
	char *const argv[] = {(char *)(uintptr_t) "sleep", (char *)(uintptr_t) "60", NULL};
	pid_t plain = fork();
	if (plain == 0) {
		if (geteuid() == 0 &&
		    (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0))
			_exit(1);
		execv("/bin/sleep", argv); /* dumpable again, after another user's id */
		_exit(1);
	}
	for (unsigned long long end = now_ms() + 5000;
	     now_ms() < end && strcmp(status_of(plain, "Name"), "sleep") != 0;)
		sleep_ms(10);
	try_to_look(plain, &attached, &opened);
	kill(plain, SIGKILL);
	waitpid(plain, NULL, 0);
	assert_int_equal(attached, 0);
	assert_int_equal(opened, 0);
	GOOD(invariants_hold(&in));
}

static unsigned cores_in(const char *dir)
{
	unsigned n = 0;
	DIR *d = opendir(dir);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		n += strcmp(e->d_name, "core") == 0 || strncmp(e->d_name, "core.", 5) == 0;
	if (d != NULL)
		closedir(d);
	return n;
}

static void test_i01_crash_leaves_no_core(void **state)
{
	(void)state;
	char limits[64], line[256];
	for (unsigned i = 0; i < PROCESSES; i++) {
		pid_t pid = process_of(processes[i], 0);
		bool is_zero = false;
		snprintf(limits, sizeof limits, "/proc/%d/limits", (int)pid);
		FILE *f = fopen(limits, "r");
		assert_non_null(f);
		while (!is_zero && fgets(line, sizeof line, f) != NULL) {
			char soft[32] = "", hard[32] = "";
			is_zero = sscanf(line, "Max core file size %31s %31s", soft, hard) == 2 &&
				  strcmp(soft, "0") == 0 && strcmp(hard, "0") == 0;
		}
		fclose(f);
		assert_true(is_zero);
	}
	unsigned before = cores_in(".") + cores_in(in.dir) + cores_in("/");
	if (geteuid() == 0 && is_complete) { /* a sanitizer takes the signal for itself */
		for (unsigned i = 0; i < PROCESSES; i++) {
			pid_t pid = process_of(processes[i], 0);
			assert_int_equal(kill(pid, SIGSEGV), 0);
			wait_for_another(processes[i], pid);
		}
	}
	assert_int_equal(cores_in(".") + cores_in(in.dir) + cores_in("/"), before);
	GOOD(invariants_hold(&in));
}

/* ---- forbidden calls, in the running processes ---- */

/* A process that is killed for a forbidden call is logged as such, counted, and started again with
 * the same back-off as one that crashed. */
static void test_i02_killed_process_is_seen(void **state)
{
	(void)state;
	double before = metric(&in, "keybroker_killed_forbidden_total");
	unsigned told = log_count("\"event\":\"process.forbidden_call\"");
	pid_t pid = process_of("process fetcher", 0);
	assert_true(before >= 0);
	assert_int_equal(kill(pid, SIGSYS), 0);
	wait_for_another("process fetcher", pid);
	assert_true(metric(&in, "keybroker_killed_forbidden_total") == before + 1);
	assert_int_equal(log_count("\"event\":\"process.forbidden_call\""), told + 1);
	GOOD(invariants_hold(&in));
}

#if defined(__x86_64__)
/* Have a process make a call that it would never make: the debugger's right to do so is root's
 * alone.  Returns the signal that ended it, 0 when it still runs. */
static int make_it_call(pid_t pid, long call, long a, long b, long c)
{
	struct user_regs_struct r;
	int status;
	assert_int_equal(ptrace(PTRACE_ATTACH, pid, NULL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
	assert_int_equal(ptrace(PTRACE_GETREGS, pid, NULL, &r), 0);
	long code = ptrace(PTRACE_PEEKTEXT, pid, (void *)(uintptr_t)(r.rip - 2), NULL);
	if ((code & 0xffff) != 0x050f) { /* it was not waiting in a call */
		ptrace(PTRACE_DETACH, pid, NULL, NULL);
		return -1;
	}
	r.rip -= 2;
	r.rax = (unsigned long long)call;
	r.orig_rax = (unsigned long long)-1; /* nothing is to be restarted */
	r.rdi = (unsigned long long)a;
	r.rsi = (unsigned long long)b;
	r.rdx = (unsigned long long)c;
	r.r10 = r.r8 = r.r9 = 0;
	assert_int_equal(ptrace(PTRACE_SETREGS, pid, NULL, &r), 0);
	assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
	for (unsigned stops = 0; waitpid(pid, &status, __WALL) == pid; stops++) {
		if (WIFSIGNALED(status))
			return WTERMSIG(status);
		if (WIFEXITED(status))
			return 0;
		int sig = WSTOPSIG(status);
		if (sig == SIGTRAP && stops >= 2) { /* the call is over, and it still runs */
			kill(pid, SIGKILL);
			waitpid(pid, &status, __WALL);
			return 0;
		}
		ptrace(PTRACE_SYSCALL, pid, NULL,
		       (void *)(intptr_t)(sig == SIGTRAP || sig == SIGSTOP ? 0 : sig));
	}
	return 0;
}

static int call_in(unsigned process, long call, long a, long b, long c)
{
	int sig = -1;
	pid_t pid = 0;
	for (unsigned long long end = now_ms() + 10000; sig < 0 && now_ms() < end; sleep_ms(30)) {
		pid = process_of(processes[process], 0);
		if (strcmp(status_of(pid, "Seccomp_filters"), "2") ==
		    0) /* the supervisor's and its own: it is in its sandbox */
			sig = make_it_call(pid, call, a, b, c);
	}
	wait_for_another(processes[process], pid);
	return sig;
}

static void test_i02_running_processes_are_killed(void **state)
{
	(void)state;
	static const struct {
		unsigned process;
		long call, a, b, c;
	} acts[] = {
		{0, SYS_openat, AT_FDCWD, 0, 0}, {0, SYS_socket, 2, 1, 0},
		{0, SYS_execve, 0, 0, 0},        {1, SYS_execve, 0, 0, 0},
		{1, SYS_connect, 0, 0, 0},       {1, SYS_ptrace, 0, 0, 0},
		{2, SYS_fork, 0, 0, 0},          {2, SYS_socket, 2, 1, 0},
		{3, SYS_ptrace, 0, 0, 0},        {3, SYS_execve, 0, 0, 0},
	};
	if (geteuid() != 0 || !is_complete)
		skip();
	for (unsigned i = 0; i < sizeof acts / sizeof acts[0]; i++) {
		int sig = call_in(acts[i].process, acts[i].call, acts[i].a, acts[i].b, acts[i].c);
		if (sig != SIGSYS)
			fail_msg("%s, call %ld: ended by signal %d", processes[acts[i].process],
				 acts[i].call, sig);
	}
	/* The control: a call that is allowed goes through the same way, and the process runs on
	 * until the test kills it. */
	assert_int_equal(call_in(0, SYS_getppid, 0, 0, 0), 0);
	GOOD(invariants_hold(&in));
}
#endif

/* ---- limits of the system ---- */

/* The broker under `limits` (for bash), beside the one that runs and so has the state directory:
 * its exit status; *out what it said. */
static int start_under(const char *limits, char **out)
{
	char command[512];
	snprintf(command, sizeof command, "%s && exec %s -c %s", limits, program("keybrokerd"),
		 in.config);
	return run_program(out, (const char *const[]){"/bin/bash", "-c", command, NULL});
}

static void test_g07_limits_too_small_are_refused_at_start(void **state)
{
	(void)state;
	static const struct {
		const char *limits, *says;
	} cases[] = {
		{"ulimit -l 64", "the limit of locked memory"},
		{"ulimit -u 7", "the limit of processes"},
		{"ulimit -v 500000", "the limit of address space"},
		{"ulimit -n 200", "the limit of open files"},
	};
	char *out = NULL;
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (!is_complete && strstr(cases[i].limits, "-v") != NULL)
			continue; /* a sanitizer reserves terabytes of address space */
		int status = start_under(cases[i].limits, &out);
		if (status != 1 || strstr(out, cases[i].says) == NULL)
			fail_msg("%s: status %d, %s", cases[i].limits, status, out);
		free(out);
	}
	/* The control: limits that suffice; then it stops because the broker of this test has the
	 * state directory. */
	assert_int_equal(
		start_under(is_complete ? "ulimit -l 512 && ulimit -v 1048576 && ulimit -n 17000"
					: "ulimit -l 512 && ulimit -n 17000",
			    &out),
		1);
	assert_non_null(strstr(out, "another broker"));
	free(out);
	GOOD(invariants_hold(&in));
}

/* As root the broker needs a user for its processes, or does not start. */
static void test_i04_root_without_a_user_is_refused_at_start(void **state)
{
	(void)state;
	static const struct {
		const char *user, *says; /* NULL: none is named */
	} cases[] = {{NULL, "no \"user\" is named"},
		     {"keybroker-nobody-such", "does not exist"},
		     {"root", "must not be root"}};
	if (geteuid() != 0)
		skip();
	json_t *config = instance_json(&in, "keybroker.json");
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char *out = NULL;
		json_t *changed = json_deep_copy(config);
		json_object_del(changed, "user");
		if (cases[i].user != NULL)
			json_object_set_new(changed, "user", json_string(cases[i].user));
		GOOD(instance_json_write(&in, "keybroker.json", changed));
		int status = start_under("true", &out);
		if (status != 1 || strstr(out, cases[i].says) == NULL)
			fail_msg("%s: status %d, %s", cases[i].says, status, out);
		free(out);
	}
	GOOD(instance_json_write(&in, "keybroker.json", config));
	GOOD(invariants_hold(&in));
}

static void test_g08_no_process_can_be_made(void **state)
{
	(void)state;
	struct rlimit before;
	assert_int_equal(prlimit(in.broker, RLIMIT_NPROC, NULL, &before), 0);
	const struct rlimit none = {0, before.rlim_max};
	unsigned failed = log_count("\"event\":\"spawn.exec\"") +
			  log_count("\"event\":\"process.start_failed\"");
	pid_t first = process_of("process vault", 0), second = process_of("process vault", 1);
	assert_int_equal(prlimit(in.broker, RLIMIT_NPROC, &none, NULL), 0);
	kill(first, SIGKILL);
	kill(second, SIGKILL);
	sleep_ms(4000);
	unsigned tries = 0;
	for (unsigned long long end = now_ms() + 30000; tries < 3 && now_ms() < end; sleep_ms(50))
		tries = log_count("\"event\":\"spawn.exec\"") +
			log_count("\"event\":\"process.start_failed\"") - failed;
	assert_int_equal(prlimit(in.broker, RLIMIT_NPROC, &before, NULL), 0);
	/* It tried again, and ever more slowly: 0.1 s, 0.2 s, 0.4 s …  Without back-off it would be
	 * 40 of each at least. */
	assert_in_range(tries, 3, 24);
	assert_int_equal(metrics_get(&in, "/healthz", NULL), 200);
	GOOD(broker_wait_ready(&in, READY_MS));
	GOOD(release_within(READY_MS));
	GOOD(invariants_hold(&in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_i04_every_process_has_no_rights),
		cmocka_unit_test(test_i05_descriptors_are_the_documented_ones),
		cmocka_unit_test(test_i03_pin_is_only_in_locked_memory),
		cmocka_unit_test(test_i01_nobody_attaches_or_reads_memory),
		cmocka_unit_test(test_i02_killed_process_is_seen),
#if defined(__x86_64__)
		cmocka_unit_test(test_i02_running_processes_are_killed),
#endif
		cmocka_unit_test(test_i01_crash_leaves_no_core),
		cmocka_unit_test(test_g07_limits_too_small_are_refused_at_start),
		cmocka_unit_test(test_i04_root_without_a_user_is_refused_at_start),
		cmocka_unit_test(test_g08_no_process_can_be_made),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
