/* tests/e2e/test_reload.c — configurations that change under a running broker: bad ones change
 * nothing, good ones are taken up whole, and no request waits for either.  Long: a table of faults,
 * each tried for real. */
#include "tests/e2e/reload_load.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

static int setup(void **state)
{
	(void)state;
	load_setup();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	load_teardown();
	return 0;
}

/* ---- one file, made bad ---- */

enum how { TEXT, HALF, MEMBER, TWICE, GONE, MODE, OWNER, LINK, COPY };
struct fault {
	const char *file;
	enum how how;
	/* TEXT: the new text; MEMBER: a JSON object whose members are set; TWICE: text added
	 * before the last }; COPY: the other file */
	const char *what;
	const char *where; /* the fault's path, with its line where that is sure */
};
static const struct fault faults[] = {
	{"keybroker.json", TEXT, "{ \"listeners\": [,] }", "keybroker.json:1: "},
	{"keybroker.json", HALF, NULL, "keybroker.json:"},
	{"keybroker.json", MEMBER, "{\"listener\": []}", "keybroker.json:"},
	{"keybroker.json", TWICE, ", \"state\": \"state\"", "keybroker.json:"},
	{"keybroker.json", MEMBER, "{\"hsm\": 7}", "keybroker.json:"},
	{"keybroker.json", TEXT, "", "keybroker.json:1: "},
	{"issuers.d/issuer.json", HALF, NULL, "issuers.d/issuer.json:"},
	{"issuers.d/issuer.json", MEMBER, "{\"clock_skew\": \"301s\"}", "issuers.d/issuer.json:"},
	{"issuers.d/issuer.json", MEMBER, "{\"issuer\": \"http://issuer.test\"}",
	 "issuers.d/issuer.json:"},
	{"issuers.d/issuer.json", MEMBER, "{\"algorithms\": [\"none\"]}", "issuers.d/issuer.json:"},
	{"issuers.d/issuer.json", GONE, NULL, "keybroker.json:"}, /* then there is no issuer */
	{"issuers.d/twin.json", COPY, "issuers.d/issuer.json", "issuers.d/twin.json:"},
	{"keys.d/turn.json", HALF, NULL, "keys.d/turn.json:"},
	{"keys.d/turn.json", MEMBER, "{\"colour\": 1}", "keys.d/turn.json:"},
	{"policies/turn.json", GONE, NULL, "policies/turn.json"},
	{"policies/turn.json", HALF, NULL, "policies/turn.json:"},
	{"policies/turn.json", TEXT, "{\"version\":\"1.0.0\",\n\"anyOf\":[]}",
	 "policies/turn.json:2: "},
	{"policies/turn.json", TEXT,
	 "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://"
	 "elsewhere.test\",\"allOf\":[{\"claim\":\"a\",\"equals\":\"b\"}]}]}",
	 "keys.d/turn.json:"},
	{"policies/turn.json", MODE, NULL, "policies/turn.json"},
	{"policies/turn.json", OWNER, NULL, "policies/turn.json"},
	{"policies/turn.json", LINK, NULL, "policies/turn.json"},
	{"tls/server.key", MODE, NULL, "tls/server.key"},
	{"tls/server.pem", TEXT, "no certificate", "keybroker.json:"},
};

static char *slurp(const char *path, size_t *len)
{
	char *text = calloc(1, 1 << 20);
	FILE *f = fopen(path, "r");
	*len = f == NULL ? 0 : fread(text, 1, (1 << 20) - 1, f);
	if (f != NULL)
		fclose(f);
	return text;
}

static void spoil(const struct fault *t, const char *path, const char *text, size_t len)
{
	char aside[256];
	json_t *j, *more;
	switch (t->how) {
	case TEXT:
		GOOD(instance_write(&in, t->file, t->what, strlen(t->what)));
		return;
	case HALF:
		GOOD(instance_write(&in, t->file, text, len / 2));
		return;
	case MEMBER:
		j = instance_json(&in, t->file);
		more = json_loads(t->what, 0, NULL);
		assert_true(json_object_update(j, more) == 0 && json_object_size(more) == 1);
		json_decref(more);
		GOOD(instance_json_write(&in, t->file, j));
		return;
	case TWICE: {
		char *with = calloc(1, len + 100);
		size_t at = (size_t)(strrchr(text, '}') - text);
		snprintf(with, len + 100, "%.*s%s}\n", (int)at, text, t->what);
		GOOD(instance_write(&in, t->file, with, strlen(with)));
		free(with);
		return;
	}
	case GONE:
		assert_int_equal(unlink(path), 0);
		return;
	case MODE:
		assert_int_equal(chmod(path, 0666), 0);
		return;
	case OWNER:
		assert_int_equal(chown(path, 12345, 12345), 0);
		return;
	case LINK:
		snprintf(aside, sizeof aside, "%s/aside", in.dir);
		assert_int_equal(rename(path, aside), 0);
		assert_int_equal(chmod(aside, 0666), 0); /* a link is followed to what is not */
		assert_int_equal(symlink(aside, path), 0);
		return;
	case COPY: {
		json_t *other = instance_json(&in, t->what);
		GOOD(instance_json_write(&in, t->file, other));
		return;
	}
	}
}

