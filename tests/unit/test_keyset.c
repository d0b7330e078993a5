/* tests/unit/test_keyset.c — key set files: whole, bounded, and nobody else's. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include "base/limits.h"
#include "broker/keyset.h"
#include "tests/unit/short_system.h"

static char dir[64], file[128];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/kb-keyset-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof file, "%s/issuers/a.keys", dir);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

static void put(const char *text)
{
	char sub[80];

	snprintf(sub, sizeof sub, "%s/issuers", dir);
	(void)mkdir(sub, 0700);
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static enum kb_err get(void)
{
	struct keyset k;
	enum kb_err err = keyset_read(dir, "a", &k);

	keyset_free(&k);
	return err;
}

static void test_keyset_round_trip(void **state)
{
	struct keyset k;
	struct span doc = span_str("{\"keys\":[]}\nsecond line");

	(void)state;
	assert_int_equal(keyset_write(dir, "a", 1790000000, 1790003600, doc), KB_OK);
	assert_int_equal(keyset_read(dir, "a", &k), KB_OK);
	assert_int_equal(k.fetched_s, 1790000000);
	assert_int_equal(k.fresh_until_s, 1790003600);
	assert_true(span_eq(k.document, doc));
	keyset_free(&k);
}

static void test_keyset_missing(void **state)
{
	(void)state;
	assert_int_equal(get(), KB_E_FILE);
	assert_int_equal(keyset_stamp(dir, "a"), 0);
}

static void test_keyset_write_without_state(void **state)
{
	(void)state;
	assert_int_equal(keyset_write("/nonexistent/state", "a", 1, 2, span_str("{}")), KB_E_FILE);
}

static void test_keyset_path_too_long(void **state)
{
	static char deep[5000];
	struct keyset k;

	(void)state;
	memset(deep, 'x', sizeof deep - 1);
	assert_int_equal(keyset_read(deep, "a", &k), KB_E_FILE);
	assert_int_equal(keyset_write(deep, "a", 1, 2, span_str("{}")), KB_E_FILE);
	assert_int_equal(keyset_stamp(deep, "a"), 0);
	/* Room for the file's name, and none for the one it has while it is written. */
	memset(deep, '/', sizeof deep);
	memcpy(deep, dir, strlen(dir));
	deep[4096 - sizeof "/issuers/a.keys"] = '\0';
	assert_int_equal(keyset_read(deep, "a", &k), KB_E_FILE);
	assert_int_equal(keyset_write(deep, "a", 1, 2, span_str("{}")), KB_E_FILE);
	assert_int_equal(keyset_write(dir, "a", 1, 2, span_str("{}")), KB_OK);
}

static void test_keyset_stamp_changes(void **state)
{
	(void)state;
	assert_int_equal(keyset_write(dir, "a", 1, 2, span_str("{}")), KB_OK);
	uint64_t first = keyset_stamp(dir, "a");
	assert_true(first != 0 && first == keyset_stamp(dir, "a"));
	assert_int_equal(keyset_write(dir, "a", 1, 2, span_str("{}")), KB_OK);
	assert_true(keyset_stamp(dir, "a") != first);
}

static void test_keyset_leaves_nothing_behind(void **state)
{
	char command[160];

	(void)state;
	assert_int_equal(keyset_write(dir, "a", 1, 2, span_str("{}")), KB_OK);
	snprintf(command, sizeof command, "test \"$(ls -A %s/issuers)\" = a.keys", dir);
	assert_int_equal(system(command), 0);
}

static void test_keyset_document_too_big(void **state)
{
	uint8_t *big = calloc(1, KB_MAX_JWKS + 1);

	(void)state;
	assert_int_equal(keyset_write(dir, "a", 1, 2, span_of(big, KB_MAX_JWKS + 1)), KB_E_FILE_SIZE);
	assert_int_equal(keyset_write(dir, "a", 1, 2, span_of(big, KB_MAX_JWKS)), KB_OK);
	assert_int_equal(get(), KB_OK);
	free(big);
}

static void test_keyset_file_too_big(void **state)
{
	(void)state;
	put("{}\n");
	assert_int_equal(truncate(file, KB_MAX_JWKS + 4096), 0);
	assert_int_equal(get(), KB_E_FILE_SIZE);
}

static void test_keyset_writable_by_others(void **state)
{
	(void)state;
	assert_int_equal(keyset_write(dir, "a", 1, 2, span_str("{}")), KB_OK);
	assert_int_equal(chmod(file, 0666), 0);
	assert_int_equal(get(), KB_E_FILE_MODE);
}

