/* tests/unit/base/test_json_stack.c — deep JSON costs no stack: 64 KiB are enough, whatever a
 * client sends. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first */
#include <cmocka.h>
#include <string.h>
#include <sys/mman.h>

#include "base/json.h"
#include "base/limits.h"

enum { STACK = 64 * 1024, LONGEST = 1024 * 1024 };

struct work {
	struct span text;
	enum kb_err err;
};

static void *parse(void *ctx)
{
	struct work *w = ctx;
	KB_AUTO(json) struct json_t *doc = NULL;

	w->err = json_load_strict(w->text, LONGEST, &doc, NULL);
	return NULL;
}

/* In a thread whose stack is 64 KiB between guard pages; glibc uses a part of it. */
static enum kb_err parse_in_64k(struct span text)
{
	struct work w = {.text = text, .err = KB_E_BUG};
	pthread_t thread;
	pthread_attr_t a;

	assert_int_equal(pthread_attr_init(&a), 0);
	assert_int_equal(pthread_attr_setstacksize(&a, STACK), 0);
	assert_int_equal(pthread_create(&thread, &a, parse, &w), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&a);
	return w.err;
}

static void test_a12_stack_of_deep_nesting(void **state)
{
	static const size_t depths[] = {KB_MAX_JSON_DEPTH + 1, 2048, 100000, LONGEST};
	static const char opens[] = "[{";
	static char text[LONGEST];

	(void)state;
	for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
		memset(text, opens[0], depths[i]);
		assert_int_equal(parse_in_64k(span_of(text, depths[i])), KB_E_JSON_DEPTH);
	}
	/* Objects in objects: {"a":{"a": … */
	for (size_t at = 0; at + 5 <= sizeof text; at += 5)
		memcpy(text + at, "{\"a\":", 5);
	assert_int_equal(parse_in_64k(span_of(text, sizeof text - sizeof text % 5)),
			 KB_E_JSON_DEPTH);
	/* As deep as it may be, and as long as it may be beside it. */
	size_t n = 0;
	memset(text, '[', KB_MAX_JSON_DEPTH);
	n = KB_MAX_JSON_DEPTH;
	text[n++] = '"';
	memset(text + n, 'x', sizeof text - n - 1 - KB_MAX_JSON_DEPTH);
	n = sizeof text - 1 - KB_MAX_JSON_DEPTH;
	text[n++] = '"';
	memset(text + n, ']', KB_MAX_JSON_DEPTH);
	assert_int_equal(parse_in_64k(span_of(text, n + KB_MAX_JSON_DEPTH)), KB_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a12_stack_of_deep_nesting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
