/* tests/security/constant_time.c — run by valgrind: the bytes of two secrets are marked as
 * undefined, so that every jump and every address that depends on one of them is reported. Never
 * run by itself. */
#include <string.h>
#include <valgrind/memcheck.h>

#include "base/secret.h"

static int naive_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i])
			return 0;
	return 1;
}

/* "control": the comparison that one must not write.  Else the product's: equal, and different in
 * the first and in the last byte. */
int main(int argc, char **argv)
{
	enum { LEN = 64 };
	volatile int results = 0;

	(void)argv;
	if (RUNNING_ON_VALGRIND == 0 || secret_arena_init() != KB_OK)
		return 1;
	for (int at = -1; at < LEN; at += at < 0 ? 1 : LEN - 1) {
		struct secret *a = secret_new(LEN), *b = secret_new(LEN);
		if (a == NULL || b == NULL)
			return 1;
		memset(secret_bytes(a), 'k', LEN);
		memset(secret_bytes(b), 'k', LEN);
		if (at >= 0)
			secret_bytes(b)[at] = 'x';
		(void)VALGRIND_MAKE_MEM_UNDEFINED(secret_bytes(a), LEN);
		(void)VALGRIND_MAKE_MEM_UNDEFINED(secret_bytes(b), LEN);
		int equal = argc > 1 ? naive_equal(secret_bytes(a), secret_bytes(b), LEN)
				     : secret_equal(a, b);
		int by_span = argc > 1 ? equal : secret_equal_span(a, secret_span(b));
		(void)VALGRIND_MAKE_MEM_DEFINED(&equal, sizeof equal); /* the answer is no secret */
		(void)VALGRIND_MAKE_MEM_DEFINED(&by_span, sizeof by_span);
		if (equal != (at < 0) || by_span != equal)
			return 2;
		results += equal;
		secret_free(a);
		secret_free(b);
	}
	return results == 1 ? 0 : 3;
}
