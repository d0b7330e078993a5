/* tests/unit/process/test_keyset.c — key set files: whole, bounded, of one origin. */
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
#include "process/keyset.h"
#include "tests/unit/short_system.h"

static char dir[64], file[256];
static struct keyset_origin from;

static void path_of(char out[static 128], const char *name, const struct keyset_origin *o)
{
	snprintf(out, 128, "%s/issuers/%s.%.16s.keys", dir, name, o->id);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/kb-keyset-XXXXXX");
	assert_non_null(mkdtemp(dir));
	keyset_origin_make(&from, "https://a.test", "jwks_uri", "https://a.test/keys", "public",
			   "none", span_str("a CA"));
	char path[128];
	path_of(path, "a", &from);
	snprintf(file, sizeof file, "%s", path);
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
	enum kb_err err = keyset_read(dir, "a", &from, &k);

	keyset_free(&k);
	return err;
}

static void test_keyset_round_trip(void **state)
{
	struct keyset k;
	struct span doc = span_str("{\"keys\":[]}\nsecond line");

	(void)state;
	assert_int_equal(keyset_write(dir, "a", &from, 1790000000, 1790003600, doc), KB_OK);
	assert_int_equal(keyset_read(dir, "a", &from, &k), KB_OK);
	assert_int_equal(k.fetched_s, 1790000000);
	assert_int_equal(k.fresh_until_s, 1790003600);
	assert_true(span_eq(k.document, doc));
	keyset_free(&k);
}

static void test_keyset_missing(void **state)
{
	(void)state;
	assert_int_equal(get(), KB_E_FILE);
	assert_int_equal(keyset_stamp(dir, "a", &from), 0);
}

static void test_keyset_write_without_state(void **state)
{
	(void)state;
	assert_int_equal(keyset_write("/nonexistent/state", "a", &from, 1, 2, span_str("{}")),
			 KB_E_FILE);
}

static void test_keyset_path_too_long(void **state)
{
	static char deep[5000];
	struct keyset k;

	(void)state;
	memset(deep, 'x', sizeof deep - 1);
	assert_int_equal(keyset_read(deep, "a", &from, &k), KB_E_FILE);
	assert_int_equal(keyset_write(deep, "a", &from, 1, 2, span_str("{}")), KB_E_FILE);
	assert_int_equal(keyset_stamp(deep, "a", &from), 0);
	/* One byte too long, then the longest path there is. */
	memset(deep, '/', sizeof deep);
	memcpy(deep, dir, strlen(dir));
	deep[4097 - sizeof "/issuers/a.0123456789abcdef.keys"] = '\0';
	assert_int_equal(keyset_read(deep, "a", &from, &k), KB_E_FILE);
	assert_int_equal(keyset_write(deep, "a", &from, 1, 2, span_str("{}")), KB_E_FILE);
	deep[4096 - sizeof "/issuers/a.0123456789abcdef.keys"] = '\0';
	assert_int_equal(keyset_write(deep, "a", &from, 1, 2, span_str("{}")), KB_OK);
	assert_int_equal(keyset_read(deep, "a", &from, &k), KB_OK);
	keyset_free(&k);
}

static void test_keyset_stamp_changes(void **state)
{
	(void)state;
	assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_str("{}")), KB_OK);
	uint64_t first = keyset_stamp(dir, "a", &from);
	assert_true(first != 0 && first == keyset_stamp(dir, "a", &from));
	assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_str("{}")), KB_OK);
	assert_true(keyset_stamp(dir, "a", &from) != first);
}

static void test_keyset_leaves_nothing_behind(void **state)
{
	char command[160];

	(void)state;
	assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_str("{}")), KB_OK);
	snprintf(command, sizeof command, "test \"$(ls -A %s/issuers)\" = a.%.16s.keys", dir,
		 from.id);
	assert_int_equal(system(command), 0);
}

static void test_keyset_document_too_big(void **state)
{
	uint8_t *big = calloc(1, KB_MAX_JWKS + 1);

	(void)state;
	assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_of(big, KB_MAX_JWKS + 1)),
			 KB_E_FILE_SIZE);
	assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_of(big, KB_MAX_JWKS)), KB_OK);
	assert_int_equal(get(), KB_OK);
	free(big);
}

