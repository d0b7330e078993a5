/* tests/unit/certs_table.h — the certificate table that a host gives its guest (AMD's GHCB
 * specification, §4.1.8.1), entry by entry. */
#ifndef KB_TESTS_CERTS_TABLE_H
#define KB_TESTS_CERTS_TABLE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { CERTS_ENTRY = 24 };

/* In the order of their text; hosts also write the first three fields as little-endian numbers (RFC
 * 4122 §4.1.2 and Microsoft's GUID). */
static const uint8_t certs_vcek[16]
	__attribute__((unused)) = {0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64,
				   0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd};
static const uint8_t certs_ark[16]
	__attribute__((unused)) = {0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52,
				   0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae};

static inline void certs_entry(uint8_t *at, const uint8_t guid[16], bool is_little, size_t offset,
			       size_t len)
{
	static const uint8_t swapped[8] = {3, 2, 1, 0, 5, 4, 7, 6};

	memcpy(at, guid, 16);
	for (unsigned i = 0; is_little && i < sizeof swapped; i++)
		at[i] = guid[swapped[i]];
	for (unsigned i = 0; i < 4; i++) {
		at[16 + i] = (uint8_t)(offset >> (8 * i));
		at[20 + i] = (uint8_t)(len >> (8 * i));
	}
}

#endif
