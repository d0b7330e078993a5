/* tests/unit/short_memory.h — a malloc() that gives nothing at the n-th call of the program: ours,
 * OpenSSL's, jansson's and cjose's.  The sanitizers bring one of their own: IS_SANITIZED, and tests
 * of this kind are skipped. */
#ifndef KB_TESTS_SHORT_MEMORY_H
#define KB_TESTS_SHORT_MEMORY_H
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#endif

/* Unused where a sanitizer has malloc(). */
#define UNUSED __attribute__((unused))
static long fail_at UNUSED, allocations UNUSED,
	live UNUSED;         /* fail_at: which call from now on gets nothing; 0: none */
static bool fails_on UNUSED; /* … and all that follow it */
/* while it is not 0, every allocation succeeds: code whose memory is not what is tried */
static int spared UNUSED;

#ifndef IS_SANITIZED
static bool is_refused(void)
{
	if (spared != 0)
		return false;
	allocations++;
	if (fail_at == 0 || allocations < fail_at || (allocations > fail_at && !fails_on))
		return false;
	errno = ENOMEM; /* as POSIX has it */
	return true;
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void __libc_free(void *p);

void *malloc(size_t size)
{
	void *p = is_refused() ? NULL : __libc_malloc(size);

	live += p != NULL;
	return p;
}

void *calloc(size_t n, size_t size)
{
	void *p = is_refused() ? NULL : __libc_calloc(n, size);

	live += p != NULL;
	return p;
}

void *realloc(void *old, size_t size)
{
	void *p = is_refused() ? NULL : __libc_realloc(old, size);

	live += old == NULL && p != NULL;
	return p;
}

void free(void *p)
{
	live -= p != NULL;
	__libc_free(p);
}
#endif

#endif