static void test_keyset_file_too_big(void **state)
{
	(void)state;
	put("{}\n");
	assert_int_equal(truncate(file, KB_MAX_JWKS + 40000), 0);
	assert_int_equal(get(), KB_E_FILE_SIZE);
}

static void test_keyset_writable_by_others(void **state)
{
	(void)state;
	assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_str("{}")), KB_OK);
	assert_int_equal(chmod(file, 0666), 0);
	assert_int_equal(get(), KB_E_FILE_MODE);
}

static void test_keyset_of_another_user(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_str("{}")), KB_OK);
	assert_int_equal(chown(file, 12345, 0), 0);
	assert_int_equal(get(), KB_E_FILE_MODE);
	assert_int_equal(chown(dir, 12345, 0), 0); /* the state directory has the same owner */
	assert_int_equal(get(), KB_OK);
}

static void test_keyset_symlink(void **state)
{
	char other[128];

	(void)state;
	assert_int_equal(keyset_write(dir, "b", &from, 1, 2, span_str("{}")), KB_OK);
	path_of(other, "b", &from);
	assert_int_equal(symlink(other, file), 0);
	assert_int_equal(get(), KB_E_FILE_MODE);
}

static void test_keyset_changed_document(void **state)
{
	(void)state;
	assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_str("{\"keys\":[]}")), KB_OK);
	int fd = open(file, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, " ", 1), 1);
	close(fd);
	assert_int_equal(get(), KB_E_FETCH_CONTENT);
}

static void test_keyset_bad_heads(void **state)
{
	static const char digest[] =
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"; /* of nothing */
	static const struct {
		const char *head;
		enum kb_err err;
	} cases[] = {
		{"", KB_E_JSON_SYNTAX},
		{"{\"fetched\":1,\"fresh_until\":2,\"sha256\":\"%s\"}",
		 KB_E_JSON_SYNTAX}, /* no newline */
		{"not json\n", KB_E_JSON_SYNTAX},
		{"{\"fresh_until\":2,\"sha256\":\"%s\",@}\n", KB_E_JSON_MISSING},
		{"{\"fetched\":\"1\",\"fresh_until\":2,\"sha256\":\"%s\",@}\n", KB_E_JSON_TYPE},
		{"{\"fetched\":-1,\"fresh_until\":2,\"sha256\":\"%s\",@}\n", KB_E_JSON_TYPE},
		{"{\"fetched\":1,\"fresh_until\":253402300800,\"sha256\":\"%s\",@}\n",
		 KB_E_JSON_TYPE},
		{"{\"fetched\":1,\"fresh_until\":2,\"sha256\":\"%s0\",@}\n", KB_E_JSON_LENGTH},
		{"{\"fetched\":1,\"fresh_until\":2,\"sha256\":\"%s\",\"x\":1,@}\n",
		 KB_E_JSON_UNKNOWN},
		{"{\"fetched\":1,\"fresh_until\":2,\"sha256\":\"%s\"}\n",
		 KB_E_KEYSET_ORIGIN}, /* as older versions wrote it */
		{"{\"fetched\":1,\"fresh_until\":2,\"sha256\":\"%s\",@}\n", KB_OK},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[1024] = "";
		for (const char *at = cases[i].head; *at != '\0'; at++) {
			size_t n = strlen(text);
			if (at[0] == '@') {
				snprintf(text + n, sizeof text - n,
					 "\"issuer\":\"%s\",\"source\":\"%s\",\"url\":\"%s\","
					 "\"addresses\":\"public\",\"proxy\":\"none\",\"ca_"
					 "sha256\":\"%s\"",
					 from.issuer, from.source, from.url, from.ca);
			} else if (at[0] == '%') {
				snprintf(text + n, sizeof text - n, "%s", digest);
				at++;
			} else {
				text[n] = *at;
			}
		}
		put(text);
		assert_int_equal(get(), cases[i].err);
	}
}

/* ---- origin ---- */

static void move(const struct keyset_origin *a, const struct keyset_origin *b)
{
	char old[128], new[128];

	path_of(old, "a", a);
	path_of(new, "a", b);
	assert_int_equal(rename(old, new), 0);
}