static void mend(const struct fault *t, const char *path, const char *text, size_t len,
		 const struct stat *st)
{
	unlink(path);
	if (t->how == COPY)
		return;
	GOOD(instance_write(&in, t->file, text, len));
	assert_int_equal(chmod(path, st->st_mode & 07777), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(path, st->st_uid, st->st_gid), 0);
}

/* The log from an offset on: how many lines hold `part`; *line gets the last. */
static unsigned log_since(long from, const char *part, char line[static 2048])
{
	char text[4096];
	unsigned n = 0;
	FILE *f = fopen(in.log, "r");
	line[0] = '\0';
	if (f != NULL && fseek(f, from, SEEK_SET) == 0)
		while (fgets(text, sizeof text, f) != NULL)
			if (strstr(text, part) != NULL) {
				n++;
				snprintf(line, 2048, "%.2047s", text);
			}
	if (f != NULL)
		fclose(f);
	return n;
}

/* A reload of the broker, and a check by keybrokerctl. */
static const char *refuses(const struct fault *t, long log_from, double failed, double taken)
{
	char line[2048], *out = NULL;
	struct reply r = {0};
	struct link *l = NULL;
	kill(in.broker, SIGHUP);
	for (unsigned long long end = now_ms() + 10000;
	     metric(&in, "keybroker_reloads_failed_total") < failed + 1 && now_ms() < end;)
		sleep_ms(20);
	if (metric(&in, "keybroker_reloads_failed_total") < failed + 1 ||
	    log_since(log_from, "reload.failed", line) != 1)
		return wrong("was not refused");
	/* One line says where; and it is what the tool says, because the same code says it. */
	unsigned told = log_since(log_from, "\"config.fault\"", line);
	if (told != 1 || strstr(line, t->where) == NULL)
		return wrong("%u lines, %s", told, line);
	int code = CTL(&in, &out, "check");
	const char *why = code != 1 || strstr(out, t->where) == NULL ||
					  strchr(out, '\n') != out + strlen(out) - 1
				  ? wrong("check ends with %d and says: %s", code, out)
				  : NULL;
	free(out);
	/* The old configuration serves. */
	if (why == NULL && (why = link_open(&in.at, &l)) == NULL)
		why = guest_ask(l, &(struct ask){.name = "turn", .token = good.ask.token}, &r);
	if (why == NULL && r.status != 200)
		why = wrong("status %d", r.status);
	link_close(l);
	reply_free(&r);
	return why != NULL || metric(&in, "keybroker_reloads_total") <= taken ? why
									      : "a reload was done";
}

static bool one_fault(const struct fault *t)
{
	char path[256];
	struct stat st, log;
	size_t len;
	snprintf(path, sizeof path, "%s/%s", in.dir, t->file);
	if (t->how != COPY)
		assert_int_equal(stat(path, &st), 0);
	char *text = slurp(path, &len);
	assert_int_equal(stat(in.log, &log), 0);
	double failed = metric(&in, "keybroker_reloads_failed_total"),
	       taken = metric(&in, "keybroker_reloads_total");
	spoil(t, path, text, len);
	const char *why = refuses(t, log.st_size, failed, taken);
	if (why != NULL)
		print_error("%s, %s (%d): %s\n", t->file, t->what == NULL ? "" : t->what,
			    (int)t->how, why);
	mend(t, path, text, len, &st);
	free(text);
	return why == NULL;
}

static void test_e01_e04_e07_bad_configuration_changes_nothing(void **state)
{
	(void)state;
	struct load *c =
		mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(c != MAP_FAILED);
	pid_t load = load_start(c, 4);
	pid_t gateway = broker_process(&in, "--process gateway", 0),
	      ledger = broker_process(&in, "--process ledger", 0);
	bool all_good = true;
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		if (faults[i].how != OWNER || geteuid() == 0)
			all_good &= one_fault(&faults[i]);
	c->stop = true;
	int status;
	assert_int_equal(waitpid(load, &status, 0), load);
	assert_true(all_good);
	if (c->lost != 0 || c->refused != 0 || c->released == 0)
		GOOD(wrong("%u lost, %u refused of %u: %s", c->lost, c->refused, c->asked, c->why));
	munmap(c, sizeof *c);
	assert_int_equal(broker_process(&in, "--process gateway", 0), gateway);
	assert_int_equal(broker_process(&in, "--process ledger", 0), ledger);
	char *out = NULL;
	if (CTL(&in, &out, "check") != 0)
		GOOD(wrong("not corrected: %s", out));
	free(out);
	GOOD(invariants_hold(&in));
}

