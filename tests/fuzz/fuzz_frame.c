/* tests/fuzz/fuzz_frame.c — frames from a process that was taken over: whatever decodes is within
 * bounds, and encodes to the same bytes. */
#include <stdlib.h>

#include "base/limits.h"
#include "process/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct buf *b, struct span message)
{
	if (!span_eq(buf_span(b), message))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span message = span_of(data, size);
	struct frame_request q;
	struct frame_reply p;
	struct frame_response s;
	KB_AUTO(buf) struct buf b;

	buf_init(&b, KB_MAX_FRAME);
	if (frame_get_request(message, &q) == KB_OK && frame_put_request(&q, &b) == KB_OK)
		same(&b, message);
	if (frame_get_reply(message, &p) == KB_OK && frame_put_reply(&p, &b) == KB_OK)
		same(&b, message);
	if (frame_get_response(message, &s) == KB_OK && frame_put_response(&s, &b) == KB_OK)
		same(&b, message);
	return 0;
}
