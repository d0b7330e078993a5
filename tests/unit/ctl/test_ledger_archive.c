/* tests/unit/ctl/test_ledger_archive.c — `ledger archive` and the `ledger verify` of what it
 * leaves: nothing is lost at any step, and nothing that is missing is called good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include <stdio.h>
#include <sys/wait.h>

#include "tests/unit/short_system.h"
/* after short_system.h, whose parameters its variables would shadow */
#include "base/clock.h"
#include "base/file.h"
#include "base/hex.h"
#include "ctl/ledger.h"
#include "ctl/ledger_border.h"
#include "tests/unit/segments.h"

FAILING(int, unlinkat, (int at, const char *name, int flags), (at, name, flags))

enum { SEGMENTS = 5, DIED = 99 };
static char to[80], said[4096];
static struct chain head[SEGMENTS + 1]; /* where each segment ends */
static struct buf whole[SEGMENTS + 1];

static int archive_set_up(void **state)
{
	if (set_up(state) != 0)
		return -1;
	snprintf(to, sizeof to, "%s-to", path);
	return mkdir(to, 0700);
}

static int archive_tear_down(void **state)
{
	char command[256];

	(void)state;
	for (unsigned i = 1; i <= SEGMENTS; i++)
		buf_free(&whole[i]);
	close(dir);
	snprintf(command, sizeof command, "rm -rf %s %s-*", path, path);
	return system(command);
}

