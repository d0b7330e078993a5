/* tests/unit/test_source.c — what a room is handed of the configuration: the supervisor's archive, and nothing that only looks like one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <sys/mman.h>

#include "broker/source.h"
#include "tests/unit/short_system.h"

enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, FILE_ENTRY = 1, LIST_ENTRY = 2 };

static char dir[64], file[80];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/kb-source-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof file, "%s/one.json", dir);
	int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "{\"a\":1}", 7), 7);
	close(fd);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(file);
	return rmdir(dir);
}

/* ---- archives made by hand ---- */

struct made { /* the zero value of a member is the right one */
	const char *magic;
	int total_off, seals_less;
	uint32_t kind, key_more;
	uint64_t data_more;
	const char *first, *second; /* keys */
	bool cut_entry, cut_head;
};

static size_t put_entry(uint8_t *at, uint32_t kind, const char *key, uint32_t key_more, const void *data, size_t len, uint64_t data_more)
{
	uint32_t numbers[2] = {kind, (uint32_t)strlen(key) + key_more};
	uint64_t data_len = len + data_more;

	memcpy(at, numbers, 8);
	memcpy(at + 8, &data_len, 8);
	memcpy(at + 16, key, strlen(key));
	memcpy(at + 16 + strlen(key), data, len);
	return 16 + strlen(key) + len;
}

static enum kb_err open_made(const struct made *m)
{
	uint8_t bytes[512] = {0};
	struct source *s;
	size_t len = 48;

	len += put_entry(bytes + len, m->kind == 0 ? FILE_ENTRY : m->kind, m->first == NULL ? "/a" : m->first, 0, "{}", 2, 0);
	len += put_entry(bytes + len, FILE_ENTRY, m->second == NULL ? "/b" : m->second, m->key_more, "[]", 2, m->data_more);
	if (m->cut_entry) /* within the numbers of an entry */
		len += 8;
	if (m->cut_head)
		len = 40;
	uint64_t total = len + (uint64_t)m->total_off;
	memcpy(bytes, m->magic == NULL ? "KBCONF1" : m->magic, 8);
	memcpy(bytes + 8, &total, 8);
	int fd = memfd_create("archive", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(write(fd, bytes, len), len);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALS & ~m->seals_less), 0);
	enum kb_err err = source_archive(fd, &s);
	assert_true((err == KB_OK) == (s != NULL));
	source_free(s);
	close(fd);
	return err;
}

static void test_source_archive_is_ours(void **state)
{
	static const struct made bad[] = {
		{.magic = "KBCONF2"}, {.total_off = 1},    {.total_off = -1},  {.seals_less = F_SEAL_WRITE},  {.seals_less = F_SEAL_SHRINK},
		{.kind = 3},          {.key_more = 3},     {.data_more = 1},   {.data_more = UINT64_MAX - 1}, {.first = "/b"},
		{.first = "/c"},      {.cut_entry = true}, {.cut_head = true}, {.kind = LIST_ENTRY}, /* names that end without their NUL */
	};

	(void)state;
	assert_int_equal(open_made(&(struct made){0}), KB_OK);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (open_made(&bad[i]) != KB_E_FILE)
			fail_msg("archive %zu was not refused", i);
}

/* What is in an archive is what is there: nothing is read from the disk, and a name is what it was when it was packed. */
static void test_source_archive_holds_what_was_read(void **state)
{
	KB_AUTO(source) struct source *files = NULL, *archive = NULL;
	const char *const *names, *why;
	struct span got;
	char list[96];
	int fd;

	(void)state;
	assert_int_equal(source_files(&files), KB_OK);
	assert_int_equal(source_read(files, file, 100, true, 1, &got, &why), KB_OK);
	assert_int_equal(source_list(files, dir, ".json", 1, &names, &why), KB_OK);
	assert_string_equal(names[0], "one.json");
	snprintf(list, sizeof list, "%s//.json", dir);
	assert_int_equal(source_read(files, list, 100, false, 1, &got, &why), KB_E_FILE); /* a listing's key is no file */
	assert_int_equal(source_read(files, file, 3, true, 1, &got, &why), KB_E_FILE_SIZE);
	assert_int_equal(source_pack(files, 1, &fd), KB_OK);
	assert_int_equal(source_archive(fd, &archive), KB_OK);
	close(fd);
	assert_int_equal(source_read(archive, file, 100, true, 1, &got, &why), KB_OK);
	assert_true(span_eq(got, span_str("{\"a\":1}")));
	assert_int_equal(source_list(archive, dir, ".json", 1, &names, &why), KB_OK);
	assert_string_equal(names[0], "one.json");
	assert_null(names[1]);
	assert_int_equal(source_read(archive, "/etc/hostname", 100, false, 1, &got, &why), KB_E_FILE);
	assert_int_equal(source_list(archive, "/etc", ".json", 1, &names, &why), KB_E_FILE);
}

/* Whatever fails while files are read, packed and handed over, it is an error and no half of them. */
static void test_source_each_call_fails_once(void **state)
{
	bool is_past = false;

	(void)state;
	for (unsigned n = 1; !is_past; n++) {
		KB_AUTO(source) struct source *files = NULL, *archive = NULL;
		const char *const *names, *why;
		struct span got;
		int fd = -1;
		assert_int_equal(source_files(&files), KB_OK);
		calls_fail(n);
		enum kb_err err = source_read(files, file, 100, true, 1, &got, &why);
		if (err == KB_OK)
			err = source_list(files, dir, ".json", 1, &names, &why);
		if (err == KB_OK)
			err = source_pack(files, 1, &fd);
		if (err == KB_OK)
			err = source_archive(fd, &archive);
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
		cmocka_unit_test_setup_teardown(test_source_archive_is_ours, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_archive_holds_what_was_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_each_call_fails_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
