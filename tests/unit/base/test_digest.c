/* tests/unit/base/test_digest.c — SHA-256 that cannot fail, by the vectors of FIPS 180-4.  That it
 * allocates nothing is seen in the walk of test_alloc.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "base/digest.h"

static void test_digest_vectors(void **state)
{
	static const struct {
		const char *text;
		uint8_t head[4];
	} vectors[] = {
		{"", {0xe3, 0xb0, 0xc4, 0x42}},
		{"abc", {0xba, 0x78, 0x16, 0xbf}},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		 {0x24, 0x8d, 0x6a, 0x61}},
	};
	uint8_t ours[32], theirs[32];

	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		digest_sha256(span_str(vectors[i].text), ours);
		assert_memory_equal(ours, vectors[i].head, 4);
		assert_int_equal(EVP_Digest(vectors[i].text, strlen(vectors[i].text), theirs, NULL,
					    EVP_sha256(), NULL),
				 1);
		assert_memory_equal(ours, theirs, 32);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_digest_vectors)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
