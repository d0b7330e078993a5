/* tests/unit/config/test_snapshot.c — which files are trusted, and that an archive gives the same
 * bytes. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include "config/config.h"
#include "config/snapshot.h"
#include "tests/unit/short_system.h"

static char dir[40], path[128];

static void put(const char *name, const char *text, unsigned mode)
{
	snprintf(path, sizeof path, "%s/%s", dir, name);
	(void)unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static enum kb_err get(struct snapshot *s, bool is_private, size_t max, struct span *out)
{
	const char *why;
	enum kb_err err = snapshot_read(s, path, max, is_private, CONFIG_VAULT, out, &why);

	assert_true(err == KB_OK || why[0] != '\0');
	return err;
}

static int setup(void **state)
{
	snprintf(dir, sizeof dir, "/tmp/kb-source-XXXXXX");
	assert_non_null(mkdtemp(dir));
	return snapshot_files((struct snapshot **)state) == KB_OK ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	snapshot_free(*state);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

static void test_source_reads_a_file(void **state)
{
	struct span s;

	put("a.json", "hello", 0644);
	assert_int_equal(get(*state, false, 5, &s), KB_OK);
	assert_true(span_eq_cstr(s, "hello"));
}

/* Whoever edits on Windows: the mark that editors write before UTF-8 is no part of the text, and
 * UTF-16 is named. */
static void test_a43_source_passes_over_a_mark(void **state)
{
	struct span s;
	const char *why;

	put("a.json", "\xef\xbb\xbf{}", 0600);
	assert_int_equal(get(*state, true, 100, &s), KB_OK);
	assert_true(span_eq_cstr(s, "{}"));
	put("b.json", "\xff\xfe{", 0600);
	assert_int_equal(snapshot_read(*state, path, 100, false, CONFIG_VAULT, &s, &why),
			 KB_E_ENCODING);
	assert_non_null(strstr(why, "UTF-16"));
}

static void test_source_reads_once(void **state)
{
	struct span s;

	put("a.json", "first", 0600);
	assert_int_equal(get(*state, false, 100, &s), KB_OK);
	put("a.json", "second", 0600);
	assert_int_equal(get(*state, false, 100, &s), KB_OK);
	assert_true(span_eq_cstr(s, "first"));
	assert_int_equal(get(*state, false, 4, &s), KB_E_FILE_SIZE);
}

static void test_source_missing_file(void **state)
{
	struct span s;

	snprintf(path, sizeof path, "%s/none", dir);
	assert_int_equal(get(*state, false, 100, &s), KB_E_FILE);
}

static void test_source_size_is_bounded(void **state)
{
	struct span s;

	put("a.json", "123456", 0600);
	assert_int_equal(get(*state, false, 5, &s), KB_E_FILE_SIZE);
	assert_int_equal(get(*state, false, 6, &s), KB_OK);
}

static void test_e04_world_writable_file(void **state)
{
	struct span s;

	put("a.json", "x", 0646);
	assert_int_equal(get(*state, false, 100, &s), KB_E_FILE_MODE);
}

static void test_e04_group_writable_file(void **state)
{
	struct span s;

	put("a.json", "x", 0660);
	assert_int_equal(get(*state, false, 100, &s), KB_E_FILE_MODE);
}

/* Whoever can write a directory above a file can replace the file. */
static void test_e04_directory_above_writable(void **state)
{
	const char *why, *const *names;
	struct span s;
	char inner[120], want[200];

	snprintf(inner, sizeof inner, "%s/inner", dir);
	assert_int_equal(mkdir(inner, 0755), 0);
	put("inner/a.json", "x", 0600);
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(snapshot_read(*state, path, 100, false, CONFIG_VAULT, &s, &why),
			 KB_E_FILE_MODE);
	snprintf(want, sizeof want,
		 "is below %s, which can be written by others (mode 0777): chmod go-w %s", dir,
		 dir);
	assert_string_equal(why, want);
	assert_int_equal(snapshot_check(*state, path, FILE_PRIVATE, &why), KB_E_FILE_MODE);
	assert_string_equal(why, want);
	assert_int_equal(snapshot_list(*state, inner, ".json", CONFIG_VAULT, &names, &why),
			 KB_E_FILE_MODE);
	assert_string_equal(why, want);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(chmod(inner, 0757), 0);
	assert_int_equal(get(*state, false, 100, &s), KB_E_FILE_MODE);
	assert_int_equal(chmod(inner, 01777), 0); /* sticky: others can add, not replace */
	assert_int_equal(get(*state, false, 100, &s), KB_OK);
	put("inner/b.json", "x", 0600); /* in a directory that is known to be good */
	assert_int_equal(get(*state, false, 100, &s), KB_OK);
}