static void test_keyset_of_another_user(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(keyset_write(dir, "a", 1, 2, span_str("{}")), KB_OK);
	assert_int_equal(chown(file, 12345, 0), 0);
	assert_int_equal(get(), KB_E_FILE_MODE);
	assert_int_equal(chown(dir, 12345, 0), 0); /* the state is that user's: the broker's own file, read by root */
	assert_int_equal(get(), KB_OK);
}

static void test_keyset_symlink(void **state)
{
	char other[128];

	(void)state;
	assert_int_equal(keyset_write(dir, "b", 1, 2, span_str("{}")), KB_OK);
	snprintf(other, sizeof other, "%s/issuers/b.keys", dir);
	assert_int_equal(symlink(other, file), 0);
	assert_int_equal(get(), KB_E_FILE_MODE);
}

static void test_keyset_changed_document(void **state)
{
	(void)state;
	assert_int_equal(keyset_write(dir, "a", 1, 2, span_str("{\"keys\":[]}")), KB_OK);
	int fd = open(file, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, " ", 1), 1);
	close(fd);
	assert_int_equal(get(), KB_E_FETCH_CONTENT);
}

static void test_keyset_bad_heads(void **state)
{
	static const char digest[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"; /* of nothing */
	static const struct {
		const char *head;
		enum kb_err err;
	} cases[] = {
		{"", KB_E_JSON_SYNTAX},
		{"{\"fetched\":1,\"fresh_until\":2,\"sha256\":\"%s\"}", KB_E_JSON_SYNTAX}, /* no newline */
		{"not json\n", KB_E_JSON_SYNTAX},
		{"{\"fresh_until\":2,\"sha256\":\"%s\"}\n", KB_E_JSON_MISSING},
		{"{\"fetched\":\"1\",\"fresh_until\":2,\"sha256\":\"%s\"}\n", KB_E_JSON_TYPE},
		{"{\"fetched\":1,\"fresh_until\":2,\"sha256\":\"%s0\"}\n", KB_E_JSON_LENGTH},
		{"{\"fetched\":1,\"fresh_until\":2,\"sha256\":\"%s\",\"x\":1}\n", KB_E_JSON_UNKNOWN},
		{"{\"fetched\":1,\"fresh_until\":2,\"sha256\":\"%s\"}\n", KB_OK},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[512];
		const char *at = strstr(cases[i].head, "%s");
		if (at == NULL)
			snprintf(text, sizeof text, "%s", cases[i].head);
		else
			snprintf(text, sizeof text, "%.*s%s%s", (int)(at - cases[i].head), cases[i].head, digest, at + 2);
		put(text);
		assert_int_equal(get(), cases[i].err);
	}
}

/* Whatever fails, the set that is read afterwards is the old one or the new one, whole, and a set that was not read is none. */
static void test_keyset_each_call_fails_once(void **state)
{
	struct span before = span_str("{\"keys\":[]}"), after = span_str("{\"keys\":[{\"kty\":\"RSA\"}]}");
	struct keyset k;
	bool is_past = false;

	(void)state;
	for (unsigned n = 1; !is_past; n++) {
		assert_int_equal(keyset_write(dir, "a", 1, 2, before), KB_OK);
		calls_fail(n);
		enum kb_err err = keyset_write(dir, "a", 3, 4, after);
		is_past = !calls_end();
		assert_int_equal(err == KB_OK, is_past);
		assert_int_equal(keyset_read(dir, "a", &k), KB_OK);
		assert_true(span_eq(k.document, after) ? k.fetched_s == 3 : !is_past && span_eq(k.document, before) && k.fetched_s == 1);
		keyset_free(&k);
	}
	is_past = false;
	for (unsigned n = 1; !is_past; n++) {
		calls_fail(n);
		enum kb_err err = keyset_read(dir, "a", &k);
		is_past = !calls_end();
		assert_int_equal(err, is_past ? KB_OK : KB_E_FILE);
		keyset_free(&k);
	}
	assert_int_equal(
		keyset_write(dir,
			     "a-name-that-is-longer-than-any-path-may-be-0123456789012345678901234567890123456789012345678901234567890123456789"
			     "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
			     "0123456789012345678901234567890123456789",
			     1, 2, before),
		KB_E_FILE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_keyset_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_write_without_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_path_too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_stamp_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_leaves_nothing_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_document_too_big, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_file_too_big, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_writable_by_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_of_another_user, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_symlink, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_changed_document, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_bad_heads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_each_call_fails_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