/* A set belongs to one issuer, source, URL and CA: with one of them changed it is refused, whatever
 * the file's name. */
static void test_keyset_of_another_origin(void **state)
{
	static const struct {
		const char *issuer, *source, *url, *ca, *addresses, *proxy;
	} other[] = {
		{"https://b.test", "jwks_uri", "https://a.test/keys", "a CA", "public", "none"},
		{"https://a.tesT", "jwks_uri", "https://a.test/keys", "a CA", "public", "none"},
		{"https://a.test/", "jwks_uri", "https://a.test/keys", "a CA", "public", "none"},
		{"https://a.tes", "jwks_uri", "https://a.test/keys", "a CA", "public", "none"},
		{"https://a.test", "discovery", "https://a.test/keys", "a CA", "public", "none"},
		{"https://a.test", "jwks_uri", "https://a.test/keys2", "a CA", "public", "none"},
		{"https://a.test", "jwks_uri", "https://a.test/key", "a CA", "public", "none"},
		{"https://a.test", "jwks_uri", "https://a.test/keys", "another CA", "public",
		 "none"},
		{"https://a.test", "jwks_uri", "https://a.test/keys", "", "public", "none"},
		{"https://a.test", "jwks_uri", "https://a.test/keys", "a CA", "private", "none"},
		{"https://a.test", "jwks_uri", "https://a.test/keys", "a CA", "public",
		 "http://proxy.test"},
	};
	struct keyset k;

	(void)state;
	for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
		struct keyset_origin o;
		keyset_origin_make(&o, other[i].issuer, other[i].source, other[i].url,
				   other[i].addresses, other[i].proxy, span_str(other[i].ca));
		assert_string_not_equal(o.id, from.id);
		assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_str("{}")), KB_OK);
		assert_int_equal(keyset_read(dir, "a", &o, &k),
				 KB_E_FILE); /* it has a file of its own */
		assert_int_equal(keyset_stamp(dir, "a", &o), 0);
		move(&from, &o);
		assert_int_equal(keyset_read(dir, "a", &o, &k), KB_E_KEYSET_ORIGIN);
		assert_int_equal(k.document.len, 0);
		move(&o, &from);
		assert_int_equal(keyset_read(dir, "a", &from, &k), KB_OK);
		keyset_free(&k);
	}
}

/* Two configurations at a time, as during a reload: neither overwrites the other's set. */
static void test_keyset_two_origins_side_by_side(void **state)
{
	struct keyset_origin o;
	struct keyset k;

	(void)state;
	keyset_origin_make(&o, "https://b.test", "discovery", "https://b.test", "public", "none",
			   span_of(NULL, 0));
	assert_int_equal(keyset_write(dir, "a", &o, 3, 4, span_str("{\"b\":1}")), KB_OK);
	assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_str("{}")), KB_OK);
	assert_int_equal(keyset_read(dir, "a", &o, &k), KB_OK);
	assert_true(span_eq_cstr(k.document, "{\"b\":1}") && k.fetched_s == 3);
	keyset_free(&k);
	assert_int_equal(get(), KB_OK);
}