/* The command in a process of its own, whose nth call of the system fails; or which ends there. */
static int ctl_dies(unsigned nth, int dies, int argc, char **argv)
{
	char log[96];

	snprintf(log, sizeof log, "%s-log", path);
	pid_t pid = fork();
	if (pid == 0) {
		const struct ctl_command *cmd = ctl_ledger_commands;
		struct ctl c = {.is_json = false};
		bool stop = false;
		calls.dies = dies;
		if (freopen(log, "w", stdout) == NULL || dup2(1, 2) != 2)
			_exit(98);
		while (strcmp(cmd->name + 7, argv[0]) != 0)
			cmd++;
		c.command = cmd;
		int code = ctl_parse(&c, argc, argv, &stop);
		calls_fail(nth);
		if (!stop)
			code = cmd->run(&c);
		bool has_failed = calls_end();
		fflush(stdout);
		_exit(has_failed ? DIED : code);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	memset(said, 0, sizeof said);
	FILE *f = fopen(log, "r");
	assert_non_null(f);
	(void)!fread(said, 1, sizeof said - 1, f);
	fclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
static int ctl_run(const char *command, ...)
{
	const char *argv[16] = {command};
	int argc = 1;
	va_list ap;

	va_start(ap, command);
	for (const char *arg; argc < 15 && (arg = va_arg(ap, const char *)) != NULL;)
		argv[argc++] = arg;
	va_end(ap);
	return ctl_dies(0, 0, argc, (char **)argv);
}

static int archive(const char *option, const char *value)
{
	return ctl_run("archive", "--dir", path, "--to", to, option, value, NULL);
}

static int verify(const char *where)
{
	return ctl_run("verify", "--dir", where, NULL);
}

static int verify_head(const char *where, const char *head_wanted)
{
	return ctl_run("verify", "--dir", where, "--expect-head", head_wanted, NULL);
}

static void said_has(const char *text)
{
	if (strstr(said, text) == NULL)
		fail_msg("'%s' is not in: %s", text, said);
}

static char *text_of(const struct chain *c)
{
	static char text[HEAD_TEXT];

	head_text(c, text);
	return text;
}

/* Five segments; the second ends torn. */
static void make_ledger(int64_t replay_until_s)
{
	for (unsigned i = 1; i <= SEGMENTS; i++) {
		struct segments s = start();
		assert_int_equal(append(&s, "{\"event\":\"release\",\"n\":1}"), KB_OK);
		assert_int_equal(append(&s, "{\"event\":\"release\",\"n\":2}"), KB_OK);
		head[i] = s.chain;
		s.clock_s = 1000 * i;
		if (i == 3)
			s.replay_until_s = replay_until_s;
		if (i == 2)
			assert_int_equal(write(s.fd, "{\"seq\"", 6), 6);
		else if (i < SEGMENTS)
			assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
		segment_close(&s);
		/* the torn one is followed by a segment when it is opened again */
		if (i == 2) {
			s = start();
			segment_close(&s);
		}
	}
	for (uint32_t i = 1; i <= SEGMENTS; i++)
		slurp(i, &whole[i]);
}

static bool has(const char *where, uint32_t number)
{
	char name[SEGMENT_NAME];

	KB_AUTO(buf) struct buf b;
	buf_init(&b, 1 << 20);
	int at = open(where, O_RDONLY | O_DIRECTORY);
	segment_name(number, name);
	int fd = openat(at, name, O_RDONLY);
	close(at);
	if (fd < 0)
		return false;
	assert_int_equal(file_read_all(fd, &b), KB_OK);
	close(fd);
	assert_true(span_eq(buf_span(&b), buf_span(&whole[number])));
	return true;
}

static void is_moved_up_to(uint32_t last)
{
	for (uint32_t i = 1; i <= SEGMENTS; i++) {
		assert_int_equal(has(to, i), i <= last);
		assert_int_equal(has(path, i), i > last);
	}
}

static void test_d16_archive_moves_and_both_parts_are_good(void **state)
{
	char all[100], command[600];

	(void)state;
	make_ledger(0);
	assert_int_equal(verify(path), CTL_OK);
	assert_int_equal(archive("--dry-run", NULL), CTL_OK);
	said_has("would move segments 1 to 4");
	is_moved_up_to(0);
	assert_int_equal(archive("--keep", "2"), CTL_OK);
	said_has("moved segments 1 to 2");
	said_has(text_of(&head[2]));
	is_moved_up_to(2);
	assert_int_equal(verify(path), CTL_OK);
	said_has("from record 7 on");
	said_has(text_of(&head[2]));
	said_has(to);
	assert_int_equal(ctl_run("verify", "--dir", path, "--json", NULL), CTL_OK);
	said_has("\"first_record\":7");
	assert_int_equal(verify(to), CTL_OK);
	said_has("6 records in 2 segments");
	/* heads: at the border on both sides, behind it, and before it */
	assert_int_equal(verify_head(path, text_of(&head[2])), CTL_OK);
	assert_int_equal(verify_head(to, text_of(&head[2])), CTL_OK);
	assert_int_equal(verify_head(path, text_of(&head[3])), CTL_OK);
	assert_int_equal(verify_head(to, text_of(&head[1])), CTL_OK);
	assert_int_equal(verify_head(path, text_of(&head[1])), CTL_FAILED);
	said_has("was archived in");
	/* the broker goes on, and so does the archive */
	struct segments s = start();
	assert_int_equal(s.number, SEGMENTS);
	segment_close(&s);
	assert_int_equal(archive("--before", "4000"), CTL_OK);
	is_moved_up_to(3);
	assert_int_equal(archive(NULL, NULL), CTL_OK);
	is_moved_up_to(4);
	assert_int_equal(archive(NULL, NULL), CTL_OK);
	said_has("nothing to move");
	assert_int_equal(verify(path), CTL_OK);
	assert_int_equal(verify(to), CTL_OK);
	/* together, whichever mark is there */
	snprintf(all, sizeof all, "%s-all", path);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(command, sizeof command, "rm -rf %s && cp -r %s %s && cp %s/* %s", all,
			 i == 0 ? path : to, all, i == 0 ? to : path, all);
		assert_int_equal(system(command), 0);
		assert_int_equal(verify(all), CTL_OK);
		said_has("in 5 segments");
	}
}

/* Each of them is also in another directory than the first. */
static void test_d16_archive_may_be_of_several_directories(void **state)
{
	char second[100];

	(void)state;
	make_ledger(0);
	assert_int_equal(archive("--keep", "2"), CTL_OK);
	snprintf(second, sizeof second, "%s-second", path);
	assert_int_equal(mkdir(second, 0700), 0);
	assert_int_equal(ctl_run("archive", "--dir", path, "--to", second, NULL), CTL_OK);
	assert_int_equal(verify(second), CTL_OK);
	said_has("from record 7 on");
	assert_int_equal(verify(path), CTL_OK);
	/* the first one ends too early for what comes next */
	struct segments s = start();
	assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
	segment_close(&s);
	assert_int_equal(archive(NULL, NULL), CTL_FAILED);
	said_has("what is between them is missing");
}

/* kill -9 before every call, and every call failing: nothing is lost, what is left is good, and the
 * next run finishes. */
static void test_d17_archive_may_end_at_any_step(void **state)
{
	(void)state;
	bool is_past = false;
	unsigned steps = 0;
	char again[400];

	make_ledger(0);
	snprintf(again, sizeof again, "rm -f %s/* %s-to/*; cp -p %s-made/* %s", path, path, path,
		 path);
	char once[200];
	snprintf(once, sizeof once, "cp -rp %s %s-made", path, path);
	assert_int_equal(system(once), 0);
	for (unsigned n = 2; !is_past || n % 2 != 0; n++, steps++) {
		const unsigned nth = n / 2;
		assert_int_equal(system(again), 0);
		char *argv[] = {"archive", "--dir", path, "--to", to, NULL};
		is_past = ctl_dies(nth, n % 2 == 0 ? DIED : 0, 5, argv) != DIED;
		for (uint32_t i = 1; i <= SEGMENTS; i++)
			if (!has(path, i) && !has(to, i))
				fail_msg("call %u: segment %u is lost", nth, i);
		if (verify(path) != CTL_OK)
			fail_msg("call %u: %s", nth, said);
		if (archive(NULL, NULL) != CTL_OK)
			fail_msg("call %u, again: %s", nth, said);
		is_moved_up_to(SEGMENTS - 1);
		assert_int_equal(verify(path), CTL_OK);
		assert_int_equal(verify(to), CTL_OK);
	}
	assert_true(steps > 120);
}

static void test_d16_archive_leaves_what_the_next_start_needs(void **state)
{
	struct segment_fault f;
	struct segments s;

	(void)state;
	make_ledger(clock_wall_s() + 1000); /* of tokens of the third segment */
	assert_int_equal(archive(NULL, NULL), CTL_OK);
	said_has("moved segments 1 to 2");
	said_has("valid until");
	assert_int_equal(archive("--json", NULL), CTL_OK);
	said_has("\"segments\":0");
	said_has("\"needed_until\":");
	is_moved_up_to(2);
	assert_int_equal(segment_open(dir, clock_wall_s(), NULL, NULL, &s, &f), KB_OK);
	assert_int_equal(s.unread_until_s, 0);
	segment_close(&s);
}

/* Moved by hand, as was documented. */
static void test_d16_archive_made_by_hand_is_taken_over(void **state)
{
	char command[300];

	(void)state;
	make_ledger(0);
	snprintf(command, sizeof command, "mv %s/ledger-0000000[1234]* %s/", path, to);
	assert_int_equal(system(command), 0);
	assert_int_equal(verify(path), CTL_NO);
	said_has("ledger archive --to DIR");
	assert_int_equal(verify_head(path, text_of(&head[4])), CTL_OK);
	assert_int_equal(archive("--dry-run", NULL), CTL_OK);
	assert_int_equal(verify(path), CTL_NO);
	assert_int_equal(archive(NULL, NULL), CTL_OK);
	said_has("is the archive of this ledger");
	assert_int_equal(verify(path), CTL_OK);
	assert_int_equal(verify(to), CTL_OK);
}

static void spill_in(const char *where, uint32_t number, struct span bytes)
{
	char name[160];

	snprintf(name, sizeof name, "%s/ledger-%08u.jsonl", where, number);
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, bytes.p, bytes.len), bytes.len);
	close(fd);
}

