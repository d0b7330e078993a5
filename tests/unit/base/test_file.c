/* tests/unit/base/test_file.c — files are replaced whole or not at all, and a file is trusted only
 * when nobody else can change it or any directory above it. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/wait.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include "base/file.h"
#include "tests/unit/short_system.h"

enum { UNTRUSTED = 12345 }; /* a user that is not trusted */

static char dir[40], why[FILE_WHY];

static const char *in(const char *name)
{
	static char path[4][512];
	static unsigned at;
	char *one = path[at++ % 4];

	snprintf(one, sizeof path[0], "%s/%s", dir, name);
	return one;
}

static int setup(void **state)
{
	(void)state;
	umask(022);
	snprintf(dir, sizeof dir, "/tmp/kb-file-XXXXXX");
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	calls_fail(0);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

static void put(const char *name, const char *text, mode_t mode)
{
	assert_int_equal(file_replace_path(in(name), mode, 0, span_str(text)), KB_OK);
}

static void assert_holds(const char *name, const char *text)
{
	uint8_t bytes[64];
	size_t len;
	KB_AUTO(fd) int fd = open(in(name), O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(file_read(fd, bytes, sizeof bytes, &len), KB_OK);
	assert_true(span_eq_cstr(span_of(bytes, len), text));
}

static unsigned n_files(void)
{
	unsigned n = 0;
	DIR *d = opendir(dir);

	assert_non_null(d);
	for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

/* ---- whole files ---- */

static void test_replace_has_exactly_its_mode(void **state)
{
	struct stat st;

	(void)state;
	umask(077);
	put("a", "one", 0640);
	assert_int_equal(stat(in("a"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	put("a", "two", 0600);
	assert_int_equal(stat(in("a"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_holds("a", "two");
	assert_int_equal(n_files(), 1);
}

static void test_replace_new_takes_no_name_twice(void **state)
{
	(void)state;
	assert_int_equal(file_replace_path(in("a"), 0600, FILE_NEW, span_str("one")), KB_OK);
	assert_int_equal(file_replace_path(in("a"), 0600, FILE_NEW, span_str("two")), KB_E_FILE);
	assert_int_equal(errno, EEXIST);
	assert_holds("a", "one");
	assert_int_equal(n_files(), 1);
}

static void test_replace_does_not_follow_a_link(void **state)
{
	(void)state;
	put("a", "one", 0600);
	assert_int_equal(symlink("a", in("link")), 0);
	put("link", "two", 0600);
	assert_holds("a", "one");
	assert_holds("link", "two");
}

static void test_replace_needs_a_name_and_a_directory(void **state)
{
	char name[256];

	(void)state;
	assert_int_equal(file_replace_path(in(""), 0600, 0, span_str("x")), KB_E_FILE);
	assert_int_equal(errno, EISDIR);
	assert_int_equal(file_replace_path(in("none/a"), 0600, 0, span_str("x")), KB_E_FILE);
	assert_int_equal(errno, ENOENT);
	memset(name, 'n', sizeof name);
	name[250] = '\0';
	assert_int_equal(file_replace_path(in(name), 0600, 0, span_str("x")), KB_E_FILE);
	assert_int_equal(errno, ENAMETOOLONG);
	assert_int_equal(n_files(), 0);
}

/* Each call on the way fails once: the old bytes or the new ones, and no temporary file. */
static void test_replace_is_whole_or_not_at_all(void **state)
{
	unsigned n = 0;

	(void)state;
	put("a", "old", 0600);
	for (;;) {
		calls_fail(++n);
		enum kb_err err = file_replace_path(in("a"), 0600, 0, span_str("new"));
		if (!calls_end())
			break;
		assert_int_equal(err, KB_E_FILE);
		assert_int_equal(n_files(), 1);
	}
	assert_true(n >= 7); /* open, openat, fstat, write, fsync, rename, fsync */
	assert_holds("a", "new");
}

static void test_read_all_is_bounded(void **state)
{
	char text[40000];
	KB_AUTO(buf) struct buf big, small;
	KB_AUTO(fd) int fd = -1;

	(void)state;
	memset(text, 'x', sizeof text);
	assert_int_equal(file_replace_path(in("a"), 0600, 0, span_of(text, sizeof text)), KB_OK);
	buf_init(&big, sizeof text);
	buf_init(&small, sizeof text - 1);
	fd = open(in("a"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(file_read_all(fd, &big), KB_OK);
	assert_int_equal(big.len, sizeof text);
	assert_memory_equal(big.p, text, sizeof text);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(file_read_all(fd, &small), KB_E_FILE_SIZE);
	assert_int_equal(file_read_all(-1, &big), KB_E_FILE);
}

/* ---- who can change a file ---- */

static enum kb_err try_open(const char *path, mode_t forbidden)
{
	const struct file_trust trust = file_trust_self();
	KB_AUTO(fd) int fd = -1;

	why[0] = '\0';
	enum kb_err err = file_open_trusted(path, &trust, forbidden, &fd, why);
	assert_true((err == KB_OK) == (fd >= 0));
	assert_true((err == KB_OK) == (why[0] == '\0'));
	return err;
}

static enum kb_err check_above(const char *path)
{
	const struct file_trust trust = file_trust_self();
	const char *name;
	KB_AUTO(fd) int dir_fd = -1;
	enum kb_err err = file_above_trusted(path, &trust, &dir_fd, &name, why);

	assert_true((err == KB_OK) == (dir_fd >= 0));
	return err;
}

static void assert_why(const char *text)
{
	if (strstr(why, text) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", why, text);
}

static void test_trust_a_file_of_ours(void **state)
{
	(void)state;
	put("a", "x", 0644);
	assert_int_equal(try_open(in("a"), 022), KB_OK);
	assert_int_equal(try_open(in("./a"), 022), KB_OK);
	assert_int_equal(try_open(in("none/../a"), 022), KB_E_FILE);
	assert_int_equal(try_open(in("none"), 022), KB_E_FILE);
	assert_why("No such file");
	assert_int_equal(try_open(in("a/b"), 022), KB_E_FILE);
}

static void test_trust_names_the_forbidden_bits(void **state)
{
	static const struct {
		mode_t mode, forbidden;
		const char *text;
	} row[] = {
		{0660, 022, "can be written by others (mode 0660): chmod g-w"},
		{0606, 022, "can be written by others (mode 0606): chmod o-w"},
		{0666, 022, "can be written by others (mode 0666): chmod go-w"},
		{0644, 026, "can be read by others (mode 0644): chmod o-r"},
		{0640, 077, "can be read by others (mode 0640): chmod g-r"},
		{0777, 077, "can be read by others (mode 0777): chmod go-rwx"},
		{0711, 077, "can be used by others (mode 0711): chmod go-x"},
		{0662, 022, "can be written by others (mode 0662): chmod go-w"},
		{0624, 077, "can be read by others (mode 0624): chmod g-w,o-r"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		put("a", "x", row[i].mode);
		assert_int_equal(try_open(in("a"), row[i].forbidden), KB_E_FILE_MODE);
		assert_string_equal(why, row[i].text);
		assert_int_equal(try_open(in("a"), ~row[i].mode & 0777), KB_OK);
	}
}

static void test_trust_regular_files_only(void **state)
{
	(void)state;
	assert_int_equal(mkdir(in("dir"), 0700), 0);
	assert_int_equal(try_open(in("dir"), 022), KB_E_FILE_MODE);
	assert_why("not a regular file");
	assert_int_equal(mkfifo(in("fifo"), 0600), 0); /* and nobody waits for its other end */
	assert_int_equal(try_open(in("fifo"), 022), KB_E_FILE_MODE);
}

/* One directory too open, at each level; then all are right. */
static void test_trust_every_level(void **state)
{
	static const char *const level[] = {"1", "1/2", "1/2/3", "1/2/3/4"};
	char text[400];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(mkdir(in(level[i]), 0755), 0);
	put("1/2/3/4/a", "x", 0600);
	for (size_t i = 0; i < 4; i++) {
		static const mode_t open_mode[] = {0777, 0757};
		for (size_t m = 0; m < 2; m++) {
			assert_int_equal(chmod(in(level[i]), open_mode[m]), 0);
			assert_int_equal(try_open(in("1/2/3/4/a"), 022), KB_E_FILE_MODE);
			snprintf(text, sizeof text,
				 "is below %s, which can be written by others (mode %04o): chmod "
				 "go-w %s",
				 in(level[i]), open_mode[m], in(level[i]));
			assert_string_equal(why, text);
		}
		assert_int_equal(chmod(in(level[i]), 01777), 0); /* sticky, as /tmp is */
		assert_int_equal(try_open(in("1/2/3/4/a"), 022), KB_OK);
		assert_int_equal(chmod(in(level[i]), 0755), 0);
	}
	assert_int_equal(try_open(in("1/2/3/4/a"), 022), KB_OK);
}

static void test_trust_follows_links_to_directories(void **state)
{
	(void)state;
	assert_int_equal(mkdir(in("real"), 0755), 0);
	assert_int_equal(mkdir(in("real/dir"), 0755), 0);
	put("real/dir/a", "x", 0600);
	assert_int_equal(symlink("real/dir", in("relative")), 0);
	assert_int_equal(symlink(in("relative"), in("absolute")), 0);
	assert_int_equal(try_open(in("relative/a"), 022), KB_OK);
	assert_int_equal(try_open(in("absolute/a"), 022), KB_OK);
	assert_int_equal(try_open(in("absolute/../dir/a"), 022), KB_OK);
	assert_int_equal(chmod(in("real"), 0777), 0);
	assert_int_equal(try_open(in("absolute/a"), 022), KB_E_FILE_MODE);
	assert_why(in("real"));
	assert_int_equal(chmod(in("real"), 0755), 0);
	assert_int_equal(symlink("loop", in("loop")), 0);
	assert_int_equal(try_open(in("loop/a"), 022), KB_E_FILE);
	assert_why("Too many levels");
}

static void test_trust_owners(void **state)
{
	struct file_trust both = {.user = {geteuid(), UNTRUSTED}, .n = 2};
	KB_AUTO(fd) int fd = -1;

	(void)state;
	if (geteuid() != 0) /* only root can give files away */
		skip();
	assert_int_equal(mkdir(in("theirs"), 0755), 0);
	put("theirs/a", "x", 0600);
	assert_int_equal(chown(in("theirs/a"), UNTRUSTED, 0), 0);
	assert_int_equal(try_open(in("theirs/a"), 022), KB_E_FILE_MODE);
	assert_why("belongs to user 12345, not to root: chown it");
	assert_int_equal(file_open_trusted(in("theirs/a"), &both, 022, &fd, why), KB_OK);

	assert_int_equal(chown(in("theirs/a"), 0, 0), 0);
	assert_int_equal(chown(in("theirs"), UNTRUSTED, 0), 0);
	assert_int_equal(try_open(in("theirs/a"), 022), KB_E_FILE_MODE);
	assert_why("which belongs to user 12345");
	assert_why("is below");

	assert_int_equal(symlink("theirs", in("link")), 0);
	assert_int_equal(chown(in("theirs"), 0, 0), 0);
	assert_int_equal(try_open(in("link/a"), 022), KB_OK);
	assert_int_equal(lchown(in("link"), UNTRUSTED, 0), 0);
	assert_int_equal(try_open(in("link/a"), 022), KB_E_FILE_MODE);
	assert_why("which belongs to user 12345");
}

/* Group 0 is root's; another group's members are not trusted. */
static void test_trust_groups(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(mkdir(in("g"), 0700), 0);
	put("g/a", "x", 0600);
	assert_int_equal(chmod(in("g"), 0770), 0);
	assert_int_equal(try_open(in("g/a"), 022), KB_OK);
	assert_int_equal(chown(in("g"), 0, UNTRUSTED), 0);
	assert_int_equal(chmod(in("g"), 0770), 0);
	assert_int_equal(try_open(in("g/a"), 022), KB_E_FILE_MODE);
}

/* The directory itself is the subject of the sentence. */
static void test_trust_way_to_a_directory(void **state)
{
	const struct file_trust trust = file_trust_self();

	(void)state;
	assert_int_equal(file_check_way(dir, &trust, why), KB_OK);
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(file_check_way(dir, &trust, why), KB_E_FILE_MODE);
	assert_int_equal(strncmp(why, "can be written by others (mode 0777): chmod go-w /tmp", 53),
			 0);
	assert_int_equal(check_above(dir), KB_OK);
}

/* Sticky: nobody can replace a file, but anybody can add one. */
static void test_trust_way_to_a_sticky_directory(void **state)
{
	const struct file_trust trust = file_trust_self();

	(void)state;
	put("a", "x", 0600);
	assert_int_equal(symlink(".", in("link")), 0);
	assert_int_equal(chmod(dir, 01777), 0);
	assert_int_equal(file_check_way(in("a"), &trust, why), KB_OK);
	assert_int_equal(check_above(in("a")), KB_OK);
	const char *const ways[] = {dir, in("."), in("link"), in("link/"), in("link/.")};
	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		why[0] = '\0';
		assert_int_equal(file_check_way(ways[i], &trust, why), KB_E_FILE_MODE);
		assert_why("can be written by others (mode 1777): chmod go-w /tmp");
	}
}

/* Whole files of text, to tell them apart. */
static void assert_reads(const char *path, const char *want)
{
	const struct file_trust trust = file_trust_self();
	char got[64] = "";
	KB_AUTO(fd) int fd = -1;

	if (file_open_trusted(path, &trust, 022, &fd, why) != KB_OK)
		fail_msg("%s: %s", path, why);
	assert_true(read(fd, got, sizeof got - 1) >= 0);
	assert_string_equal(got, want);
}

/* certbot: live/HOST/fullchain.pem -> ../../archive/HOST/fullchain1.pem; renewal makes the next
 * file and exchanges the link. */
static void test_e18_certbot(void **state)
{
	static const char *const made[] = {"live", "live/h", "archive", "archive/h"};
	const char *link = "live/h/fullchain.pem";

	(void)state;
	for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
		assert_int_equal(mkdir(in(made[i]), 0755), 0);
	put("archive/h/fullchain1.pem", "one", 0644);
	put("archive/h/fullchain2.pem", "two", 0644);
	assert_int_equal(symlink("../../archive/h/fullchain1.pem", in(link)), 0);
	assert_reads(in(link), "one");
	assert_int_equal(symlink("../../archive/h/fullchain2.pem", in("live/h/new")), 0);
	char from[sizeof dir + 64];
	snprintf(from, sizeof from, "%s", in("live/h/new"));
	assert_int_equal(rename(from, in(link)), 0);
	assert_reads(in(link), "two");

	/* Each step of the way counts, on both sides of the link. */
	for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
		assert_int_equal(chmod(in(made[i]), 0777), 0);
		assert_int_equal(try_open(in(link), 022), KB_E_FILE_MODE);
		assert_why(in(made[i]));
		assert_why("mode 0777");
		assert_int_equal(chmod(in(made[i]), 0755), 0);
	}
	assert_int_equal(chmod(in("archive/h/fullchain2.pem"), 0666), 0);
	assert_int_equal(try_open(in(link), 022), KB_E_FILE_MODE);
	assert_why("leads to");
	assert_why("archive/h/fullchain2.pem, which can be written by others (mode 0666)");
}

/* Kubernetes: tls.crt -> ..data/tls.crt, ..data -> ..2026_01_01; renewal exchanges ..data.  The
 * directory itself is sticky and open to all. */
static void test_e18_kubernetes(void **state)
{
	char from[sizeof dir + 64];

	(void)state;
	assert_int_equal(mkdir(in("m"), 0755), 0);
	assert_int_equal(mkdir(in("m/..2026_01_01"), 0755), 0);
	assert_int_equal(mkdir(in("m/..2026_02_02"), 0755), 0);
	put("m/..2026_01_01/tls.crt", "one", 0644);
	put("m/..2026_02_02/tls.crt", "two", 0644);
	assert_int_equal(symlink("..2026_01_01", in("m/..data")), 0);
	assert_int_equal(symlink("..data/tls.crt", in("m/tls.crt")), 0);
	assert_int_equal(chmod(in("m"), 01777), 0);
	assert_reads(in("m/tls.crt"), "one");
	assert_int_equal(symlink("..2026_02_02", in("m/..data_tmp")), 0);
	snprintf(from, sizeof from, "%s", in("m/..data_tmp"));
	assert_int_equal(rename(from, in("m/..data")), 0);
	assert_reads(in("m/tls.crt"), "two");
	assert_int_equal(chmod(in("m/..2026_02_02"), 0777), 0);
	assert_int_equal(try_open(in("m/tls.crt"), 022), KB_E_FILE_MODE);
	assert_why("m/..2026_02_02");
	if (geteuid() != 0)
		return;
	assert_int_equal(chmod(in("m/..2026_02_02"), 0755), 0);
	assert_int_equal(lchown(in("m/..data"), UNTRUSTED, 0), 0); /* anybody can make one here */
	assert_int_equal(try_open(in("m/tls.crt"), 022), KB_E_FILE_MODE);
	assert_why("m/..data, which belongs to user 12345");
}

/* 40 links are followed, not 41; and the last name may be a link to a link. */
static void test_e18_links_are_bounded(void **state)
{
	char name[16], target[16];

	(void)state;
	put("l0", "end", 0600);
	for (unsigned i = 1; i <= 41; i++) {
		snprintf(name, sizeof name, "l%u", i);
		snprintf(target, sizeof target, "l%u", i - 1);
		assert_int_equal(symlink(target, in(name)), 0);
	}
	assert_reads(in("l40"), "end");
	assert_int_equal(try_open(in("l41"), 022), KB_E_FILE);
	assert_why("Too many levels");
	assert_int_equal(symlink("nowhere", in("dangling")), 0);
	assert_int_equal(try_open(in("dangling"), 022), KB_E_FILE);
	assert_why("No such file");
}

/* While one process exchanges the directory and the link, another only ever opens good files. */
static void test_e18_no_race(void **state)
{
	(void)state;
	assert_int_equal(mkdir(in("good"), 0755), 0);
	assert_int_equal(mkdir(in("bad"), 0777), 0);
	assert_int_equal(chmod(in("bad"), 0777), 0);
	put("good/a", "good", 0644);
	put("bad/a", "bad", 0644);
	assert_int_equal(symlink("good", in("at")), 0);
	pid_t other = fork();
	assert_true(other >= 0);
	if (other == 0) {
		char at[sizeof dir + 64], new[sizeof dir + 64];
		snprintf(at, sizeof at, "%s", in("at"));
		snprintf(new, sizeof new, "%s", in("new"));
		for (unsigned i = 0; getppid() != 1; i++)
			if (symlink(i % 2 == 0 ? "bad" : "good", new) != 0 || rename(new, at) != 0)
				_exit(1);
		_exit(0);
	}
	const struct file_trust trust = file_trust_self();
	unsigned opened = 0, refused = 0;
	for (unsigned i = 0; i < 20000 && (i < 2000 || opened == 0 || refused == 0); i++) {
		char got[8] = "";
		KB_AUTO(fd) int fd = -1;
		if (file_open_trusted(in("at/a"), &trust, 022, &fd, why) != KB_OK) {
			refused++;
			continue;
		}
		opened++;
		assert_true(read(fd, got, sizeof got - 1) > 0);
		assert_string_equal(got, "good");
	}
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	assert_true(opened > 0 && refused > 0);
}

static void test_trust_relative_paths_begin_here(void **state)
{
	char here[PATH_MAX];

	(void)state;
	assert_non_null(getcwd(here, sizeof here));
	put("a", "x", 0600);
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(check_above("a"), KB_OK);
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(check_above("a"), KB_E_FILE_MODE);
	assert_int_equal(chdir(here), 0);
}

static void test_trust_long_paths_are_refused(void **state)
{
	const struct file_trust trust = file_trust_self();
	char path[PATH_MAX + 2];

	(void)state;
	for (size_t len = PATH_MAX - 2; len <= PATH_MAX + 1; len++) {
		memset(path, 'x', len);
		path[0] = '/';
		path[len] = '\0';
		assert_int_equal(file_check_way(path, &trust, why), KB_E_FILE);
		assert_why("File name too long");
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_replace_has_exactly_its_mode),
		T(test_replace_new_takes_no_name_twice),
		T(test_replace_does_not_follow_a_link),
		T(test_replace_needs_a_name_and_a_directory),
		T(test_replace_is_whole_or_not_at_all),
		T(test_read_all_is_bounded),
		T(test_trust_a_file_of_ours),
		T(test_trust_names_the_forbidden_bits),
		T(test_trust_regular_files_only),
		T(test_trust_every_level),
		T(test_trust_follows_links_to_directories),
		T(test_trust_owners),
		T(test_trust_groups),
		T(test_trust_way_to_a_directory),
		T(test_trust_way_to_a_sticky_directory),
		T(test_e18_certbot),
		T(test_e18_kubernetes),
		T(test_e18_links_are_bounded),
		T(test_e18_no_race),
		T(test_trust_relative_paths_begin_here),
		T(test_trust_long_paths_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
