/* tests/unit/gateway/test_memory.c — what clients sent is not left in memory that libevent gives
 * up. A free() of our own looks into each block before it is gone. */
#include "gateway/memory.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/request.h"

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#endif

#ifndef IS_SANITIZED
void __libc_free(void *p);

static const char canary[] = "Bearer canary-2f6b1c";
static unsigned left; /* blocks with the canary in them, when they were freed */

void free(void *p)
{
	if (p != NULL && memmem(p, malloc_usable_size(p), canary + 7, sizeof canary - 8) != NULL)
		left++;
	__libc_free(p);
}

/* As a client's TCP segments come in: each a chain of its own. */
static struct evbuffer *input(void)
{
	struct evbuffer *in = evbuffer_new();

	assert_non_null(in);
	for (unsigned i = 0; i < 3; i++) {
		struct evbuffer *one = evbuffer_new();
		assert_non_null(one);
		assert_int_equal(evbuffer_add_printf(one, "Authorization: %s\r\n", canary), 37);
		assert_int_equal(evbuffer_add_buffer(in, one), 0);
		evbuffer_free(one);
	}
	return in;
}

/* All ways in which the gateway gives up a buffer's memory. */
static void use_buffers(void)
{
	struct evbuffer *in = input();

	/* the head is made contiguous: the chains are copied */
	assert_non_null(evbuffer_pullup(in, -1));
	request_wipe(in, 37);
	/* the client hangs up in the middle of a request */
	evbuffer_free(in);
	/* one that nobody reads any more */
	in = input();
	assert_int_equal(evbuffer_drain(in, evbuffer_get_length(in)), 0);
	evbuffer_free(in);
}
#endif

static void test_b30_no_credential_in_freed_memory(void **state)
{
	(void)state;
#ifndef IS_SANITIZED
	event_set_mem_functions(malloc, realloc, free);
	use_buffers();
	assert_true(left > 0); /* the watch works */
	left = 0;
	memory_wipe_events();
	use_buffers();
	assert_int_equal(left, 0);
#else
	skip();
#endif
}

static void test_b30_moved_memory_is_wiped(void **state)
{
	(void)state;
#ifndef IS_SANITIZED
	left = 0;
	char *p = memory_move(NULL, sizeof canary);
	assert_non_null(p);
	memcpy(p, canary, sizeof canary);
	p = memory_move(p, 100000);
	assert_non_null(p);
	assert_string_equal(p, canary);
	p = memory_move(p, 10);
	assert_non_null(p);
	assert_memory_equal(p, canary, 10);
	memory_free(p);
	memory_free(NULL);
	assert_int_equal(left, 0);
#else
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_b30_no_credential_in_freed_memory),
		cmocka_unit_test(test_b30_moved_memory_is_wiped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
