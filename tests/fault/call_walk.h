/* tests/fault/call_walk.h — programs and processes in which the 1st, 2nd … nth call of their own to
 * a library fails, one run for each (call_fail.so). A command never crashes because of it and never
 * fails without a message; what it reports as done is done; the instance that it leaves passes
 * `check`. A process is started again until it serves, or the broker ends and says why. */
#ifndef KB_TESTS_CALL_WALK_H
#define KB_TESTS_CALL_WALK_H
#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "process/kind.h"
#include "tests/e2e/vtpm.h"
#include "tests/fault/fail_walk.h"

/* They use cmocka. */
#include "tests/e2e/files.h"
#include "tests/e2e/tsm.h"

/* A process's first calls map the pages of all processes, three calls each: one of them is like
 * another. */
enum { AFTER_PAGES = 3 * (PROCESS_SLOTS + 1) };
enum { RUN_S = 30, MOST_ARGS = 40, STOPPED = 255, LONG_RUN = 1000, LAST_CALLS = 150 };

static char said[16384];

/* Files of the tests, in a directory of the instance. */
static struct {
	char token[160], policy[160], pem[160], kek[160], err[160], out[160];
} at;

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *level)
{
	(void)st, (void)kind, (void)level;
	return remove(path);
}

static inline void remove_all(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* argv with the n-th call of `who` failing (0: none): the exit status; `said` holds what it wrote
 * to stderr.  Killed, or not ended in time: the test fails. */
static inline int run_failing(const char *who, unsigned n, const char *const argv[])
{
	char *so = realpath(program("fault/call_fail.so"), NULL);
	int status = 0;

	assert_non_null(so);
	script_set(who, n);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int e = open(at.err, O_WRONLY | O_CREAT | O_TRUNC, 0600),
		    o = open(at.out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(o, 1);
		dup2(e, 2);
		close_range(3, ~0u, 0);
		setenv("LD_PRELOAD", so, 1);
		alarm(RUN_S);
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	free(so);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	script_disarm();
	(void)file_read(at.err, said, sizeof said);
	/* Neither root nor the user, or a lock that it cannot give back: it stops at once, and that
	 * is meant. */
	bool is_meant = strncmp(script->name, "set", 3) == 0 || strcmp(script->name, "flock") == 0;
	if (is_meant && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
	    strstr(said, "\"event\":\"bug\"") != NULL)
		return STOPPED;
	if (!WIFEXITED(status))
		fail_msg("%s, %s (call %u) fails: killed by signal %d; it said:\n%s", argv[1],
			 script->name, n, WTERMSIG(status), said);
	if (WEXITSTATUS(status) != 0 && said[0] == '\0' &&
	    file_read(at.out, said, sizeof said) == 0)
		fail_msg("%s %s, %s (call %u) fails: exit status %d without a word", argv[3],
			 argv[4], script->name, n, WEXITSTATUS(status));
	return WEXITSTATUS(status);
}

/* One command and what it promises. */
struct command {
	const char *who;
	const char *args[MOST_ARGS];
	void (*before)(void);             /* NULL: nothing to do */
	const char *(*after)(int status); /* what is wrong, NULL: nothing */
};

static inline int run_command(const struct command *c, unsigned n)
{
	const char *argv[MOST_ARGS + 2] = {program(c->who)};

	memcpy(argv + 1, c->args, sizeof c->args);
	if (c->before != NULL)
		c->before();
	return run_failing(c->who, n, argv);
}

/* How many there are in a run without a fault. */
static inline unsigned calls_of(const struct command *c)
{
	(void)run_command(c, UINT32_MAX);
	return (unsigned)atomic_load(&script->count);
}

static inline const char *words(const struct command *c)
{
	static char text[256];
	size_t at_byte = 0;

	for (unsigned i = strcmp(c->args[0], "-c") == 0 ? 2 : 0;
	     c->args[i] != NULL && at_byte < sizeof text; i++)
		at_byte += (size_t)snprintf(text + at_byte, sizeof text - at_byte, "%s%s",
					    at_byte == 0 ? "" : " ", c->args[i]);
	return text;
}

/* Every `stride`th call from `first` on, each in a run of its own, until one needs no more of
 * them. */
static inline void call_walk(const struct command *c, unsigned first, unsigned stride)
{
	unsigned failed = 0, worked = 0;

	for (unsigned n = first;; n += stride) {
		int status = run_command(c, n);
		bool is_past = atomic_load(&script->failed) == 0;
		const char *why = is_past && status != 0 ? "a run without any fault failed"
				  : c->after == NULL     ? NULL
							 : c->after(status);
		if (why != NULL)
			fail_msg("%s; %s (call %u) fails: %s; exit status %d, it said:\n%s",
				 words(c), script->name, n, why, status, said);
		if (is_past)
			break;
		*(status == 0 ? &worked : &failed) += 1;
	}
	print_message("%s: %u calls made to fail: %u runs failed, %u did their work\n", words(c),
		      failed + worked, failed, worked);
	assert_true(failed + worked > 0);
}

/* ---- keybrokerctl ---- */

static char new_dir[128];

static inline void no_new_instance(void)
{
	remove_all(new_dir);
}

static inline const char *new_instance_is_whole(int status)
{
	char config[160], *out = NULL;

	snprintf(config, sizeof config, "%s/keybroker.json", new_dir);
	if (status == STOPPED)
		return NULL;
	if (status != 0)
		return access(new_dir, F_OK) != 0 || strstr(said, new_dir) != NULL
			       ? NULL
			       : "it does not name the directory that it leaves";
	int checked = run_program(
		&out, (const char *const[]){program("keybrokerctl"), "-c", config, "check", NULL});
	const char *why = checked == 0 ? NULL : wrong("check: %s", out);
	free(out);
	return why;
}

static inline const char *instance_is_whole(int status)
{
	char *out = NULL;

	(void)status;
	int checked = CTL(&in, &out, "check");
	const char *why =
		checked == 0 ? NULL : wrong("what it leaves does not pass check: %s", out);
	free(out);
	return why;
}

static inline void walk_init(unsigned stride)
{
	snprintf(new_dir, sizeof new_dir, "/tmp/keybroker-new.%d",
		 (int)getpid()); /* where another user gets to */
	struct command c = {.who = "keybrokerctl",
			    .args = {"init", new_dir},
			    .before = no_new_instance,
			    .after = new_instance_is_whole};
	if (geteuid() == 0)
		c.args[2] = "--user", c.args[3] = "nobody";
	call_walk(&c, 1, stride);
	remove_all(new_dir);
}

/* Records, policies and the HSM's token, as they were before the walk. */
static inline void keep_instance(void)
{
	char text[512];

	assert_int_equal(
		CTL(&in, NULL, "key", "create", "gone", "--kty", "oct-HSM", "--policy", at.policy),
		0);
	snprintf(text, sizeof text, "mkdir %s/kept && cp -a %s/keys.d %s/hsm %s/kept", in.dir,
		 in.dir, in.dir, in.dir);
	assert_int_equal(system(text), 0);
}

static inline void restore_instance(void)
{
	char text[512];

	snprintf(text, sizeof text, "rm -rf %s/keys.d %s/hsm && cp -a %s/kept/* %s", in.dir, in.dir,
		 in.dir, in.dir);
	assert_int_equal(system(text), 0);
}

/* The commands that change something, from the call at which each begins to differ from a command
 * that does not find its key. */
static inline void walk_keys(unsigned stride)
{
	const struct command in_vain = {
		"keybrokerctl", {"-c", in.config, "key", "show", "nosuch"}, NULL, NULL};
	const struct command changes[] = {
		{"keybrokerctl",
		 {"-c", in.config, "key", "create", "new", "--kty", "EC-HSM", "--policy",
		  at.policy},
		 restore_instance,
		 instance_is_whole},
		{"keybrokerctl",
		 {"-c", in.config, "key", "import", "brought", "--file", at.pem, "--policy",
		  at.policy},
		 restore_instance,
		 instance_is_whole},
		{"keybrokerctl",
		 {"-c", in.config, "key", "rotate", "key"},
		 restore_instance,
		 instance_is_whole},
		{"keybrokerctl",
		 {"-c", in.config, "key", "disable", "key"},
		 restore_instance,
		 instance_is_whole},
		{"keybrokerctl",
		 {"-c", in.config, "key", "delete", "gone", "--yes"},
		 restore_instance,
		 instance_is_whole},
	};
	unsigned first = calls_of(&in_vain) - 10;

	keep_instance();
	for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++)
		call_walk(&changes[i], first, stride);
	restore_instance();
}

static inline void walk_looks(unsigned stride)
{
	const struct command looks[] = {
		{"keybrokerctl", {"-c", in.config, "check"}, NULL, NULL},
		{"keybrokerctl", {"-c", in.config, "key", "list"}, NULL, NULL},
		{"keybrokerctl", {"-c", in.config, "key", "show", "key", "--json"}, NULL, NULL},
		{"keybrokerctl",
		 {"-c", in.config, "explain", "--key", "key", "--token", at.token},
		 NULL,
		 NULL},
		{"keybrokerctl", {"-c", in.config, "ledger", "verify"}, NULL, NULL},
		{"keybrokerctl", {"-c", in.config, "ledger", "show"}, NULL, NULL},
		{"keybrokerctl", {"-c", in.config, "status"}, NULL, NULL},
		{"keybrokerctl", {"-c", in.config, "reload"}, NULL, NULL},
	};
	unsigned first = calls_of(&looks[2]) / 2;
	for (unsigned i = 0; i < sizeof looks / sizeof looks[0]; i++)
		call_walk(&looks[i], i > 0 && calls_of(&looks[i]) > first ? first : 1,
			  stride); /* what comes before it is the same in all */
}

/* ---- keybroker-guest ---- */

static char got_path[128];
static pid_t kernel;

static inline void no_key_yet(void)
{
	(void)unlink(got_path);
}

static inline void no_key_yet_and_kernel(void)
{
	char dir[128];

	no_key_yet();
	if (kernel > 0)
		tsm_end(kernel);
	snprintf(dir, sizeof dir, "%s/tsm", in.dir);
	tsm_make(dir, "sev_guest\n", in.root);
	kernel = tsm_play(dir, false);
}

/* Exit 0: the whole key is there.  Otherwise nothing of it is, for what reads the file takes it for
 * the key. */
static inline const char *key_is_whole(int status)
{
	char bytes[64];
	size_t len = file_read(got_path, bytes, sizeof bytes);

	if (status != 0)
		return len == 0 ? NULL : wrong("%zu bytes of a key are there", len);
	return len == sizeof secret_a && memcmp(bytes, secret_a, len) == 0
		       ? NULL
		       : wrong("%zu bytes, and not the key's", len);
}

static inline const char *something_is_there(int status)
{
	char bytes[64];
	size_t len = file_read(got_path, bytes, sizeof bytes);

	return (status == 0) == (len > 0) ? NULL : wrong("%zu bytes are there", len);
}

static inline void walk_guest(unsigned stride)
{
	char out_place[160], fetch[128], tsm[128], tpm[160], state[128];
	struct vtpm vtpm = {0};

	snprintf(got_path, sizeof got_path, "%s/walk.got", in.dir);
	snprintf(out_place, sizeof out_place, "file:%s", got_path);
	snprintf(fetch, sizeof fetch, "%s/walk-fetch", in.dir);
	snprintf(tsm, sizeof tsm, "%s/tsm", in.dir);
	snprintf(state, sizeof state, "%s/vtpm", in.dir);
	assert_int_equal(mkdir(state, 0700), 0);
	GOOD(vtpm_start(&vtpm, state, -1));
	snprintf(tpm, sizeof tpm, "--tpm=%s", vtpm.tcti);
	file_write_token_program(&in, fetch, "/dev/null");
#define RELEASE(key)                                                                               \
	"release", "--ca", in.ca_file, "--url", in.base_url, "--key", key, "--timeout", "3",       \
		"--out", out_place
	const struct command commands[] = {
		{"keybroker-guest",
		 {RELEASE("key"), "--token", at.token, "--ephemeral-key", at.kek},
		 no_key_yet,
		 key_is_whole},
		{"keybroker-guest",
		 {RELEASE("rsa"), "--token", at.token, "--ephemeral-key", at.kek, "--format",
		  "pem"},
		 no_key_yet,
		 something_is_there},
		{"keybroker-guest",
		 {RELEASE("rsa"), "--token", at.token, "--ephemeral-key", at.kek, "--format",
		  "jwk"},
		 no_key_yet,
		 something_is_there},
		{"keybroker-guest",
		 {RELEASE("key"), "--token-command", fetch, "--nonce", "broker"},
		 no_key_yet,
		 key_is_whole},
		{"keybroker-guest",
		 {RELEASE("key"), "--attest", in.issuer_url, "--tsm", tsm},
		 no_key_yet_and_kernel,
		 key_is_whole},
		{"keybroker-guest",
		 {RELEASE("key"), "--token-command", fetch, tpm, "--tpm-pcrs", "0,7"},
		 no_key_yet,
		 key_is_whole},
	};
	for (unsigned i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		/* of an RSA key's nearly all are blocks of its unwrapping, which the first has,
		 * too */
		unsigned all = calls_of(&commands[i]);
		call_walk(&commands[i], all > LONG_RUN ? all - LAST_CALLS : 1, stride);
	}
	tsm_end(kernel);
	vtpm_stop(&vtpm);
}

/* ---- the broker ---- */

/* Whatever failed on the way, no process serves as root. */
static inline const char *no_process_is_root(void)
{
	static const char *const processes[] = {"gateway", "vault", "ledger", "fetcher"};

	for (unsigned i = 0; geteuid() == 0 && i < sizeof processes / sizeof processes[0]; i++) {
		char path[64], text[4096];
		unsigned uid[3] = {0};
		pid_t pid = broker_process(&in, processes[i], 0);
		snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
		if (pid == 0 ||
		    file_read(path, text, sizeof text) == 0) /* between its end and its restart */
			continue;
		const char *line = strstr(text, "\nUid:");
		if (line == NULL ||
		    sscanf(line, "\nUid: %u %u %u", &uid[0], &uid[1], &uid[2]) != 3 ||
		    uid[0] == 0 || uid[1] == 0 || uid[2] == 0)
			return wrong("the %s serves as root", processes[i]);
	}
	return NULL;
}

/* The broker with the shim, as far as it gets.  What is wrong, NULL: it serves, or in.broker is
 * 0. */
static inline const char *start_failing(const char *who, unsigned n)
{
	const char *why = NULL;

	file_write(in.log, "", 0, 0600);
	script_set(who, n);
	GOOD(start_with("fault/call_fail.so", broker_start_unready));
	bool is_held = false;
	for (unsigned i = 0;
	     i < 100 && !is_held && (why = broker_wait_ready(&in, 200)) != NULL && in.broker != 0;
	     i++)
		is_held = file_read(in.log, said, sizeof said) > 0 &&
			  strstr(said, "\"event\":\"process.held\"") != NULL;
	script_disarm();
	/* the process had to conclude that it cannot work with this configuration: the log says
	 * what to do */
	if (is_held) {
		assert_in_range(broker_stop(&in, SIGTERM, 40000), 0, 1);
		return NULL;
	}
	if (why == NULL && (why = ask_within("key", 5000)) == NULL)
		return no_process_is_root();
	return in.broker == 0 && file_read(in.log, said, sizeof said) > 0 ? NULL : why;
}

/* It starts while a call of `who` fails, `most` of them from the `from`-th on, or from the last
 * −from on ("keybrokerd: vault", "keybrokerd" for the supervisor): it serves all the same, or it
 * ends or is held and says why. */
static inline void walk_start(const char *who, int from, unsigned most, unsigned stride)
{
	unsigned ended = 0, served = 0, tried = 0;
	bool is_past = false;

	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(start_failing(who, UINT32_MAX));
	int all = (int)atomic_load(&script->count);
	unsigned n = (unsigned)(from > 0 ? from : all + from > 0 ? all + from : 1);
	for (; !is_past && tried * stride < most; n += stride, tried++) {
		if (in.broker > 0)
			assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
		const char *why = start_failing(who, n);
		is_past = atomic_load(&script->failed) == 0;
		*(in.broker == 0 ? &ended : &served) += 1;
		if (why != NULL) {
			(void)file_read(in.log, said, sizeof said);
			fail_msg("%s, %s (call %u) fails at the start: %s; its log:\n%s", who,
				 script->name, n, why, said);
		}
	}
	print_message("%s starts: %u of its %d calls made to fail%s: %u times it served, %u times "
		      "it ended\n",
		      who, tried, all, is_past ? ", to the end" : "", served, ended);
	assert_true(tried > 0);
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
}

/* The supervisor takes up a configuration, or starts a process again, while its n-th call fails:
 * whatever comes of it, it serves. */
static inline void walk_supervisor(bool is_reload, unsigned stride, unsigned ms)
{
	unsigned n = 1, failed = 0, tried = 0;
	bool is_past = false;

	script_in("fault/call_fail.so", "");
	if (is_reload) { /* most of them read the configuration, as keybrokerctl does */
		script_arm(UINT32_MAX);
		assert_int_equal(CTL(&in, NULL, "reload"), 0);
		n = (unsigned)atomic_load(&script->count) > LAST_CALLS
			    ? (unsigned)atomic_load(&script->count) - LAST_CALLS
			    : 1;
	}
	for (unsigned long long end = now_ms() + ms; !is_past && now_ms() < end;
	     n += stride, tried++) {
		script_arm(n);
		if (is_reload) {
			failed += CTL(&in, NULL, "reload") != 0;
		} else {
			assert_int_equal(kill(broker_process(&in, "vault", 0), SIGKILL), 0);
			sleep_ms(20);
			workers_are_up(2);
		}
		script_disarm();
		is_past = atomic_load(&script->failed) == 0;
		const char *why = ask_within("key", 15000);
		if (why != NULL)
			fail_msg("supervisor, %s (call %u) fails at a %s: %s", script->name, n,
				 is_reload ? "reload" : "restart", why);
	}
	print_message("supervisor: %u calls made to fail%s at a %s, %u failed\n", tried,
		      is_past ? ", all that there are" : "",
		      is_reload ? "reload" : "restart of a process", failed);
	GOOD(invariants_hold(&in));
}

/* Something is asked of a process while its n-th call fails; `ask` makes it happen.  Afterwards it
 * releases, and what it was asked happens once more. */
static inline void walk_process(const char *process, const char *what, bool (*ask)(void),
				unsigned stride, unsigned ms)
{
	unsigned n = 1, tried = 0, done = 0;
	bool is_past = false;

	script_in("fault/call_fail.so", process);
	for (unsigned long long end = now_ms() + ms; !is_past && now_ms() < end; n += stride) {
		script_arm(n);
		done += ask();
		script_disarm();
		is_past = atomic_load(&script->failed) == 0;
		tried += !is_past;
		const char *why = ask_within("key", 15000);
		for (unsigned long long patience = now_ms() + 5000; why == NULL && !ask();
		     sleep_ms(20))
			if (now_ms() > patience)
				why = "it cannot be had again";
		if (why != NULL)
			fail_msg("%s: %s, %s (call %u) fails: %s", process, what, script->name, n,
				 why);
	}
	print_message("%s: %s: %u calls made to fail%s, %u times it was done\n", process, what,
		      tried, is_past ? ", all that there are" : "", done);
	assert_true(tried > 0);
	GOOD(invariants_hold(&in));
}

static inline bool ask_metrics(void)
{
	char *text = NULL;
	int status = metrics_get(&in, "/metrics", &text);
	bool is_whole = status == 200 && strstr(text, "keybroker_") != NULL;

	free(text);
	return is_whole;
}

static inline void serve(void)
{
	GOOD(broker_start(&in));
	GOOD(invariants_begin(&in, &good));
	GOOD(ask_within("key", 5000));
}

static inline int walk_setup(void **state)
{
	int rc = fail_setup(state);

	snprintf(at.token, sizeof at.token, "%s/walk.token", in.dir);
	snprintf(at.policy, sizeof at.policy, "%s/walk-policy.json", in.dir);
	snprintf(at.pem, sizeof at.pem, "%s/walk.pem", in.dir);
	snprintf(at.kek, sizeof at.kek, "%s/walk-kek.pem", in.dir);
	snprintf(at.err, sizeof at.err, "%s/walk.err", in.dir);
	snprintf(at.out, sizeof at.out, "%s/walk.out", in.dir);
	file_write(at.token, token, strlen(token), 0600);
	char *policy = policy_platform(in.issuer_url);
	file_write(at.policy, policy, strlen(policy), 0644);
	free(policy);
	EVP_PKEY *ec = EVP_EC_gen("P-256");
	file_write_key(at.pem, ec);
	file_write_key(at.kek, kek);
	EVP_PKEY_free(ec);
	return rc;
}

#define WALKS(f) cmocka_unit_test_setup_teardown(f, walk_setup, fail_teardown)

#endif