/* Where one member ends and the next begins is part of the digest. */
static void test_keyset_origin_members_do_not_run_together(void **state)
{
	struct keyset_origin a, b;

	(void)state;
	keyset_origin_make(&a, "ab", "c", "d", "public", "none", span_of(NULL, 0));
	keyset_origin_make(&b, "a", "bc", "d", "public", "none", span_of(NULL, 0));
	assert_string_not_equal(a.id, b.id);
	assert_string_equal(a.ca,
			    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* The longest issuer and URL that a configuration may have, of characters that JSON writes in six
 * bytes. */
static void test_keyset_longest_origin(void **state)
{
	char issuer[KB_MAX_ISS + 1], url[1024 + 1];

	(void)state;
	memset(issuer, 1, sizeof issuer - 1);
	memset(url, 1, sizeof url - 1);
	issuer[KB_MAX_ISS] = url[1024] = '\0';
	keyset_origin_make(&from, issuer, "jwks_uri", url, "public", "none", span_of(NULL, 0));
	uint8_t *big = calloc(1, KB_MAX_JWKS);
	assert_int_equal(keyset_write(dir, "a", &from, KB_TIME_MAX_S, KB_TIME_MAX_S,
				      span_of(big, KB_MAX_JWKS)),
			 KB_OK);
	assert_int_equal(get(), KB_OK);
	free(big);
}

/* NAME.keys of an older version is not read. */
static void test_keyset_old_file(void **state)
{
	(void)state;
	snprintf(file, sizeof file, "%s/issuers/a.keys", dir);
	put("{\"fetched\":1,\"fresh_until\":2,\"sha256\":"
	    "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}\n");
	assert_int_equal(get(), KB_E_FILE);
}

#define NOW (KB_EPOCH_MIN_S + 10000000)

/* A time that is to come never grows old: it counts as none, at any later time before it. */
static void test_h15_keyset_age(void **state)
{
	static const struct {
		int64_t fetched_s, age_s;
		enum kb_err err;
	} cases[] = {
		{NOW, 0, KB_OK},
		{NOW - 100, 100, KB_OK},
		{NOW - 101, 101, KB_E_KEYSET_STALE},
		{NOW + 1, 0, KB_OK},
		{NOW + KB_MAX_SKEW_S, 0, KB_OK},
		{NOW + KB_MAX_SKEW_S + 1, 0, KB_E_KEYSET_AHEAD},
		{NOW + 10 * KB_MAX_SKEW_S, 0, KB_E_KEYSET_AHEAD},
		{NOW + 366 * 86400, 0, KB_E_KEYSET_AHEAD},
		{KB_TIME_MAX_S, 0, KB_E_KEYSET_AHEAD},
		{0, 0, KB_E_KEYSET_AHEAD}, /* none at all */
		{INT64_MIN, 0, KB_E_KEYSET_AHEAD},
		{INT64_MAX, 0, KB_E_KEYSET_AHEAD},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int64_t age_s = -1;
		assert_int_equal(keyset_age(cases[i].fetched_s, NOW, 100, &age_s), cases[i].err);
		assert_int_equal(age_s, cases[i].age_s);
	}
}

/* ---- what is left over ---- */

static void put_file(const char *name, int64_t time_s)
{
	char sub[80];
	const struct timespec times[2] = {{.tv_sec = time_s}, {.tv_sec = time_s}};

	snprintf(sub, sizeof sub, "%s/issuers", dir);
	(void)mkdir(sub, 0700);
	snprintf(file, sizeof file, "%s/issuers/%s", dir, name);
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
}

static void test_h22_sweep(void **state)
{
	/* %s: the first 16 digits of the origin of issuer "a" */
	static const struct {
		const char *name;
		int64_t age_s;
		bool is_kept;
	} files[] = {
		{"a.%s.keys", 99999, true},
		{"a.%s.attempt", 99999, true},
		{"a.%s.refresh", 99999, true},
		{"b.%s.keys", 99999, false},
		{"a.0123456789abcdef.keys", KB_KEYSET_SWEEP_S, false},
		{"a.0123456789abcdef.attempt", KB_KEYSET_SWEEP_S, false},
		{"a.0123456789abcdee.keys", KB_KEYSET_SWEEP_S - 1, true}, /* another generation's */
		{"a.0123456789abcdea.keys", -99999, false},               /* would never be old */
		{"a.keys", 99999, false},
		/* An issuer with the name of another one's file. */
		{"a.%s.0123456789abcdef.keys", 99999, false},
		{".a.%s.keys.0123456789abcdef.tmp", 99999, false},
		{".a.%s.attempt.fedcba9876543210.tmp", 99999, false},
		{".a.%s.keys.0123456789abcdee.tmp", KB_KEYSET_SWEEP_S - 1, true},
		{".a.%s.keys.0123456789abcdeg.tmp", 99999, true},
		{".tmp", 99999, true},
		{".keys", 99999, true}, /* of no issuer */
		{"notes.txt", 99999, true},
		{"keys", 99999, true},
	};
	struct keyset_file used = {.name = "a", .origin = &from};
	const int64_t now_s = 1900000000;
	unsigned swept = 0;
	char name[128];

	(void)state;
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		const char *at = strchr(files[i].name, '%');
		snprintf(name, sizeof name, "%.*s%.*s%s",
			 at == NULL ? 0 : (int)(at - files[i].name), files[i].name,
			 at == NULL ? 0 : 16, from.id, at == NULL ? files[i].name : at + 2);
		put_file(name, now_s - files[i].age_s);
		swept += !files[i].is_kept;
	}
	snprintf(file, sizeof file, "%s/issuers/c.keys", dir);
	assert_int_equal(mkdir(file, 0700), 0); /* nothing of ours */
	assert_int_equal(keyset_sweep(dir, &used, 1, now_s), swept);
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		const char *at = strchr(files[i].name, '%');
		snprintf(name, sizeof name, "%.*s%.*s%s",
			 at == NULL ? 0 : (int)(at - files[i].name), files[i].name,
			 at == NULL ? 0 : 16, from.id, at == NULL ? files[i].name : at + 2);
		snprintf(file, sizeof file, "%s/issuers/%s", dir, name);
		if ((access(file, F_OK) == 0) != files[i].is_kept)
			fail_msg("%s is %s", name, files[i].is_kept ? "gone" : "there");
	}
	assert_int_equal(keyset_sweep(dir, &used, 1, now_s), 0);
	assert_int_equal(keyset_sweep("/nonexistent", &used, 1, now_s), 0);
}