/* ---- good ones ---- */

static void test_e02_reloads_under_load(void **state)
{
	(void)state;
	load_run(6, 2, 20);
	load_policy(true);
	char *out = NULL;
	assert_int_equal(CTL(&in, &out, "reload"), 0);
	free(out);
	GOOD(broker_wait_ready(&in, READY_MS));
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* A record without the policy of its exportable key is a fault of the configuration: a running
 * broker keeps the old one and says so, none starts with it. (Were one to get by, decide() says
 * NO_POLICY: tests/unit/policy/test_decide.c.)  What stops releases at once is to disable the
 * key. */
static void test_e03_policy_taken_away(void **state)
{
	(void)state;
	char *out = NULL;
	json_t *record = instance_json(&in, "keys.d/turn.json"), *before = json_deep_copy(record);
	struct ask a = {.name = "turn", .token = good.ask.token};
	json_object_del(record, "release_policy");
	GOOD(instance_json_write(&in, "keys.d/turn.json", record));
	assert_int_not_equal(CTL(&in, &out, "reload"), 0);
	if (strstr(out, "keys.d/turn.json:") == NULL ||
	    strstr(out, "must have a release policy") == NULL)
		GOOD(wrong("%s", out));
	free(out);
	assert_int_equal(run_program(&out, (const char *const[]){program("keybrokerd"), "-t", "-c",
								 in.config, NULL}),
			 1);
	assert_non_null(strstr(out, "keys.d/turn.json:"));
	free(out);
	GOOD(instance_json_write(&in, "keys.d/turn.json", before));
	if (CTL(&in, &out, "key", "disable", "turn", "--reload") != 0)
		GOOD(wrong("%s", out));
	free(out);
	REFUSED(&a, 403, "Forbidden", "KEY_DISABLED");
	assert_int_equal(CTL(&in, &out, "key", "enable", "turn", "--reload"), 0);
	free(out);
	GOOD(invariants_hold(&in));
}

static int storm_fds(pid_t pid)
{
	int n = 0;
	for (int fd = 0; fd < 1024; fd++) {
		char path[64], to[8];
		snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
		n += readlink(path, to, sizeof to) > 0;
	}
	return n;
}

/* User and system time of one process, in ms. */
static long cpu_ms(pid_t pid)
{
	char path[64], text[1024];
	long user = 0, kernel = 0;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	if (f == NULL || fgets(text, sizeof text, f) == NULL || strrchr(text, ')') == NULL ||
	    sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld",
		   &user, &kernel) != 2)
		GOOD(wrong("%s", path));
	fclose(f);
	return (user + kernel) * 1000 / sysconf(_SC_CLK_TCK);
}

static void test_e09_storm_of_sighup(void **state)
{
	(void)state;
	enum { STORM_MS = 6000 };
	int fds = storm_fds(in.broker);
	double taken = metric(&in, "keybroker_reloads_total"),
	       failed = metric(&in, "keybroker_reloads_failed_total");
	long cpu = cpu_ms(in.broker);
	unsigned long long from = now_ms();
	unsigned sent = 0;
	struct load *c =
		mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(c != MAP_FAILED);
	pid_t load = load_start(c, 4);
	for (; now_ms() - from < STORM_MS; sent++) {
		kill(in.broker, SIGHUP);
		usleep(1000);
	}
	unsigned long long took = now_ms() - from;
	cpu = cpu_ms(in.broker) - cpu;
	c->stop = true;
	int status;
	assert_int_equal(waitpid(load, &status, 0), load);
	if (c->lost != 0 || c->released == 0)
		GOOD(wrong("%u lost of %u: %s", c->lost, c->asked, c->why));
	munmap(c, sizeof *c);
	taken = metric(&in, "keybroker_reloads_total") - taken;
	failed = metric(&in, "keybroker_reloads_failed_total") - failed;
	if (sent < STORM_MS / 5 || taken < 1 || failed > 0 || taken > (double)took / 1000 + 2)
		GOOD(wrong("%u signals: %.0f reloads, %.0f failed in %llu ms", sent, taken, failed,
			   took));
	if (cpu > (long)took / 4)
		GOOD(wrong("the supervisor took %ld ms of CPU in %llu ms", cpu, took));
	/* Old generations end, and with them what they held. */
	for (unsigned long long end = now_ms() + 20000;
	     storm_fds(in.broker) > fds && now_ms() < end;)
		sleep_ms(50);
	assert_true(storm_fds(in.broker) <= fds);
	GOOD(broker_wait_ready(&in, READY_MS));
	GOOD(invariants_hold(&in));
}

