/* tests/fuzz/fuzz_http.c — the request parser: never reads past its input, and says the same of
 * every prefix as of the whole. */
#include <stdlib.h>

#include "base/limits.h"
#include "gateway/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static void inside(struct span part, const uint8_t *data, size_t size)
{
	require(part.len == 0 || (part.p >= data && part.p + part.len <= data + size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_request r;
	struct http_request part;
	bool done;
	bool part_done;

	enum kb_err err = http_parse(span_of(data, size), &r, &done);
	require(err == KB_OK || !done);
	if (done) {
		require(r.head_len <= size && r.head_len <= KB_MAX_HEADER_BYTES &&
			r.body_len <= KB_MAX_BODY && r.host.len > 0);
		require(r.path.len > 0 && r.path.p[0] == '/');
		inside(r.path, data, r.head_len);
		inside(r.query, data, r.head_len);
		inside(r.host, data, r.head_len);
		inside(r.authorization, data, r.head_len);
		inside(r.content_type, data, r.head_len);
		inside(r.client_request_id, data, r.head_len);
	}
	size_t cut = size == 0 ? 0 : data[size / 2] * size / 256;
	enum kb_err part_err = http_parse(span_of(data, cut), &part, &part_done);
	if (part_done)
		require(done && part.head_len == r.head_len && part.body_len == r.body_len);
	else
		require(part_err == KB_OK || part_err == err);
	return 0;
}