/* Links are followed; what they lead to is judged, and what was read has the link's name. */
static void test_e04_symlink(void **state)
{
	struct span s;
	char link[120];

	put("a.json", "x", 0600);
	snprintf(link, sizeof link, "%s/link.json", dir);
	assert_int_equal(symlink(path, link), 0);
	snprintf(path, sizeof path, "%s", link);
	assert_int_equal(get(*state, false, 100, &s), KB_OK);
	put("b.json", "x", 0622);
	snprintf(link, sizeof link, "%s/other.json", dir);
	assert_int_equal(symlink(path, link), 0);
	snprintf(path, sizeof path, "%s", link);
	assert_int_equal(get(*state, false, 100, &s), KB_E_FILE_MODE);
}

/* One table of modes: who may read it beside its owner. */
static void test_e16_a_use_has_its_modes(void **state)
{
	static const struct {
		enum file_use use;
		mode_t mode;
		bool is_good;
	} row[] = {
		{FILE_PUBLIC, 0644, true},   {FILE_PUBLIC, 0664, false},
		{FILE_PUBLIC, 0646, false},  {FILE_PRIVATE, 0640, true},
		{FILE_PRIVATE, 0600, true},  {FILE_PRIVATE, 0644, false},
		{FILE_PRIVATE, 0660, false}, {FILE_SECRET, 0600, true},
		{FILE_SECRET, 0400, true},   {FILE_SECRET, 0640, false},
		{FILE_SECRET, 0604, false},  {FILE_SECRET, 0610, false},
	};
	const char *why;

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		put("a", "x", row[i].mode);
		enum kb_err err = snapshot_check(*state, path, row[i].use, &why);
		assert_int_equal(err, row[i].is_good ? KB_OK : KB_E_FILE_MODE);
	}
}

static void test_e04_foreign_owner(void **state)
{
	struct span s;

	if (geteuid() != 0)
		skip();
	put("a.json", "x", 0600);
	assert_int_equal(chown(path, 12345, 0), 0);
	assert_int_equal(get(*state, false, 100, &s), KB_E_FILE_MODE);
}

static void test_source_refuses_a_fifo_at_once(void **state)
{
	struct span s;

	snprintf(path, sizeof path, "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(get(*state, false, 100, &s), KB_E_FILE_MODE);
}

static void test_source_private_file_readable_by_others(void **state)
{
	struct span s;
	const char *why;

	put("key", "x", 0644);
	assert_int_equal(snapshot_check(*state, path, FILE_PRIVATE, &why), KB_E_FILE_MODE);
	assert_int_equal(get(*state, true, 100, &s), KB_E_FILE_MODE);
	put("key", "x", 0640);
	assert_int_equal(snapshot_check(*state, path, FILE_PRIVATE, &why), KB_OK);
	assert_int_equal(get(*state, true, 100, &s), KB_OK);
}

/* Read as public first: when it is read as private, the mode is checked. */
static void test_source_private_after_public(void **state)
{
	struct span s;

	put("key", "x", 0644);
	assert_int_equal(get(*state, false, 100, &s), KB_OK);
	assert_int_equal(get(*state, true, 100, &s), KB_E_FILE_MODE);
}

static void test_source_lists_sorted(void **state)
{
	const char *const *names, *why;

	put("b.json", "", 0600);
	put("a.json", "", 0600);
	put(".hidden.json", "", 0600);
	put("c.txt", "", 0600);
	put(".json", "", 0600);
	assert_int_equal(snapshot_list(*state, dir, ".json", CONFIG_VAULT, &names, &why), KB_OK);
	assert_string_equal(names[0], "a.json");
	assert_string_equal(names[1], "b.json");
	assert_null(names[2]);
}

static void test_e04_writable_directory(void **state)
{
	const char *const *names, *why;

	/* The sticky bit does not keep others from adding an issuer or a key. */
	static const mode_t modes[] = {0777, 01777};
	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		assert_int_equal(chmod(dir, modes[i]), 0);
		assert_int_equal(snapshot_list(*state, dir, ".json", CONFIG_VAULT, &names, &why),
				 KB_E_FILE_MODE);
		assert_null(names[0]);
	}
}

static void test_source_missing_directory(void **state)
{
	const char *const *names, *why;

	assert_int_equal(
		snapshot_list(*state, "/nonexistent/x", ".json", CONFIG_VAULT, &names, &why),
		KB_E_FILE);
}