static void test_d16_archive_refuses_what_is_not_good(void **state)
{
	char link[160];

	(void)state;
	make_ledger(0);
	/* the ledger's own directory, by any name */
	snprintf(link, sizeof link, "%s-link", path);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(ctl_run("archive", "--dir", path, "--to", link, NULL), CTL_FAILED);
	said_has("own directory");
	assert_int_equal(ctl_run("archive", "--dir", path, "--to", "/nowhere", NULL), CTL_FAILED);
	assert_int_equal(ctl_run("archive", "--dir", path, NULL), CTL_FAILED);
	/* a directory that anybody can write to */
	assert_int_equal(chmod(to, 0777), 0);
	assert_int_equal(archive(NULL, NULL), CTL_FAILED);
	assert_int_equal(chmod(to, 0700), 0);
	/* a "copy" that is the same file, or another */
	char from[160], there[160];
	snprintf(from, sizeof from, "%s/ledger-00000003.jsonl", path);
	snprintf(there, sizeof there, "%s/ledger-00000003.jsonl", to);
	assert_int_equal(linkat(AT_FDCWD, from, AT_FDCWD, there, 0), 0);
	assert_int_equal(archive(NULL, NULL), CTL_FAILED);
	said_has("is not a copy");
	assert_int_equal(unlink(there), 0);
	spill_in(to, 3, span_sub(buf_span(&whole[3]), 0, whole[3].len - 1));
	assert_int_equal(archive(NULL, NULL), CTL_FAILED);
	said_has("is not a copy");
	assert_int_equal(unlink(there), 0);
	/* damage in the ledger */
	whole[2].p[line_at(&whole[2], 2) + 60] ^= 1;
	spill(2, buf_span(&whole[2]));
	assert_int_equal(archive(NULL, NULL), CTL_NO);
	said_has("ledger-00000002.jsonl");
	said_has("nothing was removed");
	for (uint32_t i = 1; i <= SEGMENTS; i++)
		assert_true(has(path, i));
}

