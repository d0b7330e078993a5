/* tests/fuzz/fuzz_json.c — two readers of one text: whatever the quick one takes, the strict parser
 * takes and reads the same.  What we write parses. */
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_pair pairs[8];
	struct span text = span_of(data, size), value;
	KB_AUTO(json) struct json_t *j = NULL, *again = NULL;
	KB_AUTO(buf) struct buf out;
	unsigned line = 0;

	buf_init(&out, 16 * KB_MAX_BODY);
	enum kb_err err = json_load_strict(text, KB_MAX_BODY, &j, &line);
	size_t n = size <= KB_MAX_BODY ? json_scan_plain(text, pairs, 8) : 0;
	if (n > 0 && (err != KB_OK || json_len(j) != n))
		abort();
	for (size_t i = 0; i < n; i++) {
		char *name = span_dup(pairs[i].name);
		if (name == NULL)
			abort();
		err = json_get_str(j, name, KB_MAX_BODY, &value);
		if (pairs[i].value.len == 0 ? err != KB_E_JSON_LENGTH
					    : err != KB_OK || !span_eq(value, pairs[i].value))
			abort();
		free(name);
	}
	if (j != NULL && memchr(data, 0, size) != NULL) /* nowhere in a JSON text (RFC 8259) */
		abort();
	if (j != NULL) {
		json_write(&out, j);
		if (buf_ok(&out) != KB_OK ||
		    (json_isa_obj(j) &&
		     json_load_strict(buf_span(&out), out.max, &again, NULL) != KB_OK))
			abort();
	}
	buf_reset(&out);
	buf_add_str(&out, "[");
	json_add_str(&out, text);
	buf_add_str(&out, "]");
	json_free(again);
	again = NULL;
	if (buf_ok(&out) != KB_OK ||
	    json_load_strict(buf_span(&out), out.max, &again, NULL) != KB_OK)
		abort();
	return 0;
}