static void test_archive_gives_the_same_bytes(void **state)
{
	struct snapshot *s = *state, *process;
	const char *const *names, *why;
	char secret[128];
	struct span a, b;
	uint8_t digest[2][32];
	int fd;

	put("vault.json", "for the vault", 0600);
	assert_int_equal(snapshot_read(s, path, 100, false, CONFIG_VAULT, &a, &why), KB_OK);
	assert_int_equal(snapshot_list(s, dir, ".json", CONFIG_VAULT, &names, &why), KB_OK);
	put("tls.key", "for the gateway", 0600);
	snprintf(secret, sizeof secret, "%s", path);
	assert_int_equal(snapshot_read(s, secret, 100, true, CONFIG_GATEWAY, &a, &why), KB_OK);
	assert_int_equal(snapshot_pack(s, CONFIG_VAULT, &fd), KB_OK);
	assert_int_equal(snapshot_archive(fd, &process), KB_OK);
	assert_int_equal(write(fd, "x", 1), -1); /* sealed */
	close(fd);

	snprintf(path, sizeof path, "%s/vault.json", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(snapshot_read(process, path, 100, false, CONFIG_VAULT, &b, &why), KB_OK);
	assert_true(span_eq_cstr(b, "for the vault"));
	assert_int_equal(snapshot_list(process, dir, ".json", CONFIG_VAULT, &names, &why), KB_OK);
	assert_string_equal(names[0], "vault.json");
	assert_null(names[1]);
	assert_int_equal(snapshot_list(process, dir, ".pem", CONFIG_VAULT, &names, &why),
			 KB_E_FILE);
	assert_int_equal(snapshot_check(process, "/nonexistent/pin", FILE_SECRET, &why), KB_OK);
	/* A file of another process is not in the archive, although it is on disk. */
	assert_int_equal(snapshot_read(process, secret, 100, true, CONFIG_VAULT, &b, &why),
			 KB_E_FILE);
	snapshot_digest(s, digest[0]);
	snapshot_digest(process, digest[1]);
	assert_memory_equal(digest[0], digest[1], 32);
	snapshot_free(process);
}

static void test_digest_follows_content(void **state)
{
	struct snapshot *other;
	const char *why;
	struct span s;
	uint8_t digest[2][32];

	put("a.json", "one", 0600);
	assert_int_equal(get(*state, false, 100, &s), KB_OK);
	put("a.json", "two", 0600);
	assert_int_equal(snapshot_files(&other), KB_OK);
	assert_int_equal(snapshot_read(other, path, 100, false, CONFIG_VAULT, &s, &why), KB_OK);
	snapshot_digest(*state, digest[0]);
	snapshot_digest(other, digest[1]);
	assert_memory_not_equal(digest[0], digest[1], 32);
	snapshot_free(other);
}

/* An archive with `len` bytes of `bytes` changed at `at`; sealed as ours are. */
static enum kb_err altered(const struct snapshot *s, size_t at, const void *bytes, size_t len,
			   size_t cut)
{
	static uint8_t copy[4096];
	struct snapshot *out;
	int from, to = memfd_create("altered", MFD_ALLOW_SEALING);

	assert_int_equal(snapshot_pack(s, CONFIG_ALL, &from), KB_OK);
	ssize_t n = pread(from, copy, sizeof copy, 0);
	assert_true(n > 0 && (size_t)n >= cut + at + len);
	memcpy(copy + at, bytes, len);
	assert_int_equal(write(to, copy, (size_t)n - cut), n - (ssize_t)cut);
	assert_int_equal(
		fcntl(to, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
		0);
	enum kb_err err = snapshot_archive(to, &out);
	snapshot_free(out);
	close(from);
	close(to);
	return err;
}

static void test_archive_refuses_what_is_off(void **state)
{
	static const uint64_t head = 48; /* bytes before the first entry */
	struct span s;
	uint32_t kind = 3, big = 0xffffffff;
	uint64_t huge = UINT64_MAX;

	put("a.json", "text", 0600);
	assert_int_equal(get(*state, false, 100, &s), KB_OK);
	assert_int_equal(altered(*state, 0, "", 0, 0), KB_OK);
	assert_int_equal(altered(*state, 0, "X", 1, 0), KB_E_FILE);                /* magic */
	assert_int_equal(altered(*state, 0, "", 0, 1), KB_E_FILE);                 /* cut */
	assert_int_equal(altered(*state, head, &kind, sizeof kind, 0), KB_E_FILE); /* kind */
	assert_int_equal(altered(*state, head + 4, &big, sizeof big, 0),
			 KB_E_FILE); /* length of the path */
	assert_int_equal(altered(*state, head + 8, &huge, sizeof huge, 0), KB_E_FILE);
}

/* Right lengths, and wrong entries. */
static void test_archive_refuses_entries_that_are_off(void **state)
{
	enum { HEAD = 48, ENTRY = 16 };
	const char *const *names, *why;
	struct span s;
	char list[64];
	int fd;

	put("a.json", "text", 0600);
	snprintf(list, sizeof list, "%s//.json", dir);
	size_t last_of_list = HEAD + ENTRY + strlen(list) + sizeof "a.json" - 1;
	assert_int_equal(snapshot_list(*state, dir, ".json", CONFIG_VAULT, &names, &why), KB_OK);
	assert_int_equal(get(*state, false, 100, &s), KB_OK);
	assert_int_equal(altered(*state, 0, "", 0, 0), KB_OK);
	assert_int_equal(altered(*state, HEAD + ENTRY, "\x7f", 1, 0),
			 KB_E_FILE); /* the first name after the second */
	assert_int_equal(altered(*state, last_of_list, "x", 1, 0),
			 KB_E_FILE); /* a list without its end */
	assert_int_equal(snapshot_pack(*state, CONFIG_ALL, &fd), KB_OK);
	uint64_t short_by_one = HEAD + ENTRY - 1;
	size_t cut = (size_t)lseek(fd, 0, SEEK_END) - (size_t)short_by_one;
	close(fd);
	assert_int_equal(altered(*state, 8, &short_by_one, sizeof short_by_one, cut), KB_E_FILE);
}

static void test_archive_must_be_sealed(void **state)
{
	struct snapshot *out;
	int fd = memfd_create("open", MFD_ALLOW_SEALING);

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(snapshot_archive(fd, &out), KB_E_FILE);
	assert_null(out);
	close(fd);
}

/* The key of a listing is no file's, and a name that was not read is not there. */
static void test_archive_holds_what_was_read(void **state)
{
	KB_AUTO(snapshot) struct snapshot *archive = NULL;
	const char *const *names, *why;
	struct span got;
	char list[64];
	int fd;

	put("a.json", "{}", 0600);
	snprintf(list, sizeof list, "%s//.json", dir);
	assert_int_equal(snapshot_list(*state, dir, ".json", CONFIG_VAULT, &names, &why), KB_OK);
	assert_int_equal(snapshot_read(*state, list, 100, false, CONFIG_VAULT, &got, &why),
			 KB_E_FILE);
	assert_int_equal(snapshot_pack(*state, CONFIG_VAULT, &fd), KB_OK);
	assert_int_equal(snapshot_archive(fd, &archive), KB_OK);
	close(fd);
	assert_int_equal(get(archive, false, 100, &got), KB_E_FILE); /* listed, and not read */
	assert_int_equal(snapshot_read(archive, list, 100, false, CONFIG_VAULT, &got, &why),
			 KB_E_FILE);
}

/* Whatever fails while files are read, packed and handed over, it is an error and no half of
 * them. */
static void test_source_each_call_fails_once(void **state)
{
	bool is_past = false;

	(void)state;
	put("a.json", "{}", 0600);
	for (unsigned n = 1; !is_past; n++) {
		KB_AUTO(snapshot) struct snapshot *files = NULL, *archive = NULL;
		const char *const *names, *why;
		struct span got;
		int fd = -1;
		assert_int_equal(snapshot_files(&files), KB_OK);
		calls_fail(n);
		enum kb_err err = snapshot_read(files, path, 100, true, CONFIG_VAULT, &got, &why);
		if (err == KB_OK)
			err = snapshot_list(files, dir, ".json", CONFIG_VAULT, &names, &why);
		if (err == KB_OK)
			err = snapshot_pack(files, CONFIG_VAULT, &fd);
		if (err == KB_OK)
			err = snapshot_archive(fd, &archive);
		is_past = !calls_end();
		if (fd >= 0)
			close(fd);
		if ((err == KB_OK) != is_past)
			fail_msg("call %u fails: %s", n, kb_err_name(err));
		assert_true(is_past ? n > 10 : archive == NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_source_reads_a_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a43_source_passes_over_a_mark, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_source_reads_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_missing_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_size_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_e04_world_writable_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_e04_group_writable_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_e04_directory_above_writable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_e04_symlink, setup, teardown),
		cmocka_unit_test_setup_teardown(test_e16_a_use_has_its_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_e04_foreign_owner, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_refuses_a_fifo_at_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_source_private_file_readable_by_others, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_source_private_after_public, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_lists_sorted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_e04_writable_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_missing_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_archive_gives_the_same_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_digest_follows_content, setup, teardown),
		cmocka_unit_test_setup_teardown(test_archive_refuses_what_is_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_archive_refuses_entries_that_are_off, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_archive_must_be_sealed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_archive_holds_what_was_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_each_call_fails_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