static void test_d16_border_is_no_licence(void **state)
{
	struct ledger_border b;

	(void)state;
	make_ledger(0);
	assert_int_equal(archive("--keep", "2"), CTL_OK);
	/* more than what was archived is gone */
	assert_int_equal(unlinkat(dir, "ledger-00000003.jsonl", 0), 0);
	assert_int_equal(verify(path), CTL_NO);
	said_has("up to which all was archived");
	spill(3, buf_span(&whole[3]));
	assert_int_equal(verify(path), CTL_OK);
	/* a border of another chain */
	assert_int_equal(border_read(dir, &b), KB_OK);
	b.begin.last[5] ^= 1;
	assert_int_equal(border_write(dir, &b), KB_OK);
	assert_int_equal(verify(path), CTL_NO);
	/* or none */
	int fd = openat(dir, BORDER_FILE, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, "{}x", 3), 3);
	close(fd);
	assert_int_equal(verify(path), CTL_NO);
	said_has("is damaged");
	/* an archive whose end was cut */
	spill_in(to, 2, span_sub(buf_span(&whole[2]), 0, line_at(&whole[2], 3)));
	assert_int_equal(verify(to), CTL_NO);
	char name[160];
	snprintf(name, sizeof name, "%s/ledger-00000002.jsonl", to);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(verify(to), CTL_NO);
	said_has("the last one that was archived here");
}

#define A(f) cmocka_unit_test_setup_teardown(f, archive_set_up, archive_tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		A(test_d16_archive_moves_and_both_parts_are_good),
		A(test_d16_archive_may_be_of_several_directories),
		A(test_d17_archive_may_end_at_any_step),
		A(test_d16_archive_leaves_what_the_next_start_needs),
		A(test_d16_archive_made_by_hand_is_taken_over),
		A(test_d16_archive_refuses_what_is_not_good),
		A(test_d16_border_is_no_licence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