/* ---- secrets ---- */

static void no_secret_in(const char *path)
{
	static char text[1 << 18];
	FILE *f = fopen(path, "r");
	size_t n = f == NULL ? 0 : fread(text, 1, sizeof text, f);
	if (f != NULL)
		fclose(f);
	bool may_be_empty = strstr(path, "/environ") != NULL;
	if (f == NULL || (n == 0 && !may_be_empty))
		GOOD(wrong("%s: %s", path, strerror(errno)));
	const char *found = invariants_search(text, n);
	if (found != NULL)
		GOOD(wrong("%s in %s", found, path));
}

/* The PIN is in a file that the vault alone gets, as a descriptor: nobody's arguments or
 * environment have it. */
static void test_e06_no_secret_in_arguments_or_environment(void **state)
{
	(void)state;
	static const char *const processes[] = {"--process gateway", "--process vault",
						"--process ledger", "--process fetcher"};
	pid_t pid;
	unsigned n = 0;
	if (geteuid() != 0)
		skip(); /* the processes are undumpable: only root sees their environment */
	for (unsigned i = 0; i < 4; i++)
		for (unsigned nth = 0; (pid = broker_process(&in, processes[i], nth)) > 0;
		     nth++, n++) {
			char path[64];
			snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
			no_secret_in(path);
			snprintf(path, sizeof path, "/proc/%d/environ", pid);
			no_secret_in(path);
		}
	assert_true(n >= 5);
	GOOD(invariants_hold(&in));
}

/* A process of the broker is started without any variable. */
static void test_e21_processes_have_no_environment(void **state)
{
	(void)state;
	static const char *const processes[] = {"--process gateway", "--process vault",
						"--process ledger", "--process fetcher"};
	if (geteuid() != 0 ||
	    strstr(program("keybrokerd"), "build/") == NULL) /* sanitizers are told by variables */
		skip();
	for (unsigned i = 0; i < 4; i++) {
		char path[64], c;
		snprintf(path, sizeof path, "/proc/%d/environ",
			 broker_process(&in, processes[i], 0));
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		ssize_t n = read(fd, &c, 1);
		close(fd);
		assert_int_equal(n, 0);
	}
}

/* ---- the check ---- */

static unsigned long long tree_hash;
static int hash_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	unsigned long long h = 1469598103934665603ULL;
	const unsigned long long parts[] = {(unsigned long long)type,
					    st->st_mode,
					    st->st_uid,
					    (unsigned long long)st->st_size,
					    st->st_ino,
					    (unsigned long long)st->st_mtim.tv_sec,
					    (unsigned long long)st->st_mtim.tv_nsec};
	for (const char *p = path; *p != '\0'; p++)
		h = (h ^ (unsigned char)*p) * 1099511628211ULL;
	for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++)
		h = (h ^ parts[i]) * 1099511628211ULL;
	tree_hash += h; /* in any order */
	return 0;
}

static unsigned long long tree(void)
{
	tree_hash = 0;
	assert_int_equal(nftw(in.dir, hash_one, 16, FTW_PHYS), 0);
	return tree_hash;
}

/* On a good and on a bad configuration: the exit code, and no file is made, changed or touched. */
static void test_e05_check_changes_nothing(void **state)
{
	(void)state;
	static const char bad[] = "{ \"listeners\": [,] }";
	const char *const daemon[] = {program("keybrokerd"), "-t", "-c", in.config, NULL};
	char *out = NULL;
	GOOD(invariants_hold(&in)); /* while there still is a broker */
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	unsigned long long before = tree();
	assert_int_equal(CTL(&in, &out, "check"), 0);
	assert_non_null(strstr(out, "good:"));
	free(out);
	assert_int_equal(run_program(&out, daemon), 0);
	free(out);
	assert_true(tree() == before);
	json_t *was = instance_json(&in, "keybroker.json");
	GOOD(instance_write(&in, "keybroker.json", bad, sizeof bad - 1));
	before = tree();
	assert_int_equal(CTL(&in, &out, "check"), 1);
	assert_non_null(strstr(out, "keybroker.json:1: "));
	free(out);
	assert_int_equal(run_program(&out, daemon), 1);
	assert_non_null(strstr(out, "keybroker.json:1: "));
	free(out);
	assert_true(tree() == before);
	GOOD(instance_json_write(&in, "keybroker.json", was));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_e01_e04_e07_bad_configuration_changes_nothing),
		cmocka_unit_test(test_e06_no_secret_in_arguments_or_environment),
		cmocka_unit_test(test_e21_processes_have_no_environment),
		cmocka_unit_test(test_e02_reloads_under_load),
		cmocka_unit_test(test_e03_policy_taken_away),
		cmocka_unit_test(test_e09_storm_of_sighup),
		cmocka_unit_test(test_e05_check_changes_nothing),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
