/* tests/fuzz/fuzz_record.c — key records: whatever the text, no crash; what is taken can be
 * written, and what is written reads back to the same text. */
#include <stdlib.h>

#include "base/limits.h"
#include "keystore/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record_fault f;
	KB_AUTO(key_record) struct key_record *r = NULL;
	KB_AUTO(key_record) struct key_record *again = NULL;
	KB_AUTO(buf) struct buf first, second;
	buf_init(&first, 2 * KB_MAX_CONFIG);
	buf_init(&second, 2 * KB_MAX_CONFIG);

	if (key_record_parse(span_str("fuzz"), span_of(data, size), &r, &f) != KB_OK)
		return 0;
	key_record_write(r, &first);
	if (buf_ok(&first) != KB_OK || first.len > KB_MAX_CONFIG)
		return 0; /* escaping made it longer than a record may be */
	if (key_record_parse(span_str("fuzz"), buf_span(&first), &again, &f) != KB_OK)
		abort();
	key_record_write(again, &second);
	if (!span_eq(buf_span(&first), buf_span(&second)))
		abort();
	return 0;
}