/* An issuer "a.<origin of a>" has a file of its own, and an old one that has the name of a's. */
static void test_h22_issuer_named_like_a_file(void **state)
{
	char name[64];
	struct keyset_file used[2] = {{.name = "a", .origin = &from},
				      {.name = name, .origin = &from}};

	(void)state;
	snprintf(name, sizeof name, "a.%.16s", from.id);
	assert_int_equal(keyset_write(dir, "a", &from, 1, 2, span_str("{}")), KB_OK);
	assert_int_equal(keyset_write(dir, name, &from, 3, 4, span_str("{}")), KB_OK);
	assert_int_equal(keyset_sweep(dir, used, 2, KB_TIME_MAX_S), 0);
	assert_int_equal(get(), KB_OK);
	assert_int_equal(keyset_sweep(dir, &used[1], 1, KB_TIME_MAX_S), 1);
	assert_int_equal(get(), KB_E_FILE);
}

/* Whatever call fails, afterwards the old set or the new one is read, whole. */
static void test_keyset_each_call_fails_once(void **state)
{
	struct span before = span_str("{\"keys\":[]}"),
		    after = span_str("{\"keys\":[{\"kty\":\"RSA\"}]}");
	struct keyset k;
	bool is_past = false;

	(void)state;
	for (unsigned n = 1; !is_past; n++) {
		assert_int_equal(keyset_write(dir, "a", &from, 1, 2, before), KB_OK);
		calls_fail(n);
		enum kb_err err = keyset_write(dir, "a", &from, 3, 4, after);
		is_past = !calls_end();
		assert_int_equal(err == KB_OK, is_past);
		assert_int_equal(keyset_read(dir, "a", &from, &k), KB_OK);
		assert_true(span_eq(k.document, after)
				    ? k.fetched_s == 3
				    : !is_past && span_eq(k.document, before) && k.fetched_s == 1);
		keyset_free(&k);
	}
	is_past = false;
	for (unsigned n = 1; !is_past; n++) {
		calls_fail(n);
		enum kb_err err = keyset_read(dir, "a", &from, &k);
		is_past = !calls_end();
		assert_int_equal(err, is_past ? KB_OK : KB_E_FILE);
		keyset_free(&k);
	}
	assert_int_equal(
		keyset_write(
			dir,
			"a-name-that-is-longer-than-any-path-may-be-"
			"0123456789012345678901234567890123456789012345678901234567890123456789"
			"01234567890123456789012345678901234567890123456789012345678901234567890123"
			"456789012345678901234567890123456789"
			"0123456789012345678901234567890123456789",
			&from, 1, 2, before),
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
		cmocka_unit_test_setup_teardown(test_keyset_of_another_origin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_two_origins_side_by_side, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_keyset_origin_members_do_not_run_together,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_longest_origin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_old_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_h15_keyset_age, setup, teardown),
		cmocka_unit_test_setup_teardown(test_h22_sweep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_h22_issuer_named_like_a_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keyset_each_call_fails_once, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
